#include <atomic>
#include <limits>
#include <thread>

#include "check.hpp"
#include "pywatt/clock.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/scripted_sensor.hpp"

using namespace pywatt;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::nan("");

Channel channel(Kind kind) {
  Channel channel;
  channel.name = "scripted";
  channel.kind = kind;
  channel.domain = "gpu";
  return channel;
}

double read(Sensor& sensor) {
  double value = -1.0;
  sensor.read(&value);
  return value;
}

}  // namespace

TEST(steps_hold_until_the_next_and_the_last_for_ever) {
  const PowerSteps steps({0.0, 1.0, 3.0}, {10.0, 20.0, 5.0});
  CHECK(steps.power_w(-4.0) == 10.0);
  CHECK(steps.power_w(0.0) == 10.0);
  CHECK(steps.power_w(0.999) == 10.0);
  CHECK(steps.power_w(1.0) == 20.0);
  CHECK(steps.power_w(3.0) == 5.0);
  CHECK(steps.power_w(1e9) == 5.0);
  CHECK(steps.energy_j(0.0, 1.0) == 10.0);
  CHECK(steps.energy_j(0.5, 1.5) == 15.0);
  CHECK(steps.energy_j(0.0, 3.0) == 50.0);
  CHECK(steps.energy_j(-2.0, 5.0) == 80.0);
  CHECK(steps.energy_j(10.0, 12.0) == 10.0);
  CHECK(steps.energy_j(2.0, 2.0) == 0.0);
  CHECK(steps.energy_j(3.0, 0.0) == -50.0);
}

TEST(steps_repeat) {
  const PowerSteps steps({0.0, 0.25}, {400.0, 100.0}, 1.0);  // 175 J a second
  CHECK(steps.power_w(5.0) == 400.0);
  CHECK(steps.power_w(5.25) == 100.0);
  CHECK(steps.power_w(-0.5) == 400.0);
  CHECK(steps.energy_j(0.0, 1.0) == 175.0);
  CHECK(steps.energy_j(0.0, 86400.0) == 175.0 * 86400.0);
  CHECK(steps.energy_j(0.125, 2.5) == 50.0 + 75.0 + 175.0 + 125.0);
  CHECK(steps.energy_j(-1.0, 1.0) == 400.0 + 175.0);
}

TEST(mean_power_is_exact_where_it_does_not_change) {
  const PowerSteps steps({0.0, 1.0}, {0.1, 0.3});
  CHECK(steps.mean_power_w(2.1, 2.2) == 0.3);
  CHECK(steps.mean_power_w(0.7, 0.9) == 0.1);
  CHECK_NEAR(steps.mean_power_w(0.5, 1.5), 0.2, 1e-15);
}

TEST(steps_that_make_no_sense_are_refused) {
  CHECK_THROWS(PowerSteps({}, {}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0}, {1.0, 2.0}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.5}, {1.0}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0, 1.0, 1.0}, {1.0, 2.0, 3.0}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0, not_a_number}, {1.0, 2.0}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0, infinity}, {1.0, 2.0}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0}, {not_a_number}), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0, 1.0}, {1.0, 2.0}, 1.0), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0}, {1.0}, 0.0), ArgumentError);
  CHECK_THROWS(PowerSteps({0.0}, {1.0}, not_a_number), ArgumentError);
}

TEST(power_is_that_of_the_moment) {
  const auto clock = std::make_shared<ScriptedClock>(100.0);
  ScriptedSensor sensor("scripted", channel(Kind::power), PowerSteps({0.0, 1.0}, {10.0, 20.0}), clock, 100.0);
  CHECK(sensor.name() == "scripted");
  CHECK(sensor.channels().size() == 1);
  CHECK(sensor.channels()[0].domain == "gpu");
  CHECK(read(sensor) == 10.0);
  clock->advance(1.0);
  CHECK(read(sensor) == 20.0);
  CHECK(sensor.true_energy_j(100.5, 102.0) == 25.0);
}

TEST(power_is_published_at_update_times_as_a_mean_of_the_window_before) {
  const auto clock = std::make_shared<ScriptedClock>(8.0);
  const PowerSteps steps({0.0, 0.875}, {100.0, 300.0});
  ScriptedSensor sensor("scripted", channel(Kind::power), steps, clock, 8.0, {0.5, 0.25});
  CHECK(read(sensor) == 100.0);
  clock->advance(0.9375);  // the last update was at 0.5
  CHECK(read(sensor) == 100.0);
  clock->advance(0.0625);  // 1.0: half of the window lies on either side of the step
  CHECK(read(sensor) == 200.0);
  clock->advance(0.4375);
  CHECK(read(sensor) == 200.0);
  clock->advance(0.0625);
  CHECK(read(sensor) == 300.0);
}

TEST(counter_is_the_energy_up_to_its_last_update) {
  const auto clock = std::make_shared<ScriptedClock>(8.0);
  const PowerSteps steps({0.0, 1.0}, {100.0, 300.0});
  ScriptedSensor at_once("scripted", channel(Kind::counter), steps, clock, 8.0);
  ScriptedSensor published("scripted", channel(Kind::counter), steps, clock, 8.0, {0.5, 0.0});
  CHECK(read(at_once) == 0.0);
  clock->advance(1.25);
  CHECK(read(at_once) == 175.0);
  CHECK(read(published) == 100.0);
  clock->advance(0.25);
  CHECK(read(published) == 250.0);
}

TEST(counter_before_its_origin_only_grows) {
  const auto clock = std::make_shared<ScriptedClock>(6.0);
  ScriptedSensor sensor("scripted", channel(Kind::counter), PowerSteps({0.0}, {100.0}), clock, 8.0);
  CHECK(read(sensor) == -200.0);
  clock->advance(3.0);
  CHECK(read(sensor) == 100.0);
}

TEST(plain_readings_come_one_after_another_and_the_last_stays) {
  ScriptedSensor sensor("plain", channel(Kind::power), {1.0, not_a_number, 3.0});
  CHECK(read(sensor) == 1.0);
  CHECK_THROWS(read(sensor), PassingSensorError);
  CHECK(read(sensor) == 3.0);
  CHECK(read(sensor) == 3.0);
  CHECK_THROWS(sensor.true_energy_j(0.0, 1.0), ArgumentError);

  ScriptedSensor lost("plain", channel(Kind::power), {1.0, infinity});
  CHECK(read(lost) == 1.0);
  CHECK_THROWS(read(lost), LostSensorError);
  CHECK_THROWS(read(lost), LostSensorError);
}

TEST(sensors_that_make_no_sense_are_refused) {
  const auto clock = std::make_shared<ScriptedClock>();
  const PowerSteps steps({0.0}, {1.0});
  const auto make = [&](std::shared_ptr<Clock> on, double origin_s, Publishing publishing) {
    return ScriptedSensor("scripted", channel(Kind::power), steps, std::move(on), origin_s, publishing);
  };
  CHECK_THROWS(ScriptedSensor("plain", channel(Kind::power), {}), ArgumentError);
  CHECK_THROWS(make(nullptr, 0.0, {}), ArgumentError);
  CHECK_THROWS(make(clock, infinity, {}), ArgumentError);
  CHECK_THROWS(make(clock, 0.0, {-1.0, 0.0}), ArgumentError);
  CHECK_THROWS(make(clock, 0.0, {0.0, not_a_number}), ArgumentError);
}

TEST(hung_reads_go_on_when_released) {
  ScriptedSensor sensor("plain", channel(Kind::power), {7.0});
  sensor.hang();
  std::atomic<double> value{0.0};
  std::thread reader([&] { value = read(sensor); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(value == 0.0);
  sensor.release();
  reader.join();
  CHECK(value == 7.0);
  CHECK(read(sensor) == 7.0);
}

CHECK_MAIN
