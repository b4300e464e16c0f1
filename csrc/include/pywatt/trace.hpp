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
/// guards it, and takes a `snapshot()` for readers.
class TraceWriter {
 public:
  /// The writer, its thinning, and one finished copy as knots and as runs stay within 64 MB together.
  static constexpr std::size_t default_capacity = std::size_t{1} << 19;

  /// Past `capacity` runs every second one is dropped (never the first or the newest), and from then
  /// on every second one of those to come, so that old and new are equally fine.
  /// REQUIRES: capacity >= 2; else ArgumentError.
  explicit TraceWriter(Kind kind, std::size_t capacity = default_capacity);

  /// REQUIRES: time_s is finite and greater than that of the reading before, value is finite, and for
  /// a counter not less than before; else ArgumentError, and the trace is as it was.
  void append(double time_s, double value);

  Kind kind() const noexcept { return kind_; }
  std::size_t readings() const noexcept { return readings_; }  ///< appended so far
  std::size_t thinned() const noexcept { return thinned_; }    ///< how often every second run was dropped
  double energy_j() const noexcept;                            ///< from the first reading to the last

  /// A copy that shares all full blocks with the writer: cheap enough to take under its lock.
  class Snapshot;
  Snapshot snapshot() const;

 private:
  using Block = std::vector<Run>;
  using Blocks = std::vector<std::shared_ptr<const Block>>;
  static constexpr std::size_t block_size = 2048;

  std::size_t size() const noexcept { return blocks_.size() * block_size + tail_.size(); }
  void push(const Run& run);
  void thin();

  Kind kind_;
  std::size_t capacity_;
  std::size_t readings_ = 0;
  std::size_t thinned_ = 0;
  std::size_t changes_ = 0;   // ordinal of the newest run, counting the dropped ones too
  double first_value_ = 0.0;  // where a counter began
  Blocks blocks_;             // full and never written again: snapshots share them
  Block tail_;                // always holds the newest run, which still grows
};

/// What a trace held at one moment. Later appends and thinning do not reach it.
class TraceWriter::Snapshot {
 public:
  std::size_t size() const noexcept { return blocks_.size() * block_size + tail_.size(); }  ///< runs
  std::vector<Run> runs() const;

  /// Power: a knot at each run's first_s, and at its last_s where that is later.
  /// Counter: a knot at each run's first_s, and at the last one's last_s where that is later.
  Knots knots() const;

 private:
  friend class TraceWriter;
  Snapshot(Kind kind, Blocks blocks, Block tail);

  template <class Visit>
  void for_each_run(Visit&& visit) const;

  Kind kind_;
  Blocks blocks_;
  Block tail_;
};

}  // namespace pywatt
