#pragma once

#include <cstdint>
#include <string>

#include "power_history.hpp"

namespace simulated {

/// What can be configured; see simulated_nvml_configure for the meaning.
struct Settings {
  double update_period_s = 0.1;
  double window_s = 0.025;
  double average_window_s = 1.0;
  double counter_period_s = 0.1;
  double phase_s = 0.0;
  double counter_phase_s = 0.0;
  double update_jitter_s = 0.0;
  double call_latency_s = 0.0;
  double gain = 1.0;
  double offset_w = 0.0;
  double noise_w = 0.0;
  double has_instant = 1.0;
  double has_average = 1.0;
  double has_power_usage = 1.0;
  double has_counter = 1.0;
  double module_power_w = -1.0;
  double mig = 0.0;
  double temperature_c = 45.0;
  double sm_clock_mhz = 1410.0;
  double throttle_reasons = 0.0;
};

/// One GPU: the truth, and what its sensors make of it. Not thread-safe; Library holds its lock.
class Device {
 public:
  static constexpr double kIdlePowerW = 60.0;

  explicit Device(unsigned index);

  /// False for an unknown name or a value out of its range.
  bool configure(const std::string& property, double value, double now_s);

  const Settings& settings() const noexcept { return settings_; }
  std::string uuid() const;
  std::string mig_uuid(unsigned instance) const;

  enum class Power { instant, average };
  /// What the power fields show at `now_s`: the same from one update to the next.
  double shown_power_w(Power kind, double now_s) const;
  /// What the energy counter shows at `now_s`.
  unsigned long long shown_energy_mj(double now_s) const;

  PowerHistory truth{kIdlePowerW};
  bool hung = false;

 private:
  double update_instant_s(std::int64_t update) const;
  std::int64_t last_update(double now_s) const;
  double last_count_s(double now_s) const;
  double counter_j(double time_s) const;

  unsigned index_;
  Settings settings_;
  double counter_start_j_;  // shown at time 0
};

}  // namespace simulated
