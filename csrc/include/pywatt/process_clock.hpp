#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <vector>

namespace pywatt {

/// CPU time of this process with all its threads, up to the moment of the call. Used by one thread.
///
/// CLOCK_PROCESS_CPUTIME_ID alone is behind: the kernel adds up what each thread had used when it was
/// last looked at, and for one that runs on another CPU that was at the last scheduler tick, up to 1 to
/// 10 ms ago (thread_group_cputime in kernel/sched/cputime.c). To ask for a thread's own clock brings
/// that thread up to date (task_sched_runtime in kernel/sched/core.c), so all are asked first. A thread
/// that has just begun is known within 50 ms; until then it counts up to its last tick. The link count
/// of their folder gives their number (proc_task_getattr in fs/proc/base.c) and is faster to read than
/// all its entries; those are listed where the number has changed, and once a second for the thread
/// that began as another ended.
class ProcessClock {
 public:
  ProcessClock();

  /// CPU seconds since the process began. Throws LostSensorError in a forked child.
  double cpu_s();

 private:
  void count_threads(std::chrono::steady_clock::time_point now);
  void list_threads();

  const pid_t owner_;
  std::vector<clockid_t> threads_;
  nlink_t links_ = 0;  // of the threads' folder when they were listed
  std::chrono::steady_clock::time_point count_due_{};
  std::chrono::steady_clock::time_point list_due_{};
};

}  // namespace pywatt
