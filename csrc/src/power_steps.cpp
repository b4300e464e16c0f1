#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "pywatt/errors.hpp"
#include "pywatt/scripted_sensor.hpp"

namespace pywatt {

PowerSteps::PowerSteps(std::vector<double> time_s, std::vector<double> power_w, double repeat_s)
    : time_s_(std::move(time_s)), power_w_(std::move(power_w)), repeat_s_(repeat_s) {
  if (time_s_.empty() || time_s_.size() != power_w_.size()) {
    throw ArgumentError("power steps need as many times as powers, and at least one; there are " +
                        std::to_string(time_s_.size()) + " times and " + std::to_string(power_w_.size()) +
                        " powers");
  }
  if (time_s_.front() != 0.0) throw ArgumentError("power steps must begin at time 0");
  energy_j_.reserve(time_s_.size());
  energy_j_.push_back(0.0);
  for (std::size_t i = 0; i < time_s_.size(); ++i) {
    if (!std::isfinite(time_s_[i]) || !std::isfinite(power_w_[i])) {
      throw ArgumentError("power steps must be finite; step " + std::to_string(i) + " is not");
    }
    if (i == 0) continue;
    if (!(time_s_[i] > time_s_[i - 1])) {
      throw ArgumentError("the times of power steps must grow; that of step " + std::to_string(i) +
                          " does not");
    }
    energy_j_.push_back(energy_j_.back() + power_w_[i - 1] * (time_s_[i] - time_s_[i - 1]));
  }
  if (!(repeat_s_ > time_s_.back())) {
    throw ArgumentError("power steps must repeat after the last of their times (" +
                        std::to_string(time_s_.back()) + " s), not after " + std::to_string(repeat_s_) +
                        " s");
  }
}

PowerSteps::Place PowerSteps::place(double time_s) const {
  Place place{0.0, time_s, 0};
  if (time_s < 0.0) return place;
  if (std::isfinite(repeat_s_)) {
    place.phase_s = std::fmod(time_s, repeat_s_);  // exact, unlike time - cycles * repeat
    place.cycles = std::round((time_s - place.phase_s) / repeat_s_);
  }
  const auto after = std::upper_bound(time_s_.begin(), time_s_.end(), place.phase_s);
  place.step = static_cast<std::size_t>(after - time_s_.begin()) - 1;
  return place;
}

double PowerSteps::power_w(double time_s) const { return power_w_[place(time_s).step]; }

double PowerSteps::energy_j(double start_s, double end_s) const {
  const Place from = place(start_s), to = place(end_s);
  if (from.cycles == to.cycles && from.step == to.step) return power_w_[from.step] * (end_s - start_s);
  const auto within = [this](const Place& at) {
    return energy_j_[at.step] + power_w_[at.step] * (at.phase_s - time_s_[at.step]);
  };
  double energy_j = within(to) - within(from);
  if (from.cycles != to.cycles) {
    const double cycle_j = energy_j_.back() + power_w_.back() * (repeat_s_ - time_s_.back());
    energy_j += (to.cycles - from.cycles) * cycle_j;
  }
  return energy_j;
}

double PowerSteps::mean_power_w(double start_s, double end_s) const {
  const Place from = place(start_s), to = place(end_s);
  if (from.cycles == to.cycles && from.step == to.step) return power_w_[from.step];
  return energy_j(start_s, end_s) / (end_s - start_s);
}

}  // namespace pywatt
