#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pywatt/clock.hpp"
#include "pywatt/sensor.hpp"
#include "pywatt/trace.hpp"

namespace pywatt {

/// How well a trace was taken.
struct Quality {
  double asked_rate_hz = 0.0;
  double achieved_rate_hz = 0.0;       ///< good readings over the time between the first and the last
  std::uint64_t missed_deadlines = 0;  ///< deadlines skipped because a reading came a period or more late
  double longest_gap_s = 0.0;          ///< between two good readings
  std::uint64_t failed_readings = 0;
  double sampler_cpu_s = 0.0;  ///< CPU time of the sampler's thread (shared by all its traces)
};

/// What one channel has given so far.
struct ChannelTrace {
  Channel channel;
  Knots knots;
  std::vector<Run> runs;
  Quality quality;
  std::string ended;  ///< why the trace ended before the sampler was stopped; empty if it did not
};

/// Reads sensors at a fixed rate in one native thread that never takes Python's GIL.
///
/// Deadlines are absolute (start + k / rate), so the rate does not drift; a thread that wakes a
/// period or more late skips what it missed and counts it. Readings carry the middle of the clock
/// before and after the read.
///
/// A passing error is counted and retried at the next deadline; a lost sensor ends its own traces
/// and the others go on. A read that hangs in a driver is abandoned by `stop` after 2 s: the
/// thread keeps what it needs alive, and all that was read before is kept.
///
/// After a fork the child's copy is stopped, holds what was read before the fork, and says so in
/// `ended`; the parent is not disturbed.
class Sampler {
 public:
  static constexpr double min_rate_hz = 1.0;
  static constexpr double max_rate_hz = 10'000.0;

  /// Throws ArgumentError for a rate out of range or NaN, or no sensors.
  Sampler(std::vector<std::shared_ptr<Sensor>> sensors, double rate_hz,
          std::shared_ptr<Clock> clock = steady_clock(),
          std::size_t capacity = TraceWriter::default_capacity);
  ~Sampler();  ///< Stops. Never throws.
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  /// Returns when every sensor has been read once or failed once (waiting no longer than 2 s).
  /// While running: no effect. After a stop: ArgumentError.
  void start();

  /// Takes one last reading of each sensor and ends the thread, within 2 s whatever a driver does.
  /// Before a start and after a stop: no effect.
  void stop();

  /// Lets the thread go on until the clock reaches `time_s` and end there by itself, after one last
  /// reading; returns at once. A later call moves the time, a later `stop` ends it at once. Before a
  /// start and after a stop: no effect. ArgumentError for NaN.
  void stop_at(double time_s);

  /// True while the thread is reading.
  bool running() const;

  std::size_t channel_count() const noexcept;  ///< over all sensors, in the order given

  /// A consistent copy at this moment, also while running. REQUIRES: index < channel_count().
  ChannelTrace trace(std::size_t index) const;

  const std::shared_ptr<Clock>& clock() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the thread, which may be abandoned
};

}  // namespace pywatt
