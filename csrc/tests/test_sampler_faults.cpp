#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>

#include "check.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/sampler.hpp"
#include "pywatt/scripted_sensor.hpp"
#include "sampler_fixtures.hpp"

using namespace pywatt;
using namespace fixtures;

// A process that exits while samplers run is a test here, not a leak.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "report_thread_leaks=0"; }

// ThreadSanitizer's runtime stops a forked child that starts a thread: that part is skipped there.
#ifdef __SANITIZE_THREAD__
constexpr bool child_may_start_threads = false;
#else
constexpr bool child_may_start_threads = true;
#endif

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::nan("");

std::shared_ptr<ScriptedSensor> plain(const std::string& name, Kind kind, std::vector<double> readings) {
  return std::make_shared<ScriptedSensor>(name, channel(name, kind), std::move(readings));
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

void sleep_ms(int duration_ms) { std::this_thread::sleep_for(std::chrono::milliseconds(duration_ms)); }

/// Runs `body` in a fork; true if it came to its end there.
template <typename Body>
bool comes_to_an_end_in_a_child(Body body) {
  std::fflush(stdout);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(30);  // kills a child that hangs
    body();
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(passing_errors_are_counted_and_tried_again) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({plain("p", Kind::power, {not_a_number, 2.0, not_a_number, not_a_number, 4.0})}, 1.0,
                  clock);
  sampler.start();
  CHECK(sampler.running());
  CHECK(sampler.trace(0).runs.empty());
  clock->advance(4.0);
  sampler.stop();
  const ChannelTrace trace = sampler.trace(0);
  CHECK(trace.ended.empty());
  CHECK(trace.quality.failed_readings == 3);
  CHECK(trace.quality.longest_gap_s == 3.0);
  CHECK_NEAR(trace.quality.achieved_rate_hz, 1.0 / 3.0, 1e-15);
  CHECK(trace.runs.size() == 2);
  CHECK(trace.runs[0].first_s == 1.0);
  CHECK(trace.runs[1].first_s == 4.0);
  CHECK(trace.knots.energy_j.back() == 9.0);
}

TEST(passing_error_counts_on_every_channel_and_nan_only_on_its_own) {
  const auto clock = std::make_shared<ScriptedClock>();
  int reads = 0;
  const auto both = std::make_shared<FunctionSensor>(
      "both", std::vector{channel("p", Kind::power), channel("e", Kind::counter)}, [&](double* values) {
        ++reads;
        if (reads == 2) throw PassingSensorError("busy");
        values[0] = reads == 3 ? not_a_number : 10.0;
        values[1] = reads;
      });
  Sampler sampler({both}, 1.0, clock);
  sampler.start();
  clock->advance(4.0);
  CHECK(sampler.trace(0).quality.failed_readings == 2);
  CHECK(sampler.trace(1).quality.failed_readings == 1);
  CHECK(sampler.trace(0).quality.longest_gap_s == 3.0);
  CHECK(sampler.trace(1).quality.longest_gap_s == 2.0);
  CHECK(sampler.trace(1).runs.size() == 4);
}

TEST(impossible_readings_count_as_failed) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({plain("e", Kind::counter, {5.0, 7.0, 6.0, -infinity, 8.0}),
                   plain("p", Kind::power, {5.0, -infinity, 3.0})},
                  1.0, clock);
  sampler.start();
  clock->advance(4.0);
  sampler.stop();
  CHECK(sampler.trace(0).quality.failed_readings == 2);
  CHECK(sampler.trace(0).runs.size() == 3);
  CHECK(sampler.trace(0).knots.energy_j.back() == 3.0);
  CHECK(sampler.trace(1).quality.failed_readings == 1);
  CHECK(sampler.trace(1).runs.size() == 2);
}

TEST(lost_device_ends_its_own_traces_only) {
  const auto clock = std::make_shared<ScriptedClock>();
  int reads = 0;
  const auto throwing = sensor_of("odd", Kind::power, [&](double* value) {
    if (++reads == 3) throw std::runtime_error("something else");
    if (reads > 3) throw std::logic_error("read after its end");
    *value = 1.0;
  });
  Sampler sampler(
      {plain("lost", Kind::power, {1.0, 2.0, infinity}), throwing, plain("good", Kind::power, {50.0})}, 1.0,
      clock);
  sampler.start();
  clock->advance(10.0);
  CHECK(sampler.running());
  sampler.stop();
  CHECK(contains(sampler.trace(0).ended, "lost"));
  CHECK(sampler.trace(0).runs.back().last_s == 1.0);
  CHECK(sampler.trace(1).ended == "odd: something else");
  CHECK(sampler.trace(1).runs.back().last_s == 1.0);
  CHECK(reads == 3);
  CHECK(sampler.trace(2).ended.empty());
  CHECK(sampler.trace(2).knots.energy_j.back() == 500.0);
}

TEST(thread_ends_when_every_sensor_is_lost) {
  const auto clock = std::make_shared<ScriptedClock>();
  const auto strange = sensor_of("strange", Kind::power, [](double*) { throw 42; });
  Sampler sampler({plain("lost", Kind::power, {1.0, infinity}), strange}, 1.0, clock);
  sampler.start();
  CHECK(sampler.running());
  CHECK(contains(sampler.trace(1).ended, "strange"));
  clock->advance(5.0);
  CHECK(!sampler.running());
  CHECK(sampler.trace(0).runs.size() == 1);

  Sampler at_once({plain("lost", Kind::power, {infinity})}, 1.0, clock);
  at_once.start();
  clock->advance(5.0);
  CHECK(!at_once.running());
  CHECK(!at_once.trace(0).ended.empty());
  CHECK_THROWS(at_once.start(), ArgumentError);
}

TEST(stop_is_immediate_at_1_hz) {
  Sampler sampler({counting_sensor("n")}, 1.0);
  sampler.start();
  const double start_s = steady_clock()->now_s();
  sampler.stop();
  CHECK(steady_clock()->now_s() - start_s < 0.5);
  CHECK(sampler.trace(0).runs.size() == 2);
}

TEST(stop_at_is_prompt_at_1_hz) {
  Sampler sampler({counting_sensor("n")}, 1.0);
  sampler.start();
  const double end_s = steady_clock()->now_s() + 0.05;
  sampler.stop_at(end_s);
  while (sampler.running()) sleep_ms(1);
  const ChannelTrace trace = sampler.trace(0);
  CHECK(trace.runs.size() == 2);
  CHECK(trace.runs.back().first_s >= end_s && trace.runs.back().first_s < end_s + 0.5);
}

TEST(hung_read_is_abandoned_and_what_was_read_is_kept) {
  const auto clock = std::make_shared<ScriptedClock>();
  const auto hanging = plain("stuck", Kind::power, {10.0});
  auto sampler = std::make_unique<Sampler>(
      std::vector<std::shared_ptr<Sensor>>{plain("first", Kind::power, {20.0}), hanging}, 10.0, clock);
  sampler->start();
  clock->advance(2.05);
  hanging->hang();
  const double start_s = steady_clock()->now_s();
  sampler->stop();
  const double waited_s = steady_clock()->now_s() - start_s;
  CHECK(waited_s >= 1.9 && waited_s < 3.0);
  CHECK(!sampler->running());
  for (const std::size_t i : {0, 1}) CHECK(contains(sampler->trace(i).ended, "stuck"));
  CHECK(sampler->trace(0).knots.time_s.back() == 2.05);
  CHECK(sampler->trace(1).knots.time_s.back() == 2.0);
  CHECK(sampler->trace(1).knots.energy_j.back() == 20.0);

  clock->advance(1.0);  // the abandoned thread does not hold the clock up
  sampler->stop();
  hanging->release();
  sleep_ms(20);
  CHECK(sampler->trace(1).knots.time_s.back() == 2.0);
  sampler.reset();
}

TEST(sampler_and_sensor_may_be_deleted_while_a_read_hangs) {
  auto hanging = plain("stuck", Kind::power, {10.0});
  hanging->hang();
  auto sampler =
      std::make_unique<Sampler>(std::vector<std::shared_ptr<Sensor>>{hanging, counting_sensor("n")}, 100.0);
  const double start_s = steady_clock()->now_s();
  sampler->start();
  const double waited_s = steady_clock()->now_s() - start_s;
  CHECK(waited_s >= 1.9 && waited_s < 3.0);
  CHECK(sampler->running());
  sampler.reset();
  std::weak_ptr<Sensor> seen = hanging;
  hanging->release();
  hanging.reset();
  for (int i = 0; i < 5000 && !seen.expired(); ++i) sleep_ms(1);
  CHECK(seen.expired());  // the abandoned thread came back and let everything go
}

TEST(deleting_while_running_is_safe) {
  for (int round = 0; round < 100; ++round) {
    Sampler sampler({counting_sensor("n")}, 10'000.0);
    sampler.start();
  }
}

TEST(many_threads_may_use_one_sampler) {
  Sampler sampler({counting_sensor("n")}, 10'000.0);
  const auto in_four_threads = [](const auto& body) {
    std::vector<std::thread> users;
    for (int i = 0; i < 4; ++i) users.emplace_back([&body, i] { body(i); });
    for (std::thread& user : users) user.join();
  };
  in_four_threads([&](int) {
    sampler.start();
    CHECK(sampler.trace(0).runs.size() >= 1);
  });
  in_four_threads([&](int i) {
    for (int k = 0; k < 50; ++k) {
      CHECK(sampler.trace(0).ended.empty());
      sampler.stop_at(steady_clock()->now_s() + 1.0);
    }
    if (i % 2 == 0) sampler.stop();
  });
  CHECK(!sampler.running());
  CHECK(sampler.trace(0).runs.size() >= 2);
}

TEST(fork_leaves_parent_and_child_working) {
  Sampler running({counting_sensor("n"), plain("lost", Kind::power, {1.0, infinity})}, 10'000.0);
  running.start();
  sleep_ms(5);
  for (int round = 0; round < 30; ++round) {
    const std::size_t before = running.trace(0).runs.size();
    CHECK(comes_to_an_end_in_a_child([&] {
      CHECK(!running.running());
      const ChannelTrace trace = running.trace(0);
      CHECK(trace.runs.size() >= before);
      CHECK(contains(trace.ended, "forked"));
      CHECK(trace.quality.sampler_cpu_s > 0.0);
      CHECK(contains(running.trace(1).ended, "lost"));
      CHECK_THROWS(running.start(), ArgumentError);
      running.stop_at(0.0);
      running.stop();
      CHECK(running.trace(0).runs.size() == trace.runs.size());

      if (!child_may_start_threads) return;
      Sampler own({counting_sensor("n")}, 1000.0);
      own.start();
      sleep_ms(5);
      own.stop();
      CHECK(own.trace(0).ended.empty());
      CHECK(own.trace(0).runs.size() >= 2);
    }));
    CHECK(running.running());
    CHECK(running.trace(0).ended.empty());
  }
  const std::size_t so_far = running.trace(0).runs.size();
  sleep_ms(20);
  running.stop();
  CHECK(running.trace(0).runs.size() > so_far);
}

TEST(forked_copies_can_be_deleted_whatever_their_state) {
  const auto clock = std::make_shared<ScriptedClock>();
  const auto make = [&] { return std::make_unique<Sampler>(std::vector{counting_sensor("n")}, 10.0, clock); };
  auto idle = make(), running = make(), ended = make(), stopped = make();
  for (const auto* sampler : {&running, &ended, &stopped}) (*sampler)->start();
  ended->stop_at(0.25);
  clock->advance(1.0);
  stopped->stop();
  CHECK(!ended->running());
  CHECK(comes_to_an_end_in_a_child([&] {
    CHECK(contains(running->trace(0).ended, "forked"));
    CHECK(ended->trace(0).ended.empty());
    CHECK(stopped->trace(0).ended.empty());
    for (auto* sampler : {&idle, &running, &ended, &stopped}) sampler->reset();
  }));
  clock->advance(1.0);
  running->stop();
  CHECK(running->trace(0).runs.back().first_s == 2.0);
  Sampler never_started({counting_sensor("n")}, 1000.0);
  CHECK(comes_to_an_end_in_a_child([&] {
    if (!child_may_start_threads) return;
    never_started.start();
    never_started.stop();
    CHECK(never_started.trace(0).runs.size() >= 2);
  }));
}

TEST(process_may_exit_while_samplers_run) {
  static Sampler at_exit({counting_sensor("n")}, 10'000.0);
  at_exit.start();
  static auto& leaked = *new Sampler({counting_sensor("n")}, 10'000.0);
  leaked.start();
  CHECK(comes_to_an_end_in_a_child([] { std::exit(0); }));
}

CHECK_MAIN
