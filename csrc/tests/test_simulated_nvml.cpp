#include <chrono>
#include <set>

#include "simulation.hpp"

using namespace simulation;

TEST(constant_power_is_shown_exactly) {
  const Simulation simulation(100.0);
  const nvmlDevice_t device = simulation.handle();
  CHECK(instant_mw(device) == 60000);
  CHECK(average_mw(device) == 60000);
  CHECK(simulated_nvml_set_power(0, 321.5) == 0);
  CHECK(instant_mw(device) == 60000);  // published at 100.0, about the time before
  CHECK(simulated_nvml_set_time(102.0) == 0);
  CHECK(instant_mw(device) == 321500);
  CHECK(average_mw(device) == 321500);
  CHECK_NEAR(simulated_nvml_true_energy_j(0, 99.0, 102.0), 60.0 + 2 * 321.5, 1e-9);
  CHECK(simulated_nvml_true_power_w(0, 99.999) == 60.0);
  CHECK(simulated_nvml_true_power_w(0, 100.0) == 321.5);
}

TEST(square_wave_is_averaged_over_the_window_before_each_update) {
  const Simulation simulation(0.0);
  const nvmlDevice_t device = simulation.handle();
  const double duration_s[] = {0.04, 0.06}, power_w[] = {400.0, 100.0};
  CHECK(simulated_nvml_play(0, 10.0, 2, duration_s, power_w, 1) == 0);
  configure("window_s", 0.08);
  configure("average_window_s", 0.2);
  // The update at 10.4 sees [10.32, 10.4]: 20 ms at 400 W, 60 ms at 100 W.
  for (const double time_s : {10.4, 10.45, 10.499}) {
    CHECK(simulated_nvml_set_time(time_s) == 0);
    CHECK(instant_mw(device) == 175000);
    CHECK(average_mw(device) == 220000);
  }
  configure("phase_s", 0.05);  // [10.37, 10.45]: 30 ms at 100 W, 40 ms at 400 W, 10 ms at 100 W
  CHECK(simulated_nvml_set_time(10.46) == 0);
  CHECK(instant_mw(device) == 250000);
  CHECK(average_mw(device) == 220000);
  configure("window_s", 0.0);
  CHECK(instant_mw(device) == 100000);
  // A million cycles on, the answer is as exact and no slower to find.
  CHECK_NEAR(simulated_nvml_true_energy_j(0, 10.0, 100010.0), 22e6, 1e-3);
  CHECK(simulated_nvml_true_power_w(0, 100010.02) == 400.0);
}

TEST(playing_once_holds_the_last_power_and_forgets_what_was_later) {
  const Simulation simulation(0.0);
  const double duration_s[] = {1.0, 2.0, 1.0}, power_w[] = {100.0, 300.0, 50.0};
  CHECK(simulated_nvml_play(0, 5.0, 3, duration_s, power_w, 0) == 0);
  CHECK_NEAR(simulated_nvml_true_energy_j(0, 4.0, 18.0), 60 + 100 + 600 + 50 * 10, 1e-9);
  CHECK(simulated_nvml_set_time(6.0) == 0);
  CHECK(simulated_nvml_set_power(0, 200.0) == 0);
  CHECK_NEAR(simulated_nvml_true_energy_j(0, 5.0, 8.0), 100 + 400, 1e-9);
  CHECK(simulated_nvml_play(0, 5.5, 1, duration_s, power_w, 1) == 0);
  CHECK_NEAR(simulated_nvml_true_energy_j(0, 0.0, 8.0), 5 * 60 + 300, 1e-9);
  CHECK_NEAR(simulated_nvml_true_energy_j(0, -1.0, 0.0), 60, 1e-9);
}

TEST(counter_moves_at_its_own_update_times_in_whole_mj) {
  const Simulation simulation(50.0);
  const nvmlDevice_t device = simulation.handle();
  configure("counter_period_s", 0.02);
  configure("counter_phase_s", 0.005);
  CHECK(simulated_nvml_set_power(0, 123.4567) == 0);
  CHECK(simulated_nvml_set_time(50.005) == 0);
  const unsigned long long before_mj = energy_mj(device);
  CHECK(before_mj > 0);
  CHECK(simulated_nvml_set_time(50.0249) == 0);
  CHECK(energy_mj(device) == before_mj);
  CHECK(simulated_nvml_set_time(50.025) == 0);
  // 0.2835 mJ were left over at 50.005 s; 20 ms at 123.4567 W are 2469.134 mJ.
  CHECK(energy_mj(device) == before_mj + 2469);
  CHECK(simulated_nvml_set_time(60.005) == 0);
  CHECK(energy_mj(device) == before_mj + 1234567);
}

TEST(gain_and_offset_are_in_power_and_counter) {
  const Simulation simulation(20.0, 2);
  configure("gain", 1.05, 1);
  configure("offset_w", -3.0, 1);
  const nvmlDevice_t good = simulation.handle(0), off = simulation.handle(1);
  const unsigned long long good_mj = energy_mj(good), off_mj = energy_mj(off);
  for (unsigned i = 0; i < 2; ++i) CHECK(simulated_nvml_set_power(i, 200.0) == 0);
  CHECK(simulated_nvml_set_time(30.0) == 0);
  CHECK(instant_mw(good) == 200000);
  CHECK(instant_mw(off) == 207000);
  CHECK(energy_mj(good) == good_mj + 2000000);
  CHECK(energy_mj(off) == off_mj + 2070000);
  configure("gain", 0.5, 1);
  CHECK(energy_mj(off) == off_mj + 2070000);
  CHECK(instant_mw(off) == 97000);
}

TEST(jitter_and_noise_are_reproducible) {
  const double duration_s[] = {0.001, 0.001}, power_w[] = {100.0, 300.0};
  const auto change_times = [&](unsigned device) {
    const Simulation simulation(1.0, 2);
    const nvmlDevice_t handle = simulation.handle(device);
    configure("update_jitter_s", 0.01, device);
    configure("noise_w", 2.0, device);
    configure("window_s", 0.002, device);
    CHECK(simulated_nvml_play(device, 0.0, 2, duration_s, power_w, 1) == 0);
    std::vector<std::pair<double, unsigned>> changes;
    unsigned last_mw = 0;
    for (int i = 0; i < 20000; ++i) {
      const double time_s = 1.0 + i * 5e-4;
      CHECK(simulated_nvml_set_time(time_s) == 0);
      const unsigned now_mw = instant_mw(handle);
      if (now_mw != last_mw) changes.emplace_back(time_s, now_mw);
      last_mw = now_mw;
    }
    return changes;
  };
  const auto changes = change_times(0);
  CHECK(changes == change_times(0));
  CHECK(changes != change_times(1));
  CHECK(changes.size() >= 100 && changes.size() <= 102);
  std::set<int> offsets_ms;
  double sum_w = 0.0, squares_w2 = 0.0;
  for (std::size_t i = 1; i < changes.size(); ++i) {
    const double off_s = std::remainder(changes[i].first, 0.1);
    CHECK(off_s >= -0.01 && off_s <= 0.0106);
    offsets_ms.insert(static_cast<int>(std::floor(1e3 * off_s)));
    const double noise_w = 1e-3 * changes[i].second - 200.0;
    sum_w += noise_w;
    squares_w2 += noise_w * noise_w;
  }
  CHECK(offsets_ms.size() > 10);
  const auto count = static_cast<double>(changes.size() - 1);
  CHECK_NEAR(sum_w / count, 0.0, 0.8);  // four standard errors
  CHECK_NEAR(std::sqrt(squares_w2 / count), 2.0, 0.6);
}

TEST(what_a_device_lacks_is_not_supported) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  for (const char* property : {"has_instant", "has_average", "has_power_usage", "has_counter"}) {
    configure(property, 0.0);
  }
  unsigned long long energy = 0;
  CHECK(power_usage(device) == NVML_ERROR_NOT_SUPPORTED);
  CHECK(nvmlDeviceGetTotalEnergyConsumption(device, &energy) == NVML_ERROR_NOT_SUPPORTED);
  for (const unsigned id : {83U, 185U, 186U, 191U}) {
    CHECK(field(device, id).nvmlReturn == NVML_ERROR_NOT_SUPPORTED);
  }
}

TEST(module_power_is_above_the_gpu_and_other_scopes_are_not_there) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  CHECK(field(device, 186, NVML_POWER_SCOPE_MODULE).nvmlReturn == NVML_ERROR_NOT_SUPPORTED);
  configure("module_power_w", 110.5);
  CHECK(instant_mw(device, NVML_POWER_SCOPE_MODULE) == 170500);
  CHECK(instant_mw(device) == 60000);
  CHECK(field(device, 186, NVML_POWER_SCOPE_MEMORY).nvmlReturn == NVML_ERROR_NOT_SUPPORTED);
  CHECK(field(device, 191, NVML_POWER_SCOPE_MODULE).nvmlReturn == NVML_ERROR_NOT_SUPPORTED);
}

TEST(timestamps_are_microseconds_since_1970) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  CHECK(simulated_nvml_set_time(-1.0) == 0);
  using std::chrono::microseconds;
  const auto now_us = [] {
    return std::chrono::duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  const long long before_us = now_us();
  const long long timestamp_us = field(device, 186).timestamp;
  CHECK(timestamp_us >= before_us - 1000 && timestamp_us <= now_us() + 1000);
}

CHECK_MAIN
