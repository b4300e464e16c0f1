#pragma once

#include <pthread.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "monotonic_condition.hpp"
#include "pywatt/sampler.hpp"

namespace pywatt {

/// What a sampler and its thread share. The thread holds a reference, so that a thread abandoned in
/// a driver keeps what it needs; a forked child, which has no such thread, never frees it.
struct Sampler::State : std::enable_shared_from_this<State> {
  enum class Phase { idle, running, ended };

  struct ChannelState {
    ChannelState(const Channel& channel_, std::size_t capacity)
        : channel(channel_), writer(channel_.kind, capacity) {}

    /// Appends a reading, or counts it as failed where it is not a value that can be appended.
    void add(double time_s, double value);

    Channel channel;
    TraceWriter writer;
    double first_s = 0.0, last_s = 0.0, last_value = 0.0;  // of good readings, once there is one
    double longest_gap_s = 0.0;
    std::uint64_t failed_readings = 0;
  };

  struct Source {
    std::shared_ptr<Sensor> sensor;
    std::vector<ChannelState> channels;  // under mutex, like all below
    std::uint64_t missed_deadlines = 0;
    std::string ended;
    bool live = true;  // the thread's own
  };

  State(std::vector<std::shared_ptr<Sensor>> sensors, double rate_hz, std::shared_ptr<Clock> clock,
        std::size_t capacity);

  // The thread, in sampler_thread.cpp.
  void start_thread();  ///< REQUIRES: mutex is held
  void run();
  bool tick(std::uint64_t missed);                  ///< false where nothing is left to be read
  bool read(Source& source, std::uint64_t missed);  ///< false where stop has given up on this thread
  void finish() noexcept;

  /// Deadlines are computed from the start each time, so that their rounding does not add up.
  double deadline_s(std::uint64_t tick) const noexcept {
    return start_s + static_cast<double>(tick) / rate_hz;
  }

  /// The last deadline that `now_s` has reached, but at least `tick`.
  std::uint64_t reached_tick(std::uint64_t tick, double now_s) const noexcept;

  // What others do with it, in sampler.cpp.
  ChannelTrace trace(std::size_t index) const;
  void abandon();  ///< REQUIRES: mutex is held, phase is running

  /// CPU time of the thread. REQUIRES: mutex is held.
  double thread_cpu_s() const noexcept;

  // What a fork does to live samplers, in sampler_fork.cpp.
  struct ForkRegistry;
  void enroll();
  void leave() noexcept;
  void become_copy() noexcept;  // in the child; REQUIRES: mutex is held

  const double rate_hz;
  const std::shared_ptr<Clock> clock;
  std::size_t channel_count = 0;  // fixed by the constructor
  std::vector<Source> sources;

  /// When the thread takes its last reading: the thread reads it, stop and stop_at write it.
  std::atomic<double> end_s{std::numeric_limits<double>::infinity()};

  /// Whose read is under way, written by the thread.
  std::atomic<const Source*> reading{nullptr};

  mutable std::mutex mutex;    // guards all below; never held during a sensor's read
  MonotonicCondition changed;  // phase or attempted
  Phase phase = Phase::idle;
  bool attempted = false;          // every sensor has been read or has failed once
  bool forked = false;             // this is a child's copy of a sampler that was running
  std::shared_ptr<Waiter> waiter;  // what the thread sleeps on, or will next; null unless running
  // Not a std::thread: one whose thread a fork left behind can be neither joined, detached nor destroyed.
  pthread_t thread{};
  bool has_thread = false;  // neither joined, detached nor left behind
  clockid_t cpu_clock{};
  double cpu_s = 0.0;  // final once the phase is ended

  double start_s = 0.0;        // the thread's own
  std::vector<double> values;  // the thread's own: room for one reading of any sensor
};

}  // namespace pywatt
