#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "pywatt/sensor.hpp"

namespace pywatt {

/// Equal readings in a row, kept as one entry.
struct Run {
  double first_s;   ///< when the value was first read
  double last_s;    ///< when it was last read; the next run's first_s - this is how well the change is timed
  double value;     ///< W or J
  double energy_j;  ///< energy from the trace's beginning to first_s
};

/// The finished form: a curve of cumulative energy through knots, one or two for each run.
/// Between knots of a power trace the power is linear (trapezoids); between knots of a counter
/// trace the power is constant and power_w is empty. Thinning drops knots but keeps the energy at
/// the kept ones exact, so integrate.hpp trusts energy_j over power_w.
struct Knots {
  std::vector<double> time_s;
  std::vector<double> power_w;
  std::vector<double> energy_j;
};

/// The growing side of a trace, integrating as readings arrive. Not thread-safe: the sampler
/// guards it, and takes `runs()` for readers.
class TraceWriter {
 public:
  /// About 64 MB for the writer, its thinning and a finished copy together.
  static constexpr std::size_t default_capacity = 3 * (std::size_t{1} << 18);

  /// Past `capacity` runs every second one is dropped (never the first or the newest).
  explicit TraceWriter(Kind kind, std::size_t capacity = default_capacity);

  /// REQUIRES: time_s is greater than that of the reading before, value is finite, and for a
  /// counter not less than before; else ArgumentError.
  void append(double time_s, double value);

  Kind kind() const noexcept;
  std::size_t readings() const noexcept;  ///< appended so far
  std::size_t thinned() const noexcept;   ///< how often every second run was dropped
  double energy_j() const noexcept;       ///< from the first reading to the last

  /// A copy that shares all full blocks with the writer: cheap enough to take under its lock.
  class Snapshot;
  Snapshot snapshot() const;
};

}  // namespace pywatt
