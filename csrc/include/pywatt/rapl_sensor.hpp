#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pywatt/sensor.hpp"

namespace pywatt {

// Which zones may be added up: packages and drams, nothing else. A package's counter covers the
// processor's die, with its core and uncore, but not the memory modules behind the dram counter.
// What psys covers is up to the maker of the board (the packages and more, or the packages only), so
// it is never added to other zones; where it is the only zone, it is the total.

/// A powercap zone found under a sysfs root: what it is, and whether it can be read.
struct RaplZone {
  std::string path;    ///< "/sys/class/powercap/intel-rapl:0:1"
  std::string name;    ///< "rapl:package-0/dram": unique over all sockets
  std::string domain;  ///< package, core, uncore, dram, psys; else the kernel's own word, not to be added up
  std::string contained_in;  ///< name of the zone whose energy includes this one's; else empty
  std::string problem;       ///< why it cannot be read and the command that would allow it; else empty
};

/// All zones below `sys_root` ("/sys" unless a test says otherwise), in a stable order. Empty where
/// there is no powercap; never throws for what is not there. The intel-rapl-mmio zones are left out:
/// they show a package's counter a second time, through another register.
std::vector<RaplZone> find_rapl_zones(const std::string& sys_root = "/sys");

/// What keeps `file` from being read, given the errno of the attempt, and what would allow it.
std::string rapl_problem(const std::string& file, int error);

/// The energy counter of one zone (microjoules there, joules here), wrap-around removed by
/// max_energy_range_uj: at most one between two reads, so a busy package must be read at least every
/// few minutes. The file stays open between reads. The resolution is the file's unit; the hardware
/// counts in steps of about 15 to 61 microjoules.
class RaplSensor final : public Sensor {
 public:
  /// Throws SensorError with zone.problem where it cannot be read.
  explicit RaplSensor(const RaplZone& zone);
  ~RaplSensor() override;

  const std::string& name() const noexcept override;
  const std::vector<Channel>& channels() const noexcept override;

 private:
  void read_alone(double* values) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pywatt
