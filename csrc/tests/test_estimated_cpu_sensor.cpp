#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "check.hpp"
#include "pywatt/clock.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/estimated_cpu_sensor.hpp"

using namespace pywatt;

namespace {

double process_cpu_s() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

double read(EstimatedCpuSensor& sensor) {
  double energy_j = -1.0;
  sensor.read(&energy_j);
  return energy_j;
}

/// PYWATT_CPU_TDP_W, given back as it was found.
class Variable {
 public:
  explicit Variable(const char* value) {
    const char* const now = ::getenv(name);
    was_set_ = now != nullptr;
    if (was_set_) before_ = now;
    if (value)
      ::setenv(name, value, 1);
    else
      ::unsetenv(name);
  }
  ~Variable() {
    if (was_set_)
      ::setenv(name, before_.c_str(), 1);
    else
      ::unsetenv(name);
  }

 private:
  static constexpr const char* name = "PYWATT_CPU_TDP_W";
  bool was_set_ = false;
  std::string before_;
};

}  // namespace

TEST(energy_is_idle_power_by_time_and_the_rest_by_cpu_time) {
  const auto clock = std::make_shared<ScriptedClock>(1000.0);
  double cpu_s = 50.0;
  EstimatedCpuSensor sensor({20.0, 100.0, 4}, [&] { return cpu_s; }, clock);
  CHECK(read(sensor) == 0.0);

  clock->advance(2.0);  // idle
  CHECK(read(sensor) == 40.0);

  clock->advance(1.0);  // one CPU of four busy
  cpu_s += 1.0;
  CHECK(read(sensor) == 80.0);

  clock->advance(10.0);  // all four busy: full power
  cpu_s += 40.0;
  CHECK(read(sensor) == 1080.0);
}

TEST(it_never_falls) {
  const auto clock = std::make_shared<ScriptedClock>();
  double cpu_s = 0.0;
  EstimatedCpuSensor sensor({0.0, 10.0, 1}, [&] { return cpu_s; }, clock);
  cpu_s = 3.0;
  CHECK(read(sensor) == 30.0);
  cpu_s = 2.0;
  CHECK(read(sensor) == 30.0);
  cpu_s = 3.5;
  CHECK(read(sensor) == 35.0);
}

TEST(an_error_of_the_source_is_passed_on) {
  bool lost = false;
  const auto cpu_s = [&]() -> double {
    if (lost) throw LostSensorError("gone");
    return 0.0;
  };
  EstimatedCpuSensor sensor({0.0, 1.0, 1}, cpu_s, std::make_shared<ScriptedClock>());
  lost = true;
  CHECK_THROWS(read(sensor), LostSensorError);
}

TEST(its_channel_says_that_it_is_estimated) {
  const EstimatedCpuSensor sensor({6.5, 65.0, 12}, CpuScope::process, std::make_shared<ScriptedClock>());
  CHECK(sensor.name() == "cpu:estimated");
  CHECK(sensor.model().full_w == 65.0);
  CHECK(sensor.channels().size() == 1);
  const Channel& channel = sensor.channels()[0];
  CHECK(channel.name == "cpu:estimated");
  CHECK(channel.kind == Kind::counter);
  CHECK(channel.domain == "package");
  CHECK(channel.estimated);
  CHECK_NEAR(channel.resolution, 58.5 / 12 * 1e-9, 1e-20);
  CHECK(channel.contained_in.empty());
  CHECK_NEAR(channel.scale_std, 0.25, 1e-15);
  CHECK(channel.note ==
        "+/- 25 %, estimated from CPU time: 6.5 W idle to 65 W with all 12 logical CPUs busy");
}

TEST(a_model_must_make_sense) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const auto clock = std::make_shared<ScriptedClock>();
  for (const CpuPowerModel& model :
       {CpuPowerModel{-1.0, 10.0, 1}, CpuPowerModel{11.0, 10.0, 1}, CpuPowerModel{nan, 10.0, 1},
        CpuPowerModel{1.0, nan, 1}, CpuPowerModel{1.0, infinity, 1}, CpuPowerModel{1.0, 10.0, 0}})
    CHECK_THROWS(EstimatedCpuSensor(model, CpuScope::process, clock), ArgumentError);
  EstimatedCpuSensor constant({10.0, 10.0, 1}, CpuScope::process, clock);
  CHECK(read(constant) == 0.0);
}

TEST(the_default_model) {
  const Variable unset(nullptr);
  const CpuPowerModel model = CpuPowerModel::default_for_this_machine();
  CHECK(model.cpus == static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN)));
  CHECK(model.full_w == 3.5 * model.cpus);
  CHECK_NEAR(model.idle_w, 0.35 * model.cpus, 1e-12);
  CHECK(model.relative_std == 0.45);
}

TEST(the_full_load_can_be_given) {
  const Variable given("125.5");
  const CpuPowerModel model = CpuPowerModel::default_for_this_machine();
  CHECK(model.full_w == 125.5);
  CHECK_NEAR(model.idle_w, 12.55, 1e-12);
  CHECK(model.relative_std == 0.25);
  CHECK(CpuPowerModel::from_tdp(125.5).full_w == 125.5);
}

TEST(the_full_load_must_be_a_positive_number) {
  for (const char* const text : {"", "0", "-5", "nan", "inf", "65 W", "65,5", "many"}) {
    const Variable given(text);
    CHECK_THROWS(CpuPowerModel::default_for_this_machine(), ArgumentError);
  }
  CHECK_THROWS(CpuPowerModel::from_tdp(0.0), ArgumentError);
  CHECK_THROWS(CpuPowerModel::from_tdp(std::nan("")), ArgumentError);
}

// With no idle power and 1 W for one CPU, joules are CPU seconds.
TEST(the_process_is_charged_for_all_its_threads) {
  const double before_made_s = process_cpu_s();
  EstimatedCpuSensor sensor({0.0, 1.0, 1}, CpuScope::process, std::make_shared<ScriptedClock>());
  const double after_made_s = process_cpu_s();

  constexpr double each_s = 0.1;
  const auto burn = [] {
    timespec used{};
    do ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    while (static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9 < each_s);
  };
  std::thread first(burn), second(burn);
  first.join();
  second.join();

  const double before_read_s = process_cpu_s();
  const double charged_s = read(sensor);
  const double after_read_s = process_cpu_s();
  CHECK(charged_s >= 2 * each_s);
  constexpr double rounding_s = 1e-9;
  CHECK(charged_s >= before_read_s - after_made_s - rounding_s);
  CHECK(charged_s <= after_read_s - before_made_s + rounding_s);
}

CHECK_MAIN
