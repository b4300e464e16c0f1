#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pywatt/clock.hpp"
#include "pywatt/sensor.hpp"

namespace pywatt {

/// Watts of a machine's CPUs when idle and when all of them are busy. The figures of the defaults,
/// and where they come from: docs/estimated-cpu.md.
struct CpuPowerModel {
  static constexpr double idle_share = 0.1;     ///< of full_w, where only full_w is known
  static constexpr double default_cpu_w = 3.5;  ///< full load, for each logical CPU
  static constexpr double shape_std = 0.25;     ///< power is not really a line over CPU time
  static constexpr double default_std = 0.45;   ///< that, and how far CPUs differ from default_cpu_w

  double idle_w;
  double full_w;
  unsigned cpus;                    ///< logical CPUs that make up the full load
  double relative_std = shape_std;  ///< one standard deviation of the estimated energy, as a share of it

  /// For all online logical CPUs of this machine; ArgumentError if full_w is not a positive number.
  static CpuPowerModel from_tdp(double full_w);

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
/// since it was made, from the nanosecond CPU clock of what is charged. Always marked estimated;
/// domain "package". The kernel gives out no more CPU time than `cpus` seconds a second (if the model
/// has the machine's cpus), so nothing is clamped.
class EstimatedCpuSensor final : public Sensor {
 public:
  /// CPU seconds used so far; may fall (which is ignored) and throw SensorErrors.
  using CpuTime = std::function<double()>;

  /// REQUIRES: 0 <= idle_w <= full_w, finite, cpus >= 1; else ArgumentError.
  /// Belongs to the process that made it: a read after a fork throws LostSensorError.
  EstimatedCpuSensor(CpuPowerModel model, CpuScope scope, std::shared_ptr<Clock> clock = steady_clock());

  /// Charges the CPU time that `cpu_s` returns.
  EstimatedCpuSensor(CpuPowerModel model, CpuTime cpu_s, std::shared_ptr<Clock> clock = steady_clock());
  ~EstimatedCpuSensor() override;

  const std::string& name() const noexcept override;  ///< "cpu:estimated"
  const std::vector<Channel>& channels() const noexcept override;
  const CpuPowerModel& model() const noexcept;

 private:
  void read_alone(double* values) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pywatt
