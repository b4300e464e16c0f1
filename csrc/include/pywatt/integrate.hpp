#pragma once

#include <cstddef>

namespace pywatt {

/// A cumulative-energy curve. `power_w` may be null (a counter: linear between knots).
/// REQUIRES: size >= 1, times finite and each greater than the one before. Not checked: who fills it
/// with a user's arrays checks them first.
struct Curve {
  const double* time_s;
  const double* power_w;
  const double* energy_j;
  std::size_t size;
};

/// energy_j[i] = energy of the window [start_s[i], end_s[i]], both edges interpolated: within a
/// segment of length h from (t0, p0, E0) to (p1, E1), at x = t - t0,
///   E(t) = E0 + p0 x + (p1 - p0) x^2 / (2h) + c x / h,   c = E1 - E0 - h (p0 + p1) / 2,
/// the trapezoid rule with c = 0 where no knot was dropped. Constant power (no power_w) is linear.
/// Windows in any order; growing ones are fastest.
/// Throws CoverageError for a window that begins before the first knot or ends after the last (naming
/// it and the covered interval), ArgumentError for end < start or NaN: for the first bad window, and
/// before anything is written.
void integrate(const Curve& curve, const double* start_s, const double* end_s, std::size_t windows,
               double* energy_j);

}  // namespace pywatt
