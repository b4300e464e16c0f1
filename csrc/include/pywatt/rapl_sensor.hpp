#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pywatt/sensor.hpp"

namespace pywatt {

/// A powercap zone found under a sysfs root: what it is, and whether it can be read.
struct RaplZone {
  std::string path;          ///< "/sys/class/powercap/intel-rapl:0:1"
  std::string name;          ///< "rapl:package-0/dram": unique over all sockets
  std::string domain;        ///< package, core, uncore, dram, psys
  std::string contained_in;  ///< name of the zone whose energy includes this one's; else empty
  std::string problem;       ///< why it cannot be read and the command that would allow it; else empty
};

/// All zones below `sys_root` ("/sys" unless a test says otherwise), in a stable order. Empty where
/// there is no powercap; never throws for what is not there.
std::vector<RaplZone> find_rapl_zones(const std::string& sys_root = "/sys");

/// The energy counter of one zone (microjoules there, joules here), wrap-around removed by
/// max_energy_range_uj. The file stays open between reads.
class RaplSensor final : public Sensor {
 public:
  /// Throws SensorError with zone.problem where it cannot be read.
  explicit RaplSensor(const RaplZone& zone);
  ~RaplSensor() override;

  const std::string& name() const noexcept override;
  const std::vector<Channel>& channels() const noexcept override;
  void read(double* values) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pywatt
