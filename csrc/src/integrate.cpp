#include "pywatt/integrate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "pywatt/errors.hpp"

namespace pywatt {

namespace {

std::string seconds(double duration_s) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g s", duration_s);
  return text;
}

[[noreturn]] void refuse(const Curve& curve, std::size_t window, double start_s, double end_s) {
  const double begin_s = curve.time_s[0];
  const std::string name = "window " + std::to_string(window);
  if (std::isnan(start_s) || std::isnan(end_s))
    throw ArgumentError(name + " has an edge that is not a number (NaN)");
  const std::string from_to =
      "from " + seconds(start_s - begin_s) + " to " + seconds(end_s - begin_s) + " after the trace began";
  if (end_s < start_s) throw ArgumentError(name + " ends before it starts: " + from_to);
  throw CoverageError(name + " " + from_to + " is not covered: the trace covers 0 s to " +
                      seconds(curve.time_s[curve.size - 1] - begin_s) +
                      "; measure from before a window starts until after it ends, or ask for less");
}

/// Refuses the first bad window.
void check_windows(const Curve& curve, const double* start_s, const double* end_s, std::size_t windows) {
  const double first_s = curve.time_s[0];
  const double last_s = curve.time_s[curve.size - 1];
  const auto good = [&](std::size_t w) {  // false for NaN
    return (start_s[w] >= first_s) & (end_s[w] <= last_s) & (start_s[w] <= end_s[w]);
  };
  std::size_t bad = 0;
  for (std::size_t w = 0; w < windows; ++w) bad += !good(w);
  if (bad == 0) return;
  std::size_t w = 0;
  while (good(w)) ++w;
  refuse(curve, w, start_s[w], end_s[w]);
}

/// Finds knots. Times that grow are found by advancing from one to the next. For others, a table over
/// equal slices of the curve's time, with straight lines between its entries, says about where a time
/// lies: within a knot or two for readings at a steady rate. From there the knot is found by steps,
/// which double where the guess was bad.
class Finder {
 public:
  /// `guesses`: about how many will be asked for; 0 where all times grow.
  Finder(const Curve& curve, std::size_t guesses)
      : knot_s_(curve.time_s), size_(curve.size), begin_s_(curve.time_s[0]) {
    // No more slices than guesses, so that the table always pays.
    const std::size_t slices = std::max<std::size_t>(1, std::min(guesses, size_ / 4));
    const double slice_s = (knot_s_[size_ - 1] - begin_s_) / static_cast<double>(slices);
    slices_per_s_ = std::isfinite(1.0 / slice_s) ? 1.0 / slice_s : 0.0;
    knot_at_.reserve(slices + 2);
    std::size_t knot = 0;
    for (std::size_t slice = 0; slice < slices; ++slice) {
      knot = find(begin_s_ + static_cast<double>(slice) * slice_s, knot);
      knot_at_.push_back(static_cast<double>(knot));
    }
    knot_at_.resize(slices + 2, static_cast<double>(size_ - 1));  // the last knot begins a slice of its own
  }

  /// A knot near `time_s`. REQUIRES: the curve covers it.
  std::size_t guess(double time_s) const {
    const double position = (time_s - begin_s_) * slices_per_s_;
    const std::size_t slice = whole(position);
    const double knot = knot_at_[slice];
    return whole(knot + (position - static_cast<double>(slice)) * (knot_at_[slice + 1] - knot));
  }

  /// The last knot at or before `time_s`. REQUIRES: the curve covers it.
  std::size_t find(double time_s, std::size_t near) const {
    constexpr int single_steps = 4;
    std::size_t at = near;
    if (knot_s_[at] <= time_s) {
      for (int i = 0; i < single_steps; ++i, ++at)
        if (at + 1 == size_ || knot_s_[at + 1] > time_s) return at;
      return gallop(time_s, at);
    }
    for (int i = 0; i < single_steps; ++i)
      if (knot_s_[--at] <= time_s) return at;
    std::size_t step = 1;
    while (at > step && knot_s_[at - step] > time_s) {
      at -= step;
      step *= 2;
    }
    return bisect(at > step ? at - step : 0, at, time_s);
  }

  /// The last knot at or before `time_s`. REQUIRES: the curve covers it, and knot `at` is not after it.
  std::size_t advance(double time_s, std::size_t at) const {
    constexpr std::size_t ahead = 5;
    if (at + ahead >= size_ || knot_s_[at + ahead] <= time_s) return gallop(time_s, at);
    // Counted, since a branch for each step would be mispredicted in every other window.
    std::size_t steps = 0;
    for (std::size_t k = 1; k < ahead; ++k) steps += knot_s_[at + k] <= time_s;
    return at + steps;
  }

 private:
  // By way of a signed integer, for which processors have an instruction.
  static std::size_t whole(double x) { return static_cast<std::size_t>(static_cast<std::int64_t>(x)); }

  /// By steps that double. REQUIRES: as for advance.
  std::size_t gallop(double time_s, std::size_t at) const {
    std::size_t step = 1;
    while (at + step < size_ && knot_s_[at + step] <= time_s) {
      at += step;
      step *= 2;
    }
    return bisect(at, std::min(at + step, size_), time_s);
  }

  std::size_t bisect(std::size_t low, std::size_t high, double time_s) const {
    return static_cast<std::size_t>(std::upper_bound(knot_s_ + low, knot_s_ + high, time_s) - knot_s_) - 1;
  }

  const double* knot_s_;
  std::size_t size_;
  double begin_s_;
  double slices_per_s_;
  std::vector<double> knot_at_;  // the knot at each slice's beginning
};

/// Energy from knot `i` to `time_s`, which is before the next knot.
template <bool has_power>
double since_knot_j(const Curve& curve, std::size_t i, double time_s) {
  const double x = time_s - curve.time_s[i];
  if (x == 0.0) return 0.0;  // the last knot always ends here: it has no next
  const double h = curve.time_s[i + 1] - curve.time_s[i];
  const double segment_j = curve.energy_j[i + 1] - curve.energy_j[i];
  if constexpr (!has_power) return segment_j * (x / h);
  const double p0 = curve.power_w[i], p1 = curve.power_w[i + 1];
  const double c = segment_j - h * (p0 + p1) / 2;
  return p0 * x + ((p1 - p0) * x / 2 + c) * (x / h);
}

template <bool has_power>
void integrate_all(const Curve& curve, const double* start_s, const double* end_s, std::size_t windows,
                   double* energy_j) {
  check_windows(curve, start_s, end_s, windows);
  const bool starts_grow = std::is_sorted(start_s, start_s + windows);
  const bool ends_grow = std::is_sorted(end_s, end_s + windows);
  const Finder finder(curve, starts_grow && ends_grow ? 0 : windows);
  const auto fetch = [&](std::size_t i) {
    __builtin_prefetch(curve.time_s + i);
    __builtin_prefetch(curve.energy_j + i);
    if constexpr (has_power) __builtin_prefetch(curve.power_w + i);
  };

  // Windows in no order wait for memory most of all: a batch waits for all of its knots at once.
  constexpr std::size_t batch_size = 16;
  std::array<std::size_t, batch_size> near_start, near_end;
  std::size_t i = 0, j = 0;
  for (std::size_t first = 0; first < windows; first += batch_size) {
    const std::size_t batch = std::min(batch_size, windows - first);
    for (std::size_t k = 0; k < batch; ++k) {
      if (!starts_grow) fetch(near_start[k] = finder.guess(start_s[first + k]));
      if (!ends_grow) fetch(near_end[k] = finder.guess(end_s[first + k]));
    }
    for (std::size_t k = 0; k < batch; ++k) {
      const double start = start_s[first + k], end = end_s[first + k];
      i = starts_grow ? finder.advance(start, i) : finder.find(start, near_start[k]);
      j = ends_grow ? finder.advance(end, j) : finder.find(end, near_end[k]);
      // Within one segment the cumulative energies cancel exactly, however large they are.
      energy_j[first + k] =
          (curve.energy_j[j] - curve.energy_j[i]) +
          (since_knot_j<has_power>(curve, j, end) - since_knot_j<has_power>(curve, i, start));
    }
  }
}

}  // namespace

void integrate(const Curve& curve, const double* start_s, const double* end_s, std::size_t windows,
               double* energy_j) {
  if (windows == 0) return;
  if (curve.power_w != nullptr)
    integrate_all<true>(curve, start_s, end_s, windows, energy_j);
  else
    integrate_all<false>(curve, start_s, end_s, windows, energy_j);
}

}  // namespace pywatt
