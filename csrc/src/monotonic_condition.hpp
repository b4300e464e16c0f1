#pragma once

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <mutex>

namespace pywatt {

/// CLOCK_MONOTONIC in seconds.
inline double monotonic_s() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// A condition variable whose deadlines are on CLOCK_MONOTONIC. The standard one follows the wall
/// clock where glibc is older than 2.30, as in the images that wheels are built in.
class MonotonicCondition {
 public:
  MonotonicCondition() {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&condition_, &attributes);
    pthread_condattr_destroy(&attributes);
  }
  ~MonotonicCondition() { pthread_cond_destroy(&condition_); }
  MonotonicCondition(const MonotonicCondition&) = delete;
  MonotonicCondition& operator=(const MonotonicCondition&) = delete;

  void notify_all() noexcept { pthread_cond_broadcast(&condition_); }

  /// Returns `done()`, which is true unless the deadline came first.
  template <typename Done>
  bool wait_until(std::unique_lock<std::mutex>& lock, double deadline_s, Done done) {
    while (!done()) {
      const double now_s = monotonic_s();
      if (now_s >= deadline_s) return false;
      // A deadline of infinity must fit a timespec; waking once a year costs nothing.
      const double wake_s = std::min(deadline_s, now_s + 3e7);
      const double whole_s = std::floor(wake_s);
      const timespec wake{static_cast<time_t>(whole_s), static_cast<long>((wake_s - whole_s) * 1e9)};
      pthread_cond_timedwait(&condition_, lock.mutex()->native_handle(), &wake);
    }
    return true;
  }

 private:
  pthread_cond_t condition_;
};

}  // namespace pywatt
