#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "check.hpp"
#include "pywatt/clock.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/estimated_cpu_sensor.hpp"
#include "pywatt/process_tree.hpp"

using namespace pywatt;
namespace fs = std::filesystem;

namespace {

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double clock_s(clockid_t clock) {
  timespec used{};
  if (::clock_gettime(clock, &used) != 0) check::fail(__FILE__, __LINE__, "a CPU clock is gone");
  return seconds(used);
}

double cpu_s_of(pid_t pid) {
  clockid_t clock{};
  if (::clock_getcpuclockid(pid, &clock) != 0) check::fail(__FILE__, __LINE__, "a process is gone");
  return clock_s(clock);
}

void burn(double until_cpu_s) {
  while (clock_s(CLOCK_PROCESS_CPUTIME_ID) < until_cpu_s) {
  }
}

/// A pipe by which processes let each other continue, a byte a time.
class Signal {
 public:
  Signal() {
    if (::pipe(ends_) != 0) check::fail(__FILE__, __LINE__, "pipe failed");
  }
  ~Signal() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  void send() const {
    if (::write(ends_[1], "x", 1) != 1) std::abort();
  }
  void wait() const {
    char byte;
    if (::read(ends_[0], &byte, 1) != 1) std::abort();
  }

 private:
  int ends_[2];
};

/// A child that runs `body` and ends without a test's leftovers.
pid_t spawn(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  body();
  ::_exit(0);
}

void reap(pid_t child) { ::waitpid(child, nullptr, 0); }

/// Longer than a list of processes is kept.
void outlast_the_list() { std::this_thread::sleep_for(std::chrono::milliseconds(120)); }

constexpr double rounding_s = 1e-9;
// getrusage counts microseconds, user and system rounded down.
constexpr double rusage_rounding_s = 2e-6;

double waited_for_s() {
  rusage used{};
  ::getrusage(RUSAGE_CHILDREN, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

/// A /proc of its own, to which processes are added, with or without children files.
class Proc {
 public:
  explicit Proc(bool children_files) : children_files_(children_files) {
    char name[] = "/tmp/pywatt-proc-XXXXXX";
    if (!::mkdtemp(name)) check::fail(__FILE__, __LINE__, "mkdtemp failed");
    root_ = name;
  }
  ~Proc() { fs::remove_all(root_); }

  void add(pid_t pid, pid_t parent, const std::string& children, long user_ticks = 0,
           long system_ticks = 0) const {
    const fs::path folder = root_ / std::to_string(pid), task = folder / "task" / std::to_string(pid);
    fs::create_directories(task);
    std::ofstream(folder / "stat") << pid << " (a) S 1 (b) S " << parent << " 1 1 0 -1 4194304 9 9 9 9 77 88 "
                                   << user_ticks << " " << system_ticks << " 20 0 1 0 5\n";
    if (children_files_) std::ofstream(task / "children") << children;
  }
  std::string root() const { return root_.string(); }

 private:
  fs::path root_;
  bool children_files_;
};

}  // namespace

TEST(a_child_counts_before_and_after_it_is_waited_for) {
  ProcessTree tree;
  const double waited_for_before_s = waited_for_s();
  const double before_s = tree.descendants_cpu_s();
  constexpr double work_s = 0.15;
  const Signal worked, end;
  const pid_t child = spawn([&] {
    burn(work_s);
    worked.send();
    end.wait();
  });
  double last_s = before_s;
  while (cpu_s_of(child) < work_s) {
    const double now_s = tree.descendants_cpu_s();
    CHECK(now_s >= last_s);
    last_s = now_s;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  worked.wait();
  outlast_the_list();
  const double low_s = cpu_s_of(child);
  const double alive_s = tree.descendants_cpu_s();
  const double high_s = cpu_s_of(child);
  CHECK(low_s >= work_s);
  CHECK(alive_s - before_s >= low_s - rounding_s);
  CHECK(alive_s - before_s <= high_s + rounding_s);

  end.send();
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
  const double zombie_s = tree.descendants_cpu_s();
  CHECK(zombie_s >= alive_s);
  CHECK(zombie_s - before_s <= cpu_s_of(child) + rounding_s);

  reap(child);
  const double reaped_s = tree.descendants_cpu_s();
  CHECK(reaped_s >= zombie_s);
  CHECK(reaped_s - before_s <= waited_for_s() - waited_for_before_s + rounding_s + rusage_rounding_s);
}

TEST(this_process_is_not_its_own_child) {
  ProcessTree tree;
  const double before_s = tree.descendants_cpu_s();
  burn(clock_s(CLOCK_PROCESS_CPUTIME_ID) + 0.1);
  CHECK(tree.descendants_cpu_s() == before_s);
}

TEST(a_grandchild_counts_until_all_are_gone) {
  ProcessTree tree;
  const double before_s = tree.descendants_cpu_s();
  const Signal end_grandchild, waited, end_child;
  const pid_t child = spawn([&] {
    const pid_t grandchild = spawn([&] {
      burn(0.1);
      end_grandchild.wait();
      burn(0.13);
    });
    reap(grandchild);
    waited.send();
    end_child.wait();
  });
  while (tree.descendants_cpu_s() - before_s < 0.1)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  outlast_the_list();
  const double alive_s = tree.descendants_cpu_s();
  CHECK(alive_s - before_s >= 0.1);

  // Now only the child's ticks, two figures rounded down, count it: seen at once, although the
  // list is still young.
  end_grandchild.send();
  waited.wait();
  const double ticks_s = tree.descendants_cpu_s();
  CHECK(ticks_s >= alive_s);
  CHECK(ticks_s - before_s >= 0.13 - 2.0 / static_cast<double>(::sysconf(_SC_CLK_TCK)));
  CHECK(ticks_s - before_s < 0.23);

  end_child.send();
  reap(child);
  const double all_gone_s = tree.descendants_cpu_s();
  CHECK(all_gone_s >= ticks_s);
  CHECK(all_gone_s - before_s < 0.23);  // not counted twice
}

TEST(many_short_children_are_neither_lost_nor_counted_twice) {
  ProcessTree tree;
  const double before_s = tree.descendants_cpu_s();
  std::thread parent([&] {
    for (int i = 0; i < 60; ++i) reap(spawn([] { burn(0.003); }));
  });
  std::thread reader([&] {
    double last_s = before_s;
    for (int i = 0; i < 300; ++i) {
      const double now_s = tree.descendants_cpu_s();
      CHECK(now_s >= last_s);
      last_s = now_s;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  parent.join();
  reader.join();

  CHECK_NEAR(tree.descendants_cpu_s(), waited_for_s(), rusage_rounding_s);
}

TEST(both_ways_to_list_processes_agree) {
  const pid_t self = ::getpid();
  const Signal worked, never;
  const auto spawn_worker = [&](double work_s) {
    return spawn([&, work_s] {
      burn(work_s);
      worked.send();
      never.wait();
    });
  };
  const pid_t first = spawn_worker(0.02), second = spawn_worker(0.03), stranger = spawn_worker(0.04);
  for (int i = 0; i < 3; ++i) worked.wait();
  const double dead_s = waited_for_s() + 123.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));

  for (const bool children_files : {true, false}) {
    const Proc proc(children_files);
    proc.add(self, 1, std::to_string(first) + " ");
    proc.add(first, self, std::to_string(second) + " ", 100, 20);  // waited for some of its own
    proc.add(second, first, "", 3, 0);
    proc.add(stranger, 1, "");  // not below this process
    const double low_s = dead_s + cpu_s_of(first) + cpu_s_of(second);
    const double charged_s = ProcessTree(proc.root()).descendants_cpu_s();
    const double high_s = dead_s + cpu_s_of(first) + cpu_s_of(second);
    CHECK(charged_s >= low_s - rounding_s);
    CHECK(charged_s <= high_s + rounding_s);
  }
  for (const pid_t pid : {first, second, stranger}) {
    ::kill(pid, SIGKILL);
    reap(pid);
  }
}

TEST(a_forked_child_must_make_its_own) {
  const auto clock = std::make_shared<ScriptedClock>();
  EstimatedCpuSensor process({0.0, 1.0, 1}, CpuScope::process, clock);
  EstimatedCpuSensor children({0.0, 1.0, 1}, CpuScope::children, clock);
  const pid_t child = ::fork();
  if (child == 0) {
    int lost = 0;
    for (EstimatedCpuSensor* const sensor : {&process, &children}) {
      double energy_j = 0.0;
      try {
        sensor->read(&energy_j);
      } catch (const LostSensorError&) {
        ++lost;
      }
    }
    ::_exit(lost);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
  double energy_j = 0.0;
  process.read(&energy_j);
  children.read(&energy_j);
}

TEST(the_sensor_charges_children_from_when_it_was_made) {
  reap(spawn([] { burn(0.05); }));  // before: not charged
  EstimatedCpuSensor sensor({0.0, 1.0, 1}, CpuScope::children, std::make_shared<ScriptedClock>());
  double energy_j = -1.0;
  sensor.read(&energy_j);
  CHECK(energy_j == 0.0);
  reap(spawn([] { burn(0.08); }));
  sensor.read(&energy_j);
  CHECK(energy_j >= 0.08 - rusage_rounding_s);
  CHECK(energy_j < 0.13);
}

CHECK_MAIN
