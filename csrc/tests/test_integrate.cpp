#include <algorithm>
#include <cstddef>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "check.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/integrate.hpp"

using namespace pywatt;

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

struct Knotted {
  std::vector<double> time_s, power_w, energy_j;

  Curve curve() const {
    return {time_s.data(), power_w.empty() ? nullptr : power_w.data(), energy_j.data(), time_s.size()};
  }

  double window(double start_s, double end_s) const {
    double energy = no_number;
    integrate(curve(), &start_s, &end_s, 1, &energy);
    return energy;
  }

  std::vector<double> windows(const std::vector<double>& start_s, const std::vector<double>& end_s) const {
    std::vector<double> energy(start_s.size(), no_number);
    integrate(curve(), start_s.data(), end_s.data(), start_s.size(), energy.data());
    return energy;
  }

  std::string refusal(const std::vector<double>& start_s, const std::vector<double>& end_s) const {
    try {
      windows(start_s, end_s);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

Knotted trapezoids(std::vector<double> time_s, std::vector<double> power_w) {
  std::vector<double> energy_j{0.0};
  for (std::size_t i = 1; i < time_s.size(); ++i)
    energy_j.push_back(energy_j.back() + (time_s[i] - time_s[i - 1]) * (power_w[i] + power_w[i - 1]) / 2);
  return {std::move(time_s), std::move(power_w), std::move(energy_j)};
}

const Knotted constant{{10, 11, 12, 13}, {100, 100, 100, 100}, {0, 100, 200, 300}};
const Knotted triangle{{0, 2, 4}, {0, 100, 0}, {0, 100, 200}};

/// The formula of the header, edge by edge, found by a search over all knots.
double by_definition(const Knotted& k, double start_s, double end_s) {
  const auto at = [&](double time_s) {
    const auto above = std::upper_bound(k.time_s.begin(), k.time_s.end(), time_s) - k.time_s.begin();
    const auto i = static_cast<std::size_t>(above) - 1;
    if (i + 1 == k.time_s.size()) return k.energy_j[i];
    const double h = k.time_s[i + 1] - k.time_s[i], x = time_s - k.time_s[i];
    if (k.power_w.empty()) return k.energy_j[i] + (k.energy_j[i + 1] - k.energy_j[i]) * x / h;
    const double p0 = k.power_w[i], p1 = k.power_w[i + 1];
    const double c = k.energy_j[i + 1] - k.energy_j[i] - h * (p0 + p1) / 2;
    return k.energy_j[i] + p0 * x + (p1 - p0) * x * x / (2 * h) + c * x / h;
  };
  return at(end_s) - at(start_s);
}

}  // namespace

TEST(constant_power) {
  CHECK(constant.window(10, 12) == 200.0);  // 100 W for 2 s is 200 J
  CHECK(constant.window(10, 13) == 300.0);
  CHECK(constant.window(10.5, 12.25) == 175.0);
  CHECK(constant.window(11.25, 11.5) == 25.0);
}

TEST(edges_on_knots_give_the_energy_between_them) {
  const Knotted odd{{0, 0.1, 0.3, 0.7}, {3, 1, 7, 2}, {0, 0.25, 1.5, 3.125}};
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = i; j < 4; ++j)
      CHECK(odd.window(odd.time_s[i], odd.time_s[j]) == odd.energy_j[j] - odd.energy_j[i]);
}

TEST(power_is_linear_between_knots) {
  CHECK(triangle.window(0, 4) == 200.0);
  CHECK(triangle.window(0, 1) == 25.0);
  CHECK(triangle.window(1, 3) == 150.0);
  CHECK(triangle.window(0.5, 1.5) == 50.0);  // both edges within one segment
  CHECK(triangle.window(3, 4) == 25.0);
}

TEST(step_between_two_readings) {
  const Knotted step{{0, 1, 1.5, 2}, {50, 50, 250, 250}, {0, 50, 125, 250}};
  CHECK(step.window(0, 1) == 50.0);
  CHECK(step.window(1, 1.5) == 75.0);
  CHECK(step.window(1, 1.25) == 25.0);
  CHECK(step.window(0.5, 2) == 225.0);
}

TEST(counters_are_linear_between_knots) {
  const Knotted counter{{0, 1, 3}, {}, {0, 10, 70}};
  CHECK(counter.window(0, 3) == 70.0);
  CHECK(counter.window(0.5, 2) == 35.0);
  CHECK(counter.window(1.5, 2.5) == 30.0);
}

TEST(dropped_knots_are_made_up_for) {
  // 300 J in 2 s although both ends say 100 W: 100 J more, spread evenly.
  const Knotted thinned{{0, 2, 3}, {100, 100, 100}, {0, 300, 400}};
  CHECK(thinned.window(0, 2) == 300.0);
  CHECK(thinned.window(0, 1) == 150.0);
  CHECK(thinned.window(1, 2.5) == 200.0);
}

TEST(zero_length_windows_are_zero) {
  for (const double t : {0.0, 0.3, 2.0, 3.999, 4.0}) CHECK(triangle.window(t, t) == 0.0);
}

TEST(a_single_knot_covers_only_itself) {
  const Knotted one{{5}, {100}, {0}};
  CHECK(one.window(5, 5) == 0.0);
  CHECK_THROWS(one.window(5, 5.1), CoverageError);
  CHECK_THROWS(one.window(4.9, 5), CoverageError);
}

TEST(windows_add_up) {
  std::vector<double> edges;
  for (int i = 0; i <= 64; ++i) edges.push_back(4.0 * i / 64);  // also on knots
  const auto parts = triangle.windows({edges.begin(), edges.end() - 1}, {edges.begin() + 1, edges.end()});
  double sum = 0.0;
  for (const double part : parts) sum += part;
  CHECK_NEAR(sum, 200.0, 1e-11);
}

TEST(short_windows_keep_their_digits_late_in_a_trace) {
  const Knotted late{{0, 86400}, {400, 400}, {0, 400 * 86400.0}};
  CHECK_NEAR(late.window(86000, 86000.0001220703125), 400 * 0.0001220703125, 1e-15);
}

TEST(agrees_with_the_definition) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  const auto steady = [&] { return 1.0; };
  const auto jittered = [&] { return 0.1 + unit(random); };
  const auto clumped = [&] { return unit(random) < 0.02 ? 500.0 : 1e-3; };
  const std::vector<std::function<double()>> gaps{steady, jittered, clumped};
  for (const auto& gap : gaps)
    for (const std::size_t size : {2u, 3u, 17u, 3000u})
      for (const bool counter : {false, true}) {
        std::vector<double> time_s{1000.0}, power_w{120.0};
        while (time_s.size() < size) {
          time_s.push_back(time_s.back() + gap());
          power_w.push_back(400 * unit(random));
        }
        Knotted knotted = trapezoids(time_s, power_w);
        double more_j = 0.0;  // as after thinning
        for (double& energy : knotted.energy_j) energy += more_j += unit(random);
        if (counter) knotted.power_w.clear();

        std::vector<double> start_s, end_s;
        const auto edge = [&] {
          const auto i = static_cast<std::size_t>(unit(random) * static_cast<double>(size - 1));
          return unit(random) < 0.2 ? time_s[i + 1] : time_s[i] + unit(random) * (time_s[i + 1] - time_s[i]);
        };
        for (int w = 0; w < 5000; ++w) {
          const double a = edge(), b = edge();
          start_s.push_back(std::min(a, b));
          end_s.push_back(std::max(a, b));
        }
        const double tolerance = 1e-11 * (1.0 + knotted.energy_j.back());
        const auto compare = [&] {
          const auto energy = knotted.windows(start_s, end_s);
          for (std::size_t w = 0; w < energy.size(); ++w) {
            CHECK_NEAR(energy[w], by_definition(knotted, start_s[w], end_s[w]), tolerance);
            if (w % 500 == 0) CHECK_NEAR(knotted.window(start_s[w], end_s[w]), energy[w], 1e-300);
          }
        };
        compare();
        // In the order of their starts, of their ends, and of both: growing edges are found another way.
        std::vector<std::pair<double, double>> edges;
        for (std::size_t w = 0; w < start_s.size(); ++w) edges.emplace_back(start_s[w], end_s[w]);
        const auto compare_in_order = [&](auto edge_of) {
          std::sort(edges.begin(), edges.end(),
                    [&](const auto& a, const auto& b) { return a.*edge_of < b.*edge_of; });
          for (std::size_t w = 0; w < edges.size(); ++w) std::tie(start_s[w], end_s[w]) = edges[w];
          compare();
        };
        compare_in_order(&std::pair<double, double>::first);
        compare_in_order(&std::pair<double, double>::second);
        std::sort(start_s.begin(), start_s.end());
        compare();
      }
}

TEST(no_windows) { integrate(constant.curve(), nullptr, nullptr, 0, nullptr); }

TEST(refuses_what_is_not_covered) {
  CHECK_THROWS(constant.window(9.999, 12), CoverageError);
  CHECK_THROWS(constant.window(12, 13.001), CoverageError);
  CHECK_THROWS(constant.window(1, 2), CoverageError);
  CHECK_THROWS(constant.window(20, 21), CoverageError);
  CHECK_THROWS(constant.window(-infinity, infinity), CoverageError);
  CHECK_THROWS(constant.window(12, 11), ArgumentError);
  CHECK_THROWS(constant.window(30, 20), ArgumentError);
  CHECK_THROWS(constant.window(no_number, 12), ArgumentError);
  CHECK_THROWS(constant.window(12, no_number), ArgumentError);
}

TEST(refusals_name_the_first_bad_window_and_what_is_covered) {
  CHECK(constant.refusal({10, 10, 10, 11.25, 9}, {11, 11, 11, 14, 10}) ==
        "window 3 from 1.25 s to 4 s after the trace began is not covered: the trace covers 0 s to 3 s; "
        "measure from before a window starts until after it ends, or ask for less");
  CHECK(constant.refusal({9.5}, {11}).rfind("window 0 from -0.5 s to 1 s", 0) == 0);
  CHECK(constant.refusal({10, 12}, {11, 11}) ==
        "window 1 ends before it starts: from 2 s to 1 s after the trace began");
  CHECK(constant.refusal({no_number, 1}, {11, 2}) == "window 0 has an edge that is not a number (NaN)");
}

TEST(nothing_is_written_when_a_window_is_bad) {
  const std::vector<double> start_s{10, 10}, end_s{11, 20};
  std::vector<double> energy{-1, -1};
  CHECK_THROWS(integrate(constant.curve(), start_s.data(), end_s.data(), 2, energy.data()), CoverageError);
  CHECK(energy == std::vector<double>({-1, -1}));
}

CHECK_MAIN
