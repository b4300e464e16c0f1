#pragma once

#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <string>
#include <vector>

namespace pywatt {

/// CPU time of this process's descendants, dead and alive.
///
/// The dead come from getrusage(RUSAGE_CHILDREN), as far as they were waited for. The living are
/// found through /proc; each counts with its CPU clock (nanoseconds) and, from its stat file, what
/// it has waited for itself (ticks, usually 10 ms; exact again when it dies in its turn).
///
/// Missed: a process whose parent died first (a daemon) unless this process is its subreaper;
/// children of a process that ignores SIGCHLD, once they have died; processes that /proc hides. One
/// that is just started counts within about 50 ms, or when it is waited for. Used by one thread.
class ProcessTree {
 public:
  /// `proc` is another folder than /proc only in tests.
  explicit ProcessTree(std::string proc = "/proc");

  /// CPU seconds of all descendants since this process began; never falls.
  /// Throws LostSensorError in a forked child, whose descendants are others.
  double descendants_cpu_s();

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;

  struct Process {
    clockid_t clock;
    double waited_for_s;  // CPU time of its dead descendants when the list was made
  };
  struct Stat {
    pid_t pid;
    pid_t parent;
    double waited_for_s;
  };

  void rescan();
  bool read_stat(pid_t pid, Stat& stat) const;
  std::vector<Stat> children_by_files(pid_t parent) const;
  std::vector<Stat> read_all_stats() const;

  const std::string proc_;
  const pid_t self_;
  const bool has_children_files_;
  const double ticks_per_s_;
  std::vector<Process> living_;
  SteadyTime rescan_due_{};
  double newest_s_ = 0.0;
};

}  // namespace pywatt
