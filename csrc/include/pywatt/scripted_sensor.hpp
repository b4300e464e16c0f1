#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "pywatt/clock.hpp"
#include "pywatt/sensor.hpp"

namespace pywatt {

/// Power that is known exactly: `power_w[i]` from `time_s[i]` until the next; the last one holds
/// for ever, or the whole repeats every `repeat_s`.
class PowerSteps {
 public:
  /// REQUIRES: equal lengths >= 1, times grow from 0, powers finite, repeat_s > the last time;
  /// else ArgumentError.
  PowerSteps(std::vector<double> time_s, std::vector<double> power_w,
             double repeat_s = std::numeric_limits<double>::infinity());
  double power_w(double time_s) const;                  ///< before 0: the first power
  double energy_j(double start_s, double end_s) const;  ///< exact

  /// energy_j / (end_s - start_s); the very power, to the last bit, where that does not change between.
  double mean_power_w(double start_s, double end_s) const;

 private:
  struct Place {
    double cycles;     // whole repeats before
    double phase_s;    // time since the last of them
    std::size_t step;  // whose power holds
  };
  Place place(double time_s) const;

  std::vector<double> time_s_, power_w_, energy_j_;
  double repeat_s_;
};

/// How a meter shows the truth: it publishes every `period_s` (0: at every read) the mean power of
/// the `window_s` before (0: the power at that moment), or the energy up to then.
struct Publishing {
  double period_s = 0.0;
  double window_s = 0.0;
};

/// A sensor whose truth is known. It plays PowerSteps on a clock, whose time 0 is `origin_s`, or
/// plain readings one after another. A real backend: for tests, and for trying things out.
class ScriptedSensor final : public Sensor {
 public:
  ScriptedSensor(std::string name, Channel channel, PowerSteps steps, std::shared_ptr<Clock> clock,
                 double origin_s, Publishing publishing = {});

  /// Each read gives the next value. NaN is a passing error, +infinity a lost device (both thrown);
  /// after the last value it is repeated.
  ScriptedSensor(std::string name, Channel channel, std::vector<double> readings);
  ~ScriptedSensor() override;

  const std::string& name() const noexcept override;
  const std::vector<Channel>& channels() const noexcept override;

  /// Makes every read from now on block until `release` or destruction, as a hung driver does.
  void hang();
  void release();

  /// The truth, in the clock's time; ArgumentError for a sensor of plain readings.
  double true_energy_j(double start_s, double end_s) const;

 private:
  void read_alone(double* values) override;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pywatt
