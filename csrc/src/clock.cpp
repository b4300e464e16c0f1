#include "pywatt/clock.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "monotonic_condition.hpp"
#include "pywatt/errors.hpp"

namespace pywatt {

namespace {

class SteadyWaiter final : public Waiter {
 public:
  bool wait_until(double deadline_s) override {
    std::unique_lock<std::mutex> lock(mutex_);
    return !condition_.wait_until(lock, deadline_s, [this] { return woken_; });
  }

  void wake() noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
    condition_.notify_all();
  }

 private:
  std::mutex mutex_;
  MonotonicCondition condition_;
  bool woken_ = false;  // under mutex_
};

}  // namespace

double SteadyClock::now_s() const noexcept { return monotonic_s(); }

std::unique_ptr<Waiter> SteadyClock::make_waiter() { return std::make_unique<SteadyWaiter>(); }

std::shared_ptr<SteadyClock> steady_clock() {
  // Never destroyed: samplers of static lifetime may still ask for it during exit.
  static const auto& clock = *new std::shared_ptr<SteadyClock>(std::make_shared<SteadyClock>());
  return clock;
}

struct ScriptedClock::State {
  class Sleeper;

  explicit State(double start_s) : now_s(start_s) {}

  /// Where nobody runs, moves time to the earliest deadline and lets that sleeper run, or ends the
  /// advance. Called by whoever was the last to fall asleep. REQUIRES: mutex is held.
  void proceed() noexcept;

  std::mutex mutex;           // guards all below
  std::atomic<double> now_s;  // written under mutex, read without
  double target_s = 0.0;      // of the advance under way
  bool advancing = false;
  std::condition_variable arrived;  // advancing became false
  std::size_t running = 0;          // of `sleepers`: not asleep
  std::vector<Sleeper*> sleepers;   // alive and not woken, in the order they were made
};

class ScriptedClock::State::Sleeper final : public Waiter {
 public:
  explicit Sleeper(std::shared_ptr<State> clock) : clock_(std::move(clock)) {
    const std::lock_guard<std::mutex> lock(clock_->mutex);
    clock_->sleepers.push_back(this);
    ++clock_->running;
  }

  ~Sleeper() override { wake(); }

  bool wait_until(double deadline_s) override {
    std::unique_lock<std::mutex> lock(clock_->mutex);
    if (woken_) return false;
    if (deadline_s <= clock_->now_s.load(std::memory_order_relaxed)) return true;
    deadline_s_ = deadline_s;
    asleep_ = true;
    --clock_->running;
    clock_->proceed();  // may let this very sleeper go on
    ready_.wait(lock, [this] { return !asleep_; });
    return !woken_;
  }

  void wake() noexcept override {
    const std::lock_guard<std::mutex> lock(clock_->mutex);
    if (woken_) return;
    woken_ = true;
    auto& all = clock_->sleepers;
    all.erase(std::find(all.begin(), all.end(), this));
    if (asleep_) {
      asleep_ = false;
      ready_.notify_one();
    } else {
      --clock_->running;
    }
    clock_->proceed();
  }

 private:
  friend struct State;

  const std::shared_ptr<State> clock_;
  std::condition_variable ready_;  // asleep_ became false
  double deadline_s_ = 0.0;        // under the clock's mutex, like all below
  bool asleep_ = false;
  bool woken_ = false;
};

void ScriptedClock::State::proceed() noexcept {
  if (!advancing || running > 0) return;
  Sleeper* next = nullptr;
  for (Sleeper* sleeper : sleepers) {
    if (next == nullptr || sleeper->deadline_s_ < next->deadline_s_) next = sleeper;
  }
  if (next == nullptr || next->deadline_s_ > target_s) {
    now_s.store(target_s, std::memory_order_release);
    advancing = false;
    arrived.notify_all();
    return;
  }
  now_s.store(next->deadline_s_, std::memory_order_release);
  next->asleep_ = false;
  ++running;
  next->ready_.notify_one();
}

ScriptedClock::ScriptedClock(double start_s) {
  if (!std::isfinite(start_s)) throw ArgumentError("a scripted clock must start at a finite time");
  state_ = std::make_shared<State>(start_s);
}

ScriptedClock::~ScriptedClock() = default;

double ScriptedClock::now_s() const noexcept { return state_->now_s.load(std::memory_order_acquire); }

std::unique_ptr<Waiter> ScriptedClock::make_waiter() { return std::make_unique<State::Sleeper>(state_); }

void ScriptedClock::advance(double duration_s) {
  if (!(duration_s >= 0.0) || !std::isfinite(duration_s)) {
    throw ArgumentError("a scripted clock advances by a finite time of at least 0 s, not by " +
                        std::to_string(duration_s) + " s");
  }
  std::unique_lock<std::mutex> lock(state_->mutex);
  const auto arrived = [this] { return !state_->advancing; };
  state_->arrived.wait(lock, arrived);  // another thread's advance comes first
  state_->target_s = state_->now_s.load(std::memory_order_relaxed) + duration_s;
  state_->advancing = true;
  state_->proceed();
  state_->arrived.wait(lock, arrived);
}

}  // namespace pywatt
