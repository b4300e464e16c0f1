#include "pywatt/estimated_cpu_sensor.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <locale>
#include <sstream>
#include <utility>

#include "pywatt/errors.hpp"
#include "pywatt/process_clock.hpp"
#include "pywatt/process_tree.hpp"

namespace pywatt {
namespace {

constexpr const char* tdp_variable = "PYWATT_CPU_TDP_W";

unsigned online_cpus() { return static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN))); }

std::string to_text(double number) {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << number;
  return text.str();
}

/// The same whatever locale the program has chosen; NaN for what is not a plain number.
double to_number(const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  double number = 0.0;
  return stream >> number && (stream >> std::ws).eof() ? number : std::nan("");
}

EstimatedCpuSensor::CpuTime cpu_time_of(CpuScope scope) {
  if (scope == CpuScope::children)
    return [tree = std::make_shared<ProcessTree>()] { return tree->descendants_cpu_s(); };
  return [clock = std::make_shared<ProcessClock>()] { return clock->cpu_s(); };
}

void require_valid(const CpuPowerModel& model) {
  // Written so that NaN fails as well.
  if (!(model.idle_w >= 0.0 && model.full_w >= model.idle_w && std::isfinite(model.full_w)))
    throw ArgumentError("the CPU power model needs 0 <= idle_w <= full_w, both finite; it has idle_w = " +
                        to_text(model.idle_w) + " and full_w = " + to_text(model.full_w));
  if (model.cpus == 0) throw ArgumentError("the CPU power model needs at least one CPU; it has cpus = 0");
}

}  // namespace

CpuPowerModel CpuPowerModel::from_tdp(double full_w) {
  if (!(full_w > 0.0 && std::isfinite(full_w)))
    throw ArgumentError("the CPUs' power at full load must be a positive number of watts, not " +
                        to_text(full_w));
  return {idle_share * full_w, full_w, online_cpus(), shape_std};
}

CpuPowerModel CpuPowerModel::default_for_this_machine() {
  if (const char* const given = std::getenv(tdp_variable)) {
    const double full_w = to_number(given);
    if (!(full_w > 0.0 && std::isfinite(full_w)))
      throw ArgumentError(std::string(tdp_variable) + " is '" + given +
                          "': set it to the watts of all CPUs at full load, such as 65, or unset it");
    return from_tdp(full_w);
  }
  CpuPowerModel model = from_tdp(default_cpu_w * online_cpus());
  model.relative_std = default_std;
  return model;
}

struct EstimatedCpuSensor::Impl {
  Impl(CpuPowerModel its_model, CpuTime its_cpu_s, std::shared_ptr<Clock> its_clock)
      : model(its_model), cpu_s(std::move(its_cpu_s)), clock(std::move(its_clock)) {
    require_valid(model);
    if (!cpu_s || !clock)
      throw ArgumentError("an estimated CPU sensor needs a source of CPU time and a clock");
    cpu_w = (model.full_w - model.idle_w) / model.cpus;
    start_s = clock->now_s();
    start_cpu_s = newest_cpu_s = cpu_s();

    Channel channel;
    channel.name = name;
    channel.kind = Kind::counter;
    channel.domain = "package";
    channel.estimated = true;
    channel.resolution = cpu_w * 1e-9;  // of a CPU clock that counts nanoseconds
    channel.scale_std = model.relative_std;
    channel.update_period_s = 0.0;  // a CPU clock is read afresh
    channel.note = "+/- " + to_text(100.0 * model.relative_std) +
                   " %, estimated from CPU time: " + to_text(model.idle_w) + " W idle to " +
                   to_text(model.full_w) + " W with all " + std::to_string(model.cpus) + " logical CPUs busy";
    channels.push_back(std::move(channel));
  }

  const std::string name = "cpu:estimated";
  const CpuPowerModel model;
  const CpuTime cpu_s;
  const std::shared_ptr<Clock> clock;
  std::vector<Channel> channels;
  double cpu_w = 0.0;  // of one busy CPU, above idle
  double start_s = 0.0;
  double start_cpu_s = 0.0;
  double newest_cpu_s = 0.0;  // the most seen so far
};

EstimatedCpuSensor::EstimatedCpuSensor(CpuPowerModel model, CpuScope scope, std::shared_ptr<Clock> clock)
    : EstimatedCpuSensor(model, cpu_time_of(scope), std::move(clock)) {}

EstimatedCpuSensor::EstimatedCpuSensor(CpuPowerModel model, CpuTime cpu_s, std::shared_ptr<Clock> clock)
    : impl_(std::make_unique<Impl>(model, std::move(cpu_s), std::move(clock))) {}

EstimatedCpuSensor::~EstimatedCpuSensor() = default;

const std::string& EstimatedCpuSensor::name() const noexcept { return impl_->name; }
const std::vector<Channel>& EstimatedCpuSensor::channels() const noexcept { return impl_->channels; }
const CpuPowerModel& EstimatedCpuSensor::model() const noexcept { return impl_->model; }

void EstimatedCpuSensor::read_alone(double* values) {
  Impl& impl = *impl_;
  impl.newest_cpu_s = std::max(impl.newest_cpu_s, impl.cpu_s());
  values[0] = impl.model.idle_w * (impl.clock->now_s() - impl.start_s) +
              impl.cpu_w * (impl.newest_cpu_s - impl.start_cpu_s);
}

}  // namespace pywatt
