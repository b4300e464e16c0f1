"""A profile as JSON for people and other programs."""

from pywatt.profiling.result import Profile


class JsonRenderer:
    """The format of `Profile.save`, indented, and without the readings unless asked for."""

    def __init__(self, *, traces: bool = False) -> None:
        self._traces = traces

    def render(self, profile: Profile) -> str:
        """Return the JSON that `pywatt.load` reads."""
        from pywatt.support.files import to_json

        return to_json(profile, traces=self._traces, indent=2)
