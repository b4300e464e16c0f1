#include "device.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace simulated {
namespace {

constexpr double kForever = std::numeric_limits<double>::max();

struct Property {
  const char* name;
  double Settings::* member;
  double least;
  double most;
};

constexpr Property kProperties[] = {
    {"update_period_s", &Settings::update_period_s, 1e-5, kForever},
    {"window_s", &Settings::window_s, 0.0, kForever},
    {"average_window_s", &Settings::average_window_s, 0.0, kForever},
    {"counter_period_s", &Settings::counter_period_s, 1e-5, kForever},
    {"phase_s", &Settings::phase_s, -kForever, kForever},
    {"counter_phase_s", &Settings::counter_phase_s, -kForever, kForever},
    {"update_jitter_s", &Settings::update_jitter_s, 0.0, kForever},
    {"call_latency_s", &Settings::call_latency_s, 0.0, 60.0},
    {"gain", &Settings::gain, 0.0, kForever},
    {"offset_w", &Settings::offset_w, -kForever, kForever},
    {"noise_w", &Settings::noise_w, 0.0, kForever},
    {"has_instant", &Settings::has_instant, 0.0, 1.0},
    {"has_average", &Settings::has_average, 0.0, 1.0},
    {"has_power_usage", &Settings::has_power_usage, 0.0, 1.0},
    {"has_counter", &Settings::has_counter, 0.0, 1.0},
    {"module_power_w", &Settings::module_power_w, -1.0, kForever},
    {"mig", &Settings::mig, 0.0, 7.0},
    {"temperature_c", &Settings::temperature_c, 0.0, 200.0},
    {"sm_clock_mhz", &Settings::sm_clock_mhz, 0.0, 10000.0},
    {"throttle_reasons", &Settings::throttle_reasons, 0.0, 65535.0},
};

// A time that is meant to lie on an update may be a rounding error before it.
constexpr double kTimeTolerance_s = 1e-9;
// Likewise a total that is meant to be a whole mJ.
constexpr double kEnergyTolerance_mj = 1e-3;

std::uint64_t mixed(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

enum class Stream : std::uint64_t { jitter, instant_noise, average_noise };

/// In (0, 1), the same for the same arguments in every process.
double uniform(unsigned device, Stream stream, std::int64_t update, unsigned draw = 0) {
  std::uint64_t x = mixed(device + 1);
  x = mixed(x ^ static_cast<std::uint64_t>(stream));
  x = mixed(x ^ static_cast<std::uint64_t>(update));
  x = mixed(x ^ draw);
  return (static_cast<double>(x >> 11U) + 0.5) * 0x1p-53;
}

double normal(unsigned device, Stream stream, std::int64_t update) {  // Box-Muller
  const double radius = std::sqrt(-2.0 * std::log(uniform(device, stream, update, 0)));
  return radius * std::cos(2.0 * 3.14159265358979323846 * uniform(device, stream, update, 1));
}

}  // namespace

Device::Device(unsigned index) : index_(index), counter_start_j_(7654321.0 + 1000.0 * index) {}

bool Device::configure(const std::string& property, double value, double now_s) {
  for (const Property& known : kProperties) {
    if (property != known.name) continue;
    if (!(value >= known.least && value <= known.most)) return false;
    const double instant_s = last_count_s(now_s);
    const double before_j = counter_j(instant_s);
    settings_.*known.member = value;
    // A card whose gain changes does not rewrite what it has counted.
    counter_start_j_ += before_j - counter_j(instant_s);
    return true;
  }
  return false;
}

std::string Device::uuid() const {
  char text[64];
  std::snprintf(text, sizeof text, "GPU-00000000-0000-0000-0000-%012x", index_);
  return text;
}

std::string Device::mig_uuid(unsigned instance) const {
  char text[64];
  std::snprintf(text, sizeof text, "MIG-00000000-0000-0000-%04x-%012x", index_, instance);
  return text;
}

double Device::update_instant_s(std::int64_t update) const {
  // Updates never overtake each other.
  const double jitter_s = std::min(settings_.update_jitter_s, 0.49 * settings_.update_period_s);
  return settings_.phase_s + static_cast<double>(update) * settings_.update_period_s +
         jitter_s * (2.0 * uniform(index_, Stream::jitter, update) - 1.0);
}

std::int64_t Device::last_update(double now_s) const {
  auto update =
      static_cast<std::int64_t>(std::floor((now_s - settings_.phase_s) / settings_.update_period_s)) + 1;
  while (update_instant_s(update) > now_s + kTimeTolerance_s) --update;
  return update;
}

double Device::shown_power_w(Power kind, double now_s) const {
  const bool instant = kind == Power::instant;
  const double window_s = instant ? settings_.window_s : settings_.average_window_s;
  const std::int64_t update = last_update(now_s);
  const double end_s = update_instant_s(update);
  const double true_w =
      window_s > 0.0 ? truth.energy_j(end_s - window_s, end_s) / window_s : truth.power_w(end_s);
  const double noise_w =
      settings_.noise_w > 0.0
          ? settings_.noise_w *
                normal(index_, instant ? Stream::instant_noise : Stream::average_noise, update)
          : 0.0;
  return std::max(0.0, settings_.gain * true_w + settings_.offset_w + noise_w);
}

double Device::counter_j(double time_s) const {
  return counter_start_j_ + settings_.gain * truth.energy_j(0.0, time_s) + settings_.offset_w * time_s;
}

double Device::last_count_s(double now_s) const {
  const auto instant_s = [this](double count) {
    return settings_.counter_phase_s + count * settings_.counter_period_s;
  };
  double count = std::floor((now_s - settings_.counter_phase_s) / settings_.counter_period_s) + 1.0;
  while (instant_s(count) > now_s + kTimeTolerance_s) count -= 1.0;
  return instant_s(count);
}

unsigned long long Device::shown_energy_mj(double now_s) const {
  const double total_mj = 1e3 * counter_j(last_count_s(now_s));
  return static_cast<unsigned long long>(std::max(0.0, std::floor(total_mj + kEnergyTolerance_mj)));
}

}  // namespace simulated
