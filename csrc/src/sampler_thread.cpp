// The thread of a sampler: sleep until the next deadline, read every sensor, append.

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <system_error>
#include <utility>

#include "pywatt/errors.hpp"
#include "sampler_state.hpp"

namespace pywatt {

namespace {

/// Signals are the program's: a thread begun under this takes none but those for its own faults.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS})
      sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

double cpu_clock_s(clockid_t clock, double otherwise_s) noexcept {
  timespec cpu;
  if (clock_gettime(clock, &cpu) != 0) return otherwise_s;
  return static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec);
}

}  // namespace

void Sampler::State::ChannelState::add(double time_s, double value) {
  const bool first = writer.readings() == 0;
  // The last reading of all may fall on the same moment of a scripted clock as the one before.
  if (!first && time_s <= last_s) return;
  if (!std::isfinite(value) || (!first && channel.kind == Kind::counter && value < last_value)) {
    ++failed_readings;
    return;
  }
  writer.append(time_s, value);
  if (first) {
    first_s = time_s;
  } else {
    longest_gap_s = std::max(longest_gap_s, time_s - last_s);
  }
  last_s = time_s;
  last_value = value;
}

void Sampler::State::start_thread() {
  // Made before the thread, so that a scripted clock waits for it from now on.
  std::shared_ptr<Waiter> first_waiter = clock->make_waiter();
  auto self = std::make_unique<std::shared_ptr<State>>(shared_from_this());
  const auto entry = [](void* argument) -> void* {
    const std::unique_ptr<std::shared_ptr<State>> state(static_cast<std::shared_ptr<State>*>(argument));
    (*state)->run();
    return nullptr;
  };
  {
    const SignalsBlocked blocked;
    const int code = pthread_create(&thread, nullptr, entry, self.get());
    if (code != 0) {
      throw Error("the sampler's thread cannot be started (" + std::generic_category().message(code) +
                  "): raise the limit on threads (ulimit -u, or the container's)");
    }
  }
  static_cast<void>(self.release());  // the thread's now
  // The thread cannot have ended yet: for that it needs the mutex.
  pthread_getcpuclockid(thread, &cpu_clock);
  has_thread = true;
  waiter = std::move(first_waiter);
  phase = Phase::running;
}

double Sampler::State::thread_cpu_s() const noexcept {
  return phase == Phase::running ? cpu_clock_s(cpu_clock, cpu_s) : cpu_s;
}

std::uint64_t Sampler::State::reached_tick(std::uint64_t tick, double now_s) const noexcept {
  if (now_s < deadline_s(tick + 1)) return tick;
  auto reached = static_cast<std::uint64_t>((now_s - start_s) * rate_hz);
  // The product is rounded; the deadlines themselves decide.
  while (deadline_s(reached) > now_s) --reached;
  while (deadline_s(reached + 1) <= now_s) ++reached;
  return reached;
}

void Sampler::State::run() {
  pthread_setname_np(pthread_self(), "pywatt-sampler");
  prctl(PR_SET_TIMERSLACK, 1UL);  // ns; with the default every deadline is 50 us late

  std::shared_ptr<Waiter> sleeper;
  const auto take_waiter = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    sleeper = waiter;
    return phase == Phase::running;
  };
  bool going_on = take_waiter();
  start_s = clock->now_s();
  going_on = going_on && tick(0);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    attempted = true;
    changed.notify_all();
  }

  std::uint64_t next = 1;
  while (going_on) {
    const bool slept = sleeper->wait_until(std::min(deadline_s(next), end_s.load()));
    const double now_s = clock->now_s();
    const bool last = now_s >= end_s.load();
    if (!slept && !last) {  // stop_at has set another end and another waiter
      going_on = take_waiter();
      continue;
    }
    const std::uint64_t reached = reached_tick(next, now_s);
    going_on = tick(reached - next) && !last;
    next = reached + 1;
  }
  sleeper.reset();
  finish();
}

bool Sampler::State::tick(std::uint64_t missed) {
  bool any_live = false;
  for (Source& source : sources) {
    if (source.live && !read(source, missed)) return false;
    any_live |= source.live;
  }
  return any_live;
}

bool Sampler::State::read(Source& source, std::uint64_t missed) {
  bool failed = false;
  std::string ended;
  reading.store(&source, std::memory_order_relaxed);
  const double before_s = clock->now_s();
  try {
    source.sensor->read(values.data());
  } catch (const PassingSensorError&) {
    failed = true;
  } catch (const SensorError& error) {
    ended = error.what();
  } catch (const std::exception& error) {
    ended = source.sensor->name() + ": " + error.what();
  } catch (...) {
    ended = source.sensor->name() + ": the sensor threw something that is not a std::exception";
  }
  const double time_s = before_s + (clock->now_s() - before_s) / 2;

  const std::lock_guard<std::mutex> lock(mutex);
  reading.store(nullptr, std::memory_order_relaxed);
  if (phase != Phase::running) return false;
  source.missed_deadlines += missed;
  if (failed) {
    for (ChannelState& channel : source.channels) ++channel.failed_readings;
  } else if (ended.empty()) {
    try {
      for (std::size_t i = 0; i < source.channels.size(); ++i) source.channels[i].add(time_s, values[i]);
    } catch (const std::exception& error) {  // out of memory
      ended = source.sensor->name() + ": the reading cannot be kept (" + error.what() + ")";
    }
  }
  if (!ended.empty()) {
    source.ended = std::move(ended);
    source.live = false;
  }
  return true;
}

void Sampler::State::finish() noexcept {
  // Let go after the phase has changed: a scripted clock then goes on, and must find the sampler ended.
  std::shared_ptr<Waiter> last_waiter;
  const std::lock_guard<std::mutex> lock(mutex);
  last_waiter = std::move(waiter);
  if (phase == Phase::running) {
    cpu_s = thread_cpu_s();
    phase = Phase::ended;
  }
  changed.notify_all();
}

}  // namespace pywatt
