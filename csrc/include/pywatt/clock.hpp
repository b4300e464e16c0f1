#pragma once

#include <memory>

namespace pywatt {

/// What a thread sleeps on: made by a Clock, used by one thread, woken by any.
class Waiter {
 public:
  virtual ~Waiter() = default;

  /// Sleeps until the clock reaches `deadline_s` (at once if it has) or until `wake()` is called.
  /// Returns true if the deadline was reached, false if woken; once woken, always false.
  virtual bool wait_until(double deadline_s) = 0;

  /// May be called from any thread, any number of times; sticks.
  virtual void wake() noexcept = 0;
};

/// A clock that only goes forward, in seconds. Readings, spans and windows share one clock.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual double now_s() const noexcept = 0;
  virtual std::unique_ptr<Waiter> make_waiter() = 0;
};

/// CLOCK_MONOTONIC, the clock of Python's time.monotonic() and time.perf_counter() on Linux.
class SteadyClock final : public Clock {
 public:
  double now_s() const noexcept override;
  std::unique_ptr<Waiter> make_waiter() override;
};

/// The process-wide steady clock.
std::shared_ptr<SteadyClock> steady_clock();

/// A clock that stands still until `advance`, so that a simulated day takes seconds and every
/// duration in a test is exact.
///
/// Time moves only inside `advance`, and only when every live waiter is asleep: it goes to the
/// earliest deadline, lets that waiter run until it sleeps again, and so on up to the target. Hence
/// threads that sleep on one scripted clock run one after another, in the order of their deadlines.
/// A single waiter whose next deadline is within the target continues without a switch of threads.
/// A waiter that has not slept yet counts as awake; one that was woken takes no part any more.
/// A forked child makes its own scripted clock.
class ScriptedClock final : public Clock {
 public:
  explicit ScriptedClock(double start_s = 0.0);
  ~ScriptedClock() override;

  double now_s() const noexcept override;
  std::unique_ptr<Waiter> make_waiter() override;

  /// Moves time forward by `duration_s` >= 0 and returns when every waiter is asleep beyond the new
  /// time. REQUIRES: not called from a thread that owns a waiter of this clock.
  void advance(double duration_s);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the waiters, which may outlive the clock
};

}  // namespace pywatt
