#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "pywatt/clock.hpp"
#include "pywatt/sensor.hpp"

namespace fixtures {

inline pywatt::Channel channel(const std::string& name, pywatt::Kind kind) {
  pywatt::Channel channel;
  channel.name = name;
  channel.kind = kind;
  channel.domain = "gpu";
  return channel;
}

/// A sensor whose read is any function.
class FunctionSensor final : public pywatt::Sensor {
 public:
  using Read = std::function<void(double*)>;

  FunctionSensor(std::string name, std::vector<pywatt::Channel> channels, Read read)
      : name_(std::move(name)), channels_(std::move(channels)), read_(std::move(read)) {}

  const std::string& name() const noexcept override { return name_; }
  const std::vector<pywatt::Channel>& channels() const noexcept override { return channels_; }

 private:
  void read_alone(double* values) override { read_(values); }

  std::string name_;
  std::vector<pywatt::Channel> channels_;
  Read read_;
};

inline std::shared_ptr<pywatt::Sensor> sensor_of(const std::string& name, pywatt::Kind kind,
                                                 FunctionSensor::Read read) {
  return std::make_shared<FunctionSensor>(name, std::vector{channel(name, kind)}, std::move(read));
}

/// A counter that gives 1, 2, 3 ...: every reading is a run of its own.
inline std::shared_ptr<pywatt::Sensor> counting_sensor(const std::string& name) {
  return sensor_of(name, pywatt::Kind::counter, [count = 0.0](double* value) mutable { *value = ++count; });
}

/// Goes from deadline to deadline by itself as soon as a thread sleeps on it, up to `limit_s`.
class SelfRunningClock final : public pywatt::Clock {
 public:
  explicit SelfRunningClock(double limit_s) : limit_s_(limit_s) {}

  double now_s() const noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return now_s_;
  }

  void pass(double duration_s) {
    const std::lock_guard<std::mutex> lock(mutex_);
    now_s_ += duration_s;
  }

  void wait_for_limit() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return at_limit_; });
  }

  std::unique_ptr<pywatt::Waiter> make_waiter() override { return std::make_unique<Sleeper>(*this); }

 private:
  class Sleeper final : public pywatt::Waiter {
   public:
    explicit Sleeper(SelfRunningClock& clock) : clock_(clock) {}
    bool wait_until(double deadline_s) override {
      std::unique_lock<std::mutex> lock(clock_.mutex_);
      if (!woken_ && deadline_s <= clock_.limit_s_) {
        clock_.now_s_ = std::max(clock_.now_s_, deadline_s);
        return true;
      }
      clock_.at_limit_ = true;
      clock_.changed_.notify_all();
      clock_.changed_.wait(lock, [this] { return woken_; });
      return false;
    }
    void wake() noexcept override {
      const std::lock_guard<std::mutex> lock(clock_.mutex_);
      woken_ = true;
      clock_.changed_.notify_all();
    }

   private:
    SelfRunningClock& clock_;
    bool woken_ = false;
  };

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  double limit_s_;
  double now_s_ = 0.0;
  bool at_limit_ = false;
};

}  // namespace fixtures
