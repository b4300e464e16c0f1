#include "pywatt/process_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "pywatt/errors.hpp"

namespace pywatt {
namespace {

constexpr std::chrono::milliseconds rescan_period{50};
// Of the time between two scans at most one part in so many is spent on scanning: without the
// children files, a scan reads a file of every process of the machine.
constexpr int rescan_cost_divisor = 20;
constexpr int max_attempts = 3;

std::string task_folder(const std::string& proc, pid_t pid) {
  return proc + "/" + std::to_string(pid) + "/task";
}

std::string children_file(const std::string& proc, pid_t pid, const std::string& thread) {
  return task_folder(proc, pid) + "/" + thread + "/children";
}

std::string read_all(const std::string& path) {
  std::string text;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[4096];
  ssize_t size;
  while ((size = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<std::size_t>(size));
  ::close(fd);
  return text;
}

/// The entries of a folder whose names are numbers; none where it cannot be read.
std::vector<pid_t> numbered_entries(const std::string& folder) {
  struct Close {
    void operator()(DIR* open) const { ::closedir(open); }
  };
  std::vector<pid_t> numbers;
  const std::unique_ptr<DIR, Close> open(::opendir(folder.c_str()));
  if (!open) return numbers;
  while (const dirent* const entry = ::readdir(open.get())) {
    const long number = std::strtol(entry->d_name, nullptr, 10);
    if (number > 0) numbers.push_back(static_cast<pid_t>(number));
  }
  return numbers;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

double waited_for_children_s() {
  rusage used{};
  ::getrusage(RUSAGE_CHILDREN, &used);
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace

ProcessTree::ProcessTree(std::string proc)
    : proc_(std::move(proc)),
      self_(::getpid()),
      has_children_files_(::access(children_file(proc_, self_, std::to_string(self_)).c_str(), R_OK) == 0),
      ticks_per_s_(static_cast<double>(::sysconf(_SC_CLK_TCK))) {}

double ProcessTree::descendants_cpu_s() {
  if (::getpid() != self_)
    throw LostSensorError("the CPU time of the children of process " + std::to_string(self_) +
                          " cannot be read in a process forked from it: make a new sensor there");
  // Who waits is read before who is waited for: first this process's total, then (in the list) the
  // totals of the living, then their clocks. So a process that dies on the way is missed, never
  // counted twice; its clock fails, and all is read again.
  for (int attempt = 0; attempt < max_attempts; ++attempt) {
    double total_s = waited_for_children_s();
    if (std::chrono::steady_clock::now() >= rescan_due_) rescan();
    bool all_alive = true;
    for (const Process& process : living_) {
      timespec used{};
      if (::clock_gettime(process.clock, &used) == 0)
        total_s += static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9 +
                   process.waited_for_s;
      else
        all_alive = false;
    }
    newest_s_ = std::max(newest_s_, total_s);
    if (all_alive) break;
    rescan_due_ = {};
  }
  return newest_s_;
}

void ProcessTree::rescan() {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Stat> all;
  if (!has_children_files_) {
    all = read_all_stats();
    std::sort(all.begin(), all.end(), [](const Stat& a, const Stat& b) { return a.parent < b.parent; });
  }
  const auto children_of = [&](pid_t parent) {
    if (has_children_files_) return children_by_files(parent);
    const auto first = std::lower_bound(all.begin(), all.end(), parent,
                                        [](const Stat& stat, pid_t pid) { return stat.parent < pid; });
    const auto last = std::find_if(first, all.end(), [&](const Stat& stat) { return stat.parent != parent; });
    return std::vector<Stat>(first, last);
  };

  living_.clear();
  std::vector<pid_t> parents{self_};
  while (!parents.empty()) {
    const pid_t parent = parents.back();
    parents.pop_back();
    for (const Stat& child : children_of(parent)) {
      Process process{{}, child.waited_for_s};
      if (::clock_getcpuclockid(child.pid, &process.clock) != 0) continue;
      living_.push_back(process);
      parents.push_back(child.pid);
    }
  }
  const auto end = std::chrono::steady_clock::now();
  rescan_due_ =
      end + std::max<std::chrono::steady_clock::duration>(rescan_period, rescan_cost_divisor * (end - start));
}

bool ProcessTree::read_stat(pid_t pid, Stat& stat) const {
  const std::string text = read_all(proc_ + "/" + std::to_string(pid) + "/stat");
  const std::size_t name_end = text.rfind(')');  // the name may hold spaces and parentheses itself
  if (name_end == std::string::npos) return false;
  int parent = 0;
  long user_ticks = 0, system_ticks = 0;
  // proc(5): state, ppid, pgrp, session, tty_nr, tpgid, flags, minflt, cminflt, majflt, cmajflt,
  // utime, stime, cutime, cstime
  if (std::sscanf(text.c_str() + name_end + 1, " %*c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %ld",
                  &parent, &user_ticks, &system_ticks) != 3)
    return false;
  stat = {pid, parent, static_cast<double>(user_ticks + system_ticks) / ticks_per_s_};
  return true;
}

/// The kernel may leave a living child out while another one exits; the next scan finds it.
std::vector<ProcessTree::Stat> ProcessTree::children_by_files(pid_t parent) const {
  std::vector<Stat> children;
  for (const pid_t thread : numbered_entries(task_folder(proc_, parent))) {
    const std::string text = read_all(children_file(proc_, parent, std::to_string(thread)));
    const char* rest = text.c_str();
    char* end = nullptr;
    for (long pid; (pid = std::strtol(rest, &end, 10)) > 0; rest = end) {
      Stat stat{};
      if (read_stat(static_cast<pid_t>(pid), stat)) children.push_back(stat);
    }
  }
  return children;
}

std::vector<ProcessTree::Stat> ProcessTree::read_all_stats() const {
  std::vector<Stat> stats;
  for (const pid_t pid : numbered_entries(proc_)) {
    Stat stat{};
    if (read_stat(pid, stat)) stats.push_back(stat);
  }
  return stats;
}

}  // namespace pywatt
