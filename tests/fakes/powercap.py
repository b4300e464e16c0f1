"""RAPL zones in a folder that stands for /sys."""

COUNTER_RANGE_UJ = 1 << 40


class FakeRapl:
    """Zones of powercap in a folder."""

    def __init__(self, root):
        self.root = str(root)
        self._powercap = root / "class" / "powercap"
        for zone, name in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:2", "psys"),
        ):
            self.add(zone, name)

    def add(self, zone, name):
        folder = self._powercap / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{COUNTER_RANGE_UJ}\n")
        self.set(zone, 0)

    def set(self, zone, energy_uj):
        (self._powercap / zone / "energy_uj").write_text(f"{energy_uj}\n")

    def remove(self, zone):
        (self._powercap / zone / "energy_uj").unlink()
