#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pywatt/sensor.hpp"

namespace pywatt {

/// Power and energy of one NVIDIA GPU, read together in one NVML call.
///
/// Channels, each only where the device answers for it when opened:
///   NAME          power   domain gpu     POWER_INSTANT, else POWER_AVERAGE, else nvmlDeviceGetPowerUsage
///   NAME/energy   counter domain gpu     the total energy counter (Volta and later)
///   NAME/module   power   domain module  the same at module scope (Grace superchips)
class NvmlSensor final : public Sensor {
 public:
  /// `device`: a UUID ("GPU-..." or "MIG-...") or a PCI bus id ("00000000:01:00.0").
  /// `note` is put on every channel (the whole card's power for a MIG slice).
  /// Throws NvmlError where the device has neither power nor energy, naming what was tried.
  NvmlSensor(std::string name, const std::string& device, const std::string& note = "",
             const std::string& library_path = "");
  ~NvmlSensor() override;

  const std::string& name() const noexcept override;
  const std::vector<Channel>& channels() const noexcept override;

  /// What is behind the power channel: "POWER_INSTANT", "POWER_AVERAGE", "nvmlDeviceGetPowerUsage", "".
  const std::string& power_source() const noexcept;

 private:
  void read_alone(double* values) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pywatt
