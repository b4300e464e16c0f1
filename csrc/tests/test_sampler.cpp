#include <cstdint>
#include <limits>
#include <sstream>
#include <thread>

#include "check.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/sampler.hpp"
#include "pywatt/scripted_sensor.hpp"
#include "sampler_fixtures.hpp"

using namespace pywatt;
using namespace fixtures;

namespace {

/// The trace of a sampler at 4 Hz whose k-th read takes `durations_s[k]`, later ones none, up to 2 s.
ChannelTrace sampled_with_slow_reads(const std::vector<double>& durations_s) {
  const auto clock = std::make_shared<SelfRunningClock>(2.0);
  std::size_t reads = 0;
  Sampler sampler({sensor_of("slow", Kind::power,
                             [&](double* value) {
                               if (reads < durations_s.size()) clock->pass(durations_s[reads]);
                               *value = static_cast<double>(++reads);
                             })},
                  4.0, clock);
  sampler.start();
  clock->wait_for_limit();
  sampler.stop();
  return sampler.trace(0);
}

std::vector<double> times(const ChannelTrace& trace) {
  std::vector<double> all;
  for (const Run& run : trace.runs) all.push_back(run.first_s);
  return all;
}

}  // namespace

TEST(hundred_watts_for_two_seconds_are_200_joules) {
  const auto clock = std::make_shared<ScriptedClock>(50.0);
  const PowerSteps steps({0.0}, {100.0});
  Sampler sampler({std::make_shared<ScriptedSensor>("p", channel("p", Kind::power), steps, clock, 50.0),
                   std::make_shared<ScriptedSensor>("e", channel("e", Kind::counter), steps, clock, 50.0)},
                  1000.0, clock);
  CHECK(sampler.channel_count() == 2);
  CHECK(sampler.clock() == clock);
  CHECK(!sampler.running());
  sampler.start();
  CHECK(sampler.running());
  clock->advance(2.0);
  sampler.stop();
  CHECK(!sampler.running());

  const ChannelTrace power = sampler.trace(0), counter = sampler.trace(1);
  CHECK(power.channel.name == "p");
  CHECK(counter.channel.name == "e");
  CHECK(power.runs.size() == 1);
  CHECK(power.runs[0].first_s == 50.0);
  CHECK(power.runs[0].last_s == 52.0);
  CHECK(power.knots.energy_j.back() == 200.0);
  CHECK(counter.runs.size() == 2001);  // the last reading, at the time of the one before, is not kept twice
  CHECK(counter.knots.energy_j.back() == 200.0);
  for (const ChannelTrace& trace : {power, counter}) {
    CHECK(trace.ended.empty());
    CHECK(trace.quality.asked_rate_hz == 1000.0);
    CHECK(trace.quality.achieved_rate_hz == 1000.0);
    CHECK(trace.quality.missed_deadlines == 0);
    CHECK(trace.quality.failed_readings == 0);
    CHECK_NEAR(trace.quality.longest_gap_s, 0.001, 1e-12);
    CHECK(trace.quality.sampler_cpu_s > 0.0);
  }
  CHECK_THROWS(sampler.trace(2), ArgumentError);
}

TEST(power_is_integrated_by_trapezoids) {
  const auto clock = std::make_shared<ScriptedClock>();
  const PowerSteps steps({0.0, 1.0}, {100.0, 300.0});
  Sampler sampler({std::make_shared<ScriptedSensor>("p", channel("p", Kind::power), steps, clock, 0.0)},
                  1000.0, clock);
  sampler.start();
  clock->advance(2.0);
  sampler.stop();
  CHECK_NEAR(sampler.trace(0).knots.energy_j.back(), 99.9 + 0.2 + 300.0, 1e-9);
}

TEST(two_samplers_on_one_clock_read_in_the_order_of_their_deadlines) {
  const auto clock = std::make_shared<ScriptedClock>();
  std::ostringstream order;  // not guarded: the clock lets one thread run at a time
  const auto noting = [&](const char* name) {
    return sensor_of(name, Kind::power, [&order, clock, name](double* value) {
      order << name << clock->now_s() << ' ';
      *value = 1.0;
    });
  };
  Sampler a({noting("a")}, 2.0, clock), b({noting("b")}, 4.0, clock);
  a.start();
  b.start();
  clock->advance(1.0);
  CHECK(order.str() == "a0 b0 b0.25 a0.5 b0.5 b0.75 a1 b1 ");
  a.stop();
  clock->advance(0.25);
  b.stop();
  CHECK(order.str() == "a0 b0 b0.25 a0.5 b0.5 b0.75 a1 b1 a1 b1.25 b1.25 ");
}

TEST(trace_can_be_read_while_it_grows) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({std::make_shared<ScriptedSensor>("p", channel("p", Kind::power), PowerSteps({0.0}, {5.0}),
                                                    clock, 0.0)},
                  10.0, clock);
  CHECK(sampler.trace(0).runs.empty());
  sampler.start();
  CHECK(sampler.trace(0).runs.size() == 1);
  clock->advance(1.0);
  CHECK(sampler.trace(0).knots.energy_j.back() == 5.0);
  clock->advance(1.0);
  CHECK(sampler.trace(0).knots.energy_j.back() == 10.0);
}

TEST(stop_takes_a_last_reading_between_deadlines) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({counting_sensor("n")}, 1.0, clock);
  sampler.start();
  clock->advance(1.75);
  sampler.stop();
  CHECK((times(sampler.trace(0)) == std::vector<double>{0.0, 1.0, 1.75}));
  CHECK(sampler.trace(0).quality.longest_gap_s == 1.0);
}

TEST(stop_at_ends_the_thread_at_that_time) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler between({counting_sensor("n")}, 1.0, clock), on({counting_sensor("n")}, 1.0, clock),
      moved({counting_sensor("n")}, 1.0, clock), past({counting_sensor("n")}, 1.0, clock);
  between.stop_at(0.25);  // not started: no effect
  for (Sampler* sampler : {&between, &on, &moved, &past}) sampler->start();
  between.stop_at(1.5);
  on.stop_at(1.0);
  moved.stop_at(0.5);
  moved.stop_at(2.25);
  CHECK_THROWS(moved.stop_at(std::nan("")), ArgumentError);
  clock->advance(0.75);
  past.stop_at(0.25);
  clock->advance(0.0);
  CHECK(!past.running());
  CHECK(on.running());
  clock->advance(10.0);
  for (Sampler* sampler : {&between, &on, &moved, &past}) {
    CHECK(!sampler->running());
    CHECK(sampler->trace(0).ended.empty());
    CHECK_THROWS(sampler->start(), ArgumentError);
    sampler->stop();
    sampler->stop_at(20.0);
  }
  clock->advance(10.0);
  CHECK((times(between.trace(0)) == std::vector<double>{0.0, 1.0, 1.5}));
  CHECK((times(on.trace(0)) == std::vector<double>{0.0, 1.0}));
  CHECK((times(moved.trace(0)) == std::vector<double>{0.0, 1.0, 2.0, 2.25}));
  CHECK((times(past.trace(0)) == std::vector<double>{0.0, 0.75}));
}

TEST(stop_comes_before_stop_at) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({counting_sensor("n")}, 1.0, clock);
  sampler.start();
  sampler.stop_at(5.0);
  clock->advance(2.5);
  sampler.stop();
  CHECK((times(sampler.trace(0)) == std::vector<double>{0.0, 1.0, 2.0, 2.5}));
}

TEST(starting_and_stopping_twice_is_harmless) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({counting_sensor("n")}, 1.0, clock);
  sampler.stop();
  sampler.start();
  sampler.start();
  CHECK(sampler.running());
  sampler.stop();
  sampler.stop();
  CHECK(!sampler.running());
  CHECK_THROWS(sampler.start(), ArgumentError);
  CHECK(sampler.trace(0).runs.size() == 1);
}

TEST(rates_out_of_range_are_refused) {
  const auto make = [](double rate_hz) { return Sampler({counting_sensor("n")}, rate_hz); };
  for (const double rate_hz :
       {0.0, 0.5, -1.0, 1e9, 10'000.1, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS(make(rate_hz), ArgumentError);
  }
  make(Sampler::min_rate_hz);
  make(Sampler::max_rate_hz);
  CHECK_THROWS(Sampler({}, 10.0), ArgumentError);
  CHECK_THROWS(Sampler({nullptr}, 10.0), ArgumentError);
  CHECK_THROWS(Sampler({counting_sensor("n")}, 10.0, nullptr), ArgumentError);
}

TEST(reading_carries_the_middle_of_its_read) {
  CHECK((times(sampled_with_slow_reads({0.0, 0.125})) ==
         std::vector<double>{0.0, 0.3125, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}));
}

TEST(late_by_less_than_a_period_misses_nothing) {
  const ChannelTrace trace = sampled_with_slow_reads({0.0, 0.4375});
  CHECK((times(trace) == std::vector<double>{0.0, 0.46875, 0.6875, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}));
  CHECK(trace.quality.missed_deadlines == 0);
  CHECK(trace.quality.achieved_rate_hz == 4.0);
}

TEST(late_by_a_period_misses_one_deadline) {
  const ChannelTrace trace = sampled_with_slow_reads({0.0, 0.5});
  CHECK((times(trace) == std::vector<double>{0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}));
  CHECK(trace.quality.missed_deadlines == 1);
  CHECK(trace.quality.achieved_rate_hz == 3.5);
}

TEST(missed_deadlines_are_skipped_and_counted) {
  const ChannelTrace trace = sampled_with_slow_reads({0.0, 0.875});
  CHECK((times(trace) == std::vector<double>{0.0, 0.6875, 1.125, 1.25, 1.5, 1.75, 2.0}));
  CHECK(trace.quality.missed_deadlines == 2);
  CHECK(trace.quality.longest_gap_s == 0.6875);
  CHECK(trace.quality.asked_rate_hz == 4.0);
  CHECK(trace.quality.achieved_rate_hz == 3.0);
}

TEST(every_deadline_of_a_real_second_is_read_or_missed) {
  std::uint64_t reads = 0;
  Sampler sampler(
      {sensor_of("n", Kind::counter, [&](double* value) { *value = static_cast<double>(++reads); })}, 1000.0);
  sampler.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  sampler.stop();
  const ChannelTrace trace = sampler.trace(0);
  CHECK(trace.runs.size() == reads);
  const double deadlines =
      1.0 + std::floor((trace.runs.back().first_s - trace.runs.front().first_s) * 1000.0);
  const double accounted = static_cast<double>(reads + trace.quality.missed_deadlines);
  // The reading at the stop is one more, and the first one's own duration blurs the count by one.
  CHECK(accounted >= deadlines - 1.0 && accounted <= deadlines + 2.0);
  CHECK(trace.quality.sampler_cpu_s > 0.0 && trace.quality.sampler_cpu_s < 0.3);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
// A day takes minutes under a sanitizer, and nothing in it is new to one: skipped there.
#else
TEST(a_day_at_1_khz_of_a_counter_that_changes_at_every_reading) {
  const auto clock = std::make_shared<ScriptedClock>();
  Sampler sampler({std::make_shared<ScriptedSensor>("e", channel("e", Kind::counter),
                                                    PowerSteps({0.0}, {250.0}), clock, 0.0)},
                  1000.0, clock);
  const double start_s = steady_clock()->now_s();
  sampler.start();
  clock->advance(86400.0);
  sampler.stop();
  CHECK(steady_clock()->now_s() - start_s < 30.0);
  const ChannelTrace trace = sampler.trace(0);
  CHECK_NEAR(trace.quality.achieved_rate_hz, 1000.0, 1e-9);
  CHECK(trace.quality.missed_deadlines == 0);
  CHECK(trace.runs.size() > 100'000 && trace.runs.size() <= TraceWriter::default_capacity);
  CHECK(trace.knots.time_s.back() == 86400.0);
  CHECK(trace.knots.energy_j.back() == 250.0 * 86400.0);
}

TEST(a_day_at_1_khz_of_power_that_changes_at_every_reading) {
  const auto clock = std::make_shared<ScriptedClock>();
  // Each reading falls on the middle of a step.
  const PowerSteps steps({0.0, 0.001}, {100.0, 300.0}, 0.002);
  Sampler sampler({std::make_shared<ScriptedSensor>("p", channel("p", Kind::power), steps, clock, -0.0005)},
                  1000.0, clock);
  const double start_s = steady_clock()->now_s();
  sampler.start();
  clock->advance(86400.0);
  sampler.stop();
  CHECK(steady_clock()->now_s() - start_s < 30.0);
  const ChannelTrace trace = sampler.trace(0);
  CHECK_NEAR(trace.quality.achieved_rate_hz, 1000.0, 1e-9);
  CHECK(trace.quality.missed_deadlines == 0);
  CHECK(trace.runs.size() > 100'000 && trace.runs.size() <= TraceWriter::default_capacity);
  CHECK_NEAR(trace.knots.energy_j.back() / (200.0 * 86400.0), 1.0, 1e-9);
}
#endif

CHECK_MAIN
