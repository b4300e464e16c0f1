#include "pywatt/scripted_sensor.hpp"

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>

#include "pywatt/errors.hpp"

namespace pywatt {

namespace {

struct Play {
  PowerSteps steps;
  std::shared_ptr<Clock> clock;
  double origin_s;
  Publishing publishing;

  double value(Kind kind) const {
    double time_s = clock->now_s() - origin_s;
    if (publishing.period_s > 0.0) {
      time_s = std::floor(time_s / publishing.period_s) * publishing.period_s;
    }
    if (kind == Kind::counter) return steps.energy_j(0.0, time_s);
    if (publishing.window_s > 0.0) return steps.mean_power_w(time_s - publishing.window_s, time_s);
    return steps.power_w(time_s);
  }
};

bool finite_and_not_negative(double value) { return std::isfinite(value) && value >= 0.0; }

}  // namespace

struct ScriptedSensor::Impl {
  std::string name;
  std::vector<Channel> channels;
  std::optional<Play> play;  // else readings
  std::vector<double> readings;
  std::size_t next = 0;  // index into readings; by the reading thread

  std::atomic<bool> hung{false};  // written under mutex
  std::mutex mutex;
  std::condition_variable changed;
  int blocked = 0;  // reads that wait for release; under mutex

  double next_reading() {
    const double value = readings[next];
    if (next + 1 < readings.size()) ++next;
    if (std::isnan(value)) throw PassingSensorError(name + ": the script lets this reading fail");
    if (std::isinf(value) && value > 0.0) {
      throw LostSensorError(name + ": the script says that the device is lost");
    }
    return value;
  }

  void block() {
    std::unique_lock<std::mutex> lock(mutex);
    ++blocked;
    changed.wait(lock, [this] { return !hung; });
    --blocked;
    changed.notify_all();
  }

  void set_hung(bool value) {
    const std::lock_guard<std::mutex> lock(mutex);
    hung = value;
    changed.notify_all();
  }
};

ScriptedSensor::ScriptedSensor(std::string name, Channel channel, PowerSteps steps,
                               std::shared_ptr<Clock> clock, double origin_s, Publishing publishing)
    : impl_(std::make_unique<Impl>()) {
  if (clock == nullptr)
    throw ArgumentError(name + ": a scripted sensor that plays power steps needs a clock");
  if (!std::isfinite(origin_s)) throw ArgumentError(name + ": origin_s must be finite");
  if (!finite_and_not_negative(publishing.period_s) || !finite_and_not_negative(publishing.window_s)) {
    throw ArgumentError(name + ": the publishing period and window must be finite and at least 0 s");
  }
  impl_->name = std::move(name);
  impl_->channels.push_back(std::move(channel));
  impl_->play = Play{std::move(steps), std::move(clock), origin_s, publishing};
}

ScriptedSensor::ScriptedSensor(std::string name, Channel channel, std::vector<double> readings)
    : impl_(std::make_unique<Impl>()) {
  if (readings.empty()) throw ArgumentError(name + ": a scripted sensor needs at least one reading");
  impl_->name = std::move(name);
  impl_->channels.push_back(std::move(channel));
  impl_->readings = std::move(readings);
}

ScriptedSensor::~ScriptedSensor() {
  std::unique_lock<std::mutex> lock(impl_->mutex);
  impl_->hung = false;
  impl_->changed.notify_all();
  impl_->changed.wait(lock, [this] { return impl_->blocked == 0; });
}

const std::string& ScriptedSensor::name() const noexcept { return impl_->name; }

const std::vector<Channel>& ScriptedSensor::channels() const noexcept { return impl_->channels; }

void ScriptedSensor::read_alone(double* values) {
  if (impl_->hung) impl_->block();
  *values = impl_->play ? impl_->play->value(impl_->channels.front().kind) : impl_->next_reading();
}

void ScriptedSensor::hang() { impl_->set_hung(true); }

void ScriptedSensor::release() { impl_->set_hung(false); }

double ScriptedSensor::true_energy_j(double start_s, double end_s) const {
  if (!impl_->play) throw ArgumentError(impl_->name + ": plain readings have no true energy");
  const Play& play = *impl_->play;
  return play.steps.energy_j(start_s - play.origin_s, end_s - play.origin_s);
}

}  // namespace pywatt
