#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "check.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/process_clock.hpp"

using namespace pywatt;

namespace {

double read_s(clockid_t clock) {
  timespec used{};
  ::clock_gettime(clock, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

/// Lets a thread run only on the first (0) or the last (1) CPU that this process may use.
void pin(pthread_t thread, int which) {
  cpu_set_t allowed, one;
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  int chosen = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && (chosen < 0 || which == 1)) chosen = cpu;
  CPU_ZERO(&one);
  CPU_SET(chosen, &one);
  ::pthread_setaffinity_np(thread, sizeof one, &one);
}

}  // namespace

// On one CPU alone every switch of threads brings the kernel's sums up to date, and this tests nothing.
TEST(it_knows_what_a_thread_on_another_cpu_has_used_since_the_last_tick) {
  ProcessClock clock;
  clock.cpu_s();  // before the thread, which it has to notice
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) {
    }
  });
  pin(busy.native_handle(), 0);
  pin(::pthread_self(), 1);
  clockid_t own_clock{};
  ::pthread_getcpuclockid(busy.native_handle(), &own_clock);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));

  std::vector<double> missed_s;
  double process_s = clock.cpu_s(), busy_s = read_s(own_clock);
  for (int i = 0; i < 300; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(700));
    const double process_now_s = clock.cpu_s(), busy_now_s = read_s(own_clock);
    missed_s.push_back(std::abs((busy_now_s - busy_s) - (process_now_s - process_s)));
    process_s = process_now_s;
    busy_s = busy_now_s;
  }
  stop = true;
  busy.join();
  std::sort(missed_s.begin(), missed_s.end());
  CHECK(missed_s[270] < 3e-4);
}

TEST(the_folder_of_the_threads_gives_their_number) {
  const auto links = [] {
    struct stat folder{};
    CHECK(::stat("/proc/self/task", &folder) == 0);
    return folder.st_nlink;
  };
  std::atomic<bool> stop{false};
  const nlink_t before = links();
  std::thread waits([&] {
    while (!stop) std::this_thread::yield();
  });
  CHECK(links() == before + 1);
  stop = true;
  waits.join();
}

TEST(threads_that_end_stay_counted) {
  ProcessClock clock;
  const double before_s = clock.cpu_s();
  double used_s = 0.0;
  std::thread([&] {
    while ((used_s = read_s(CLOCK_THREAD_CPUTIME_ID)) < 0.06) clock.cpu_s();
  }).join();
  CHECK(clock.cpu_s() - before_s >= used_s);
}

TEST(a_forked_child_is_refused) {
  ProcessClock clock;
  clock.cpu_s();
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      clock.cpu_s();
    } catch (const LostSensorError&) {
      ::_exit(0);
    }
    ::_exit(1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

CHECK_MAIN
