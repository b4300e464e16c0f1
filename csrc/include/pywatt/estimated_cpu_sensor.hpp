#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pywatt/clock.hpp"
#include "pywatt/sensor.hpp"

namespace pywatt {

/// Watts of a machine's CPUs when idle and when all of them are busy.
struct CpuPowerModel {
  double idle_w;
  double full_w;
  unsigned cpus;  ///< logical CPUs that make up the full load

  /// PYWATT_CPU_TDP_W as full_w where it is set (ArgumentError if it is not a positive number),
  /// else the documented default by number of CPUs; idle is a fixed share of full.
  static CpuPowerModel default_for_this_machine();
};

/// Whose CPU time is charged.
enum class CpuScope {
  process,   ///< this process, all threads
  children,  ///< this process's children and their descendants, without itself
};

/// The software fallback where there is no power meter: a counter of estimated energy,
///   E = idle_w * time + (full_w - idle_w) * CPU seconds / cpus,
/// from the nanosecond CPU clock of what is charged. Always marked estimated; domain "package".
class EstimatedCpuSensor final : public Sensor {
 public:
  /// REQUIRES: 0 <= idle_w <= full_w, finite, cpus >= 1; else ArgumentError.
  EstimatedCpuSensor(CpuPowerModel model, CpuScope scope, std::shared_ptr<Clock> clock = steady_clock());
  ~EstimatedCpuSensor() override;

  const std::string& name() const noexcept override;  ///< "cpu:estimated"
  const std::vector<Channel>& channels() const noexcept override;
  void read(double* values) override;
  const CpuPowerModel& model() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pywatt
