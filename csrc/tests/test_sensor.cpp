#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"
#include "pywatt/sensor.hpp"
#include "sampler_fixtures.hpp"

using namespace pywatt;
using namespace fixtures;

TEST(threads_that_share_a_sensor_read_it_one_after_another) {
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};
  int count = 0;  // guarded by nothing but the promise; ThreadSanitizer watches it
  const auto sensor = sensor_of("shared", Kind::counter, [&](double* value) {
    if (inside.fetch_add(1) != 0) overlapped = true;
    *value = ++count;
    std::this_thread::yield();
    inside.fetch_sub(1);
  });

  constexpr int readers = 4, readings = 500;
  std::vector<std::thread> threads;
  for (int i = 0; i < readers; ++i) {
    threads.emplace_back([&] {
      double before = 0.0;
      for (int k = 0; k < readings; ++k) {
        double value = 0.0;
        sensor->read(&value);
        CHECK(value > before);
        before = value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(!overlapped);
  CHECK(count == readers * readings);
}

TEST(a_read_that_throws_lets_the_next_one_in) {
  bool fails = true;
  const auto sensor = sensor_of("failing", Kind::power, [&](double* value) {
    if (fails) throw std::runtime_error("not now");
    *value = 5.0;
  });
  double value = 0.0;
  CHECK_THROWS(sensor->read(&value), std::runtime_error);
  fails = false;
  sensor->read(&value);
  CHECK(value == 5.0);
}

TEST(a_child_forked_amid_a_read_can_read) {
  std::atomic<bool> reading{false}, done{false};
  const pid_t parent = getpid();
  const auto sensor = sensor_of("slow", Kind::power, [&](double* value) {
    *value = 7.0;
    if (getpid() != parent) return;
    reading = true;
    while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::thread reader([&] {
    double value = 0.0;
    sensor->read(&value);
  });
  while (!reading) std::this_thread::yield();

  std::fflush(stdout);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(30);  // kills a child that hangs
    double value = 0.0;
    sensor->read(&value);
    sensor->read(&value);
    _exit(value == 7.0 ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  done = true;
  reader.join();
}

CHECK_MAIN
