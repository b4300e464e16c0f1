#include "pywatt/process_clock.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "pywatt/errors.hpp"

namespace pywatt {
namespace {

constexpr std::chrono::milliseconds rescan_period{50};

/// What pthread_getcpuclockid gives for a thread of this number: the kernel's own layout of such a
/// clock (CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD_MASK in include/linux/posix-timers_types.h).
clockid_t thread_clock(pid_t thread) {
  return static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | 6U);
}

}  // namespace

ProcessClock::ProcessClock() : owner_(::getpid()) {}

double ProcessClock::cpu_s() {
  if (::getpid() != owner_)
    throw LostSensorError("cpu:estimated belongs to process " + std::to_string(owner_) +
                          ", which has forked: make a new sensor in the child");
  if (std::chrono::steady_clock::now() >= rescan_due_) rescan();
  timespec used{};
  // One that has ended meanwhile refuses, and its time is in the process's already.
  for (const clockid_t thread : threads_) ::clock_gettime(thread, &used);
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

void ProcessClock::rescan() {
  threads_.clear();
  std::error_code failed;  // no /proc: the process's clock alone has to do
  for (std::filesystem::directory_iterator task("/proc/self/task", failed), end; !failed && task != end;
       task.increment(failed)) {
    const long number = std::strtol(task->path().filename().c_str(), nullptr, 10);
    if (number > 0) threads_.push_back(thread_clock(static_cast<pid_t>(number)));
  }
  rescan_due_ = std::chrono::steady_clock::now() + rescan_period;
}

}  // namespace pywatt
