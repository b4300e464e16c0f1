#include "pywatt/sensor.hpp"

#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace pywatt {

namespace {

/// Short beside a sampler's period; the other's read may also hang in a driver for ever.
constexpr std::chrono::microseconds busy_pause{50};

/// getpid(), without a system call at every reading.
std::atomic<pid_t> this_process{[] {
  pthread_atfork(nullptr, nullptr, [] { this_process = ::getpid(); });
  return ::getpid();
}()};

class Reader {
 public:
  explicit Reader(std::atomic<pid_t>& owner) : owner_(owner) {
    const pid_t self = this_process.load(std::memory_order_relaxed);
    pid_t free = 0;
    while (!owner_.compare_exchange_weak(free, self, std::memory_order_acquire)) {
      if (free != self) continue;  // 0, or left behind by the process that forked: taken over
      std::this_thread::sleep_for(busy_pause);
      free = 0;
    }
  }
  ~Reader() { owner_.store(0, std::memory_order_release); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

 private:
  std::atomic<pid_t>& owner_;
};

}  // namespace

void Sensor::read(double* values) {
  const Reader reader(reader_);
  read_alone(values);
}

}  // namespace pywatt
