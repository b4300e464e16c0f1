#include "pywatt/process_clock.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "pywatt/errors.hpp"

namespace pywatt {
namespace {

constexpr std::chrono::milliseconds count_period{50};
constexpr std::chrono::seconds list_period{1};
constexpr const char* threads_folder = "/proc/self/task";

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
  const auto now = std::chrono::steady_clock::now();
  if (now >= count_due_) count_threads(now);
  timespec used{};
  // One that has ended meanwhile refuses, and its time is in the process's already.
  for (const clockid_t thread : threads_) ::clock_gettime(thread, &used);
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

void ProcessClock::count_threads(std::chrono::steady_clock::time_point now) {
  count_due_ = now + count_period;
  struct stat folder{};
  const bool counted = ::stat(threads_folder, &folder) == 0;
  if (counted && folder.st_nlink == links_ && now < list_due_) return;
  links_ = counted ? folder.st_nlink : 0;
  list_due_ = now + list_period;
  list_threads();
}

void ProcessClock::list_threads() {
  threads_.clear();
  std::error_code failed;  // no /proc: the process's clock alone has to do
  for (std::filesystem::directory_iterator task(threads_folder, failed), end; !failed && task != end;
       task.increment(failed)) {
    const long number = std::strtol(task->path().filename().c_str(), nullptr, 10);
    if (number > 0) threads_.push_back(thread_clock(static_cast<pid_t>(number)));
  }
}

}  // namespace pywatt
