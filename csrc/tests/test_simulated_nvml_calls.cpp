#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "simulation.hpp"

using namespace simulation;

TEST(functions_fail_as_often_as_asked) {
  const Simulation simulation(10.0, 2);
  const nvmlDevice_t device = simulation.handle(0), other = simulation.handle(1);
  CHECK(simulated_nvml_fail(0, "nvmlDeviceGetPowerUsage", NVML_ERROR_TIMEOUT, 2) == 0);
  CHECK(power_usage(device) == NVML_ERROR_TIMEOUT);
  CHECK(power_usage(other) == NVML_SUCCESS);
  CHECK(power_usage(device) == NVML_ERROR_TIMEOUT);
  CHECK(power_usage(device) == NVML_SUCCESS);
  CHECK(simulated_nvml_calls("nvmlDeviceGetPowerUsage") == 4);
  CHECK(simulated_nvml_fail(0, "nvmlDeviceGetPowerUsage", NVML_ERROR_GPU_IS_LOST, -1) == 0);
  for (int i = 0; i < 5; ++i) CHECK(power_usage(device) == NVML_ERROR_GPU_IS_LOST);
  CHECK(simulated_nvml_fail(0, "nvmlDeviceGetPowerUsage", NVML_ERROR_GPU_IS_LOST, 0) == 0);
  CHECK(power_usage(device) == NVML_SUCCESS);

  CHECK(simulated_nvml_fail(7, "nvmlInit_v2", NVML_ERROR_DRIVER_NOT_LOADED, 1) == 0);
  CHECK(nvmlInit_v2() == NVML_ERROR_DRIVER_NOT_LOADED);
  CHECK(simulated_nvml_fail(1, "nvmlDeviceGetHandleByUUID", NVML_ERROR_NO_PERMISSION, 1) == 0);
  nvmlDevice_t found = nullptr;
  CHECK(nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-000000000000", &found) == NVML_SUCCESS);
  CHECK(nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-000000000001", &found) ==
        NVML_ERROR_NO_PERMISSION);
}

TEST(a_field_fails_inside_a_call_that_succeeds) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  CHECK(simulated_nvml_fail(0, "field:186", NVML_ERROR_NO_DATA, 1) == 0);
  nvmlFieldValue_t fields[3] = {};
  fields[0].fieldId = NVML_FI_DEV_POWER_INSTANT;
  fields[1].fieldId = NVML_FI_DEV_POWER_AVERAGE;
  fields[2].fieldId = NVML_FI_DEV_POWER_SYNC_BALANCING_AF;
  CHECK(nvmlDeviceGetFieldValues(device, 3, fields) == NVML_SUCCESS);
  CHECK(fields[0].nvmlReturn == NVML_ERROR_NO_DATA);
  CHECK(fields[1].nvmlReturn == NVML_SUCCESS && fields[1].value.uiVal == 60000);
  CHECK(fields[2].nvmlReturn == NVML_ERROR_NOT_SUPPORTED);
  CHECK(instant_mw(device) == 60000);
  CHECK(simulated_nvml_fail(0, "nvmlDeviceGetFieldValues", NVML_ERROR_UNKNOWN, 1) == 0);
  CHECK(nvmlDeviceGetFieldValues(device, 3, fields) == NVML_ERROR_UNKNOWN);
  CHECK(nvmlDeviceGetFieldValues(device, 0, fields) == NVML_ERROR_INVALID_ARGUMENT);
}

TEST(sessions_are_counted) {
  unsigned count = 0;
  CHECK(nvmlDeviceGetCount_v2(&count) == NVML_ERROR_UNINITIALIZED);
  CHECK(nvmlShutdown() == NVML_ERROR_UNINITIALIZED);
  nvmlDevice_t device = nullptr;
  {
    const Simulation simulation(10.0);
    device = simulation.handle();
    CHECK(nvmlInit_v2() == NVML_SUCCESS);
    CHECK(nvmlShutdown() == NVML_SUCCESS);
    CHECK(power_usage(device) == NVML_SUCCESS);
  }
  CHECK(power_usage(device) == NVML_ERROR_UNINITIALIZED);
}

TEST(devices_are_found_by_every_name) {
  const Simulation simulation(10.0, 12);
  unsigned count = 0;
  CHECK(nvmlDeviceGetCount_v2(&count) == NVML_SUCCESS && count == 12);
  const nvmlDevice_t tenth = simulation.handle(10);
  char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
  CHECK(nvmlDeviceGetUUID(tenth, uuid, sizeof uuid) == NVML_SUCCESS);
  CHECK(std::string(uuid) == "GPU-00000000-0000-0000-0000-00000000000a");
  CHECK(nvmlDeviceGetUUID(tenth, uuid, 8) == NVML_ERROR_INSUFFICIENT_SIZE);
  nvmlPciInfo_t pci{};
  CHECK(nvmlDeviceGetPciInfo_v3(tenth, &pci) == NVML_SUCCESS);
  CHECK(std::string(pci.busId) == "00000000:0b:00.0");
  for (const char* bus_id : {"00000000:0B:00.0", "0000:0b:00.0", "0b:00.0"}) {
    nvmlDevice_t found = nullptr;
    CHECK(nvmlDeviceGetHandleByPciBusId_v2(bus_id, &found) == NVML_SUCCESS && found == tenth);
  }
  nvmlDevice_t found = nullptr;
  CHECK(nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-00000000000a", &found) == NVML_SUCCESS);
  CHECK(found == tenth);
  CHECK(nvmlDeviceGetHandleByUUID("GPU-a", &found) == NVML_ERROR_NOT_FOUND);
  CHECK(nvmlDeviceGetHandleByPciBusId_v2("00000000:0b:00.0z", &found) == NVML_ERROR_NOT_FOUND);
  CHECK(nvmlDeviceGetHandleByIndex_v2(12, &found) == NVML_ERROR_INVALID_ARGUMENT);
  CHECK(power_usage(nullptr) == NVML_ERROR_INVALID_ARGUMENT);
}

TEST(mig_instances_have_no_power_of_their_own) {
  const Simulation simulation(10.0, 2);
  const nvmlDevice_t device = simulation.handle(1);
  unsigned count = 9, current = 9, pending = 9;
  CHECK(nvmlDeviceGetMaxMigDeviceCount(device, &count) == NVML_SUCCESS && count == 0);
  configure("mig", 2.0, 1);
  CHECK(nvmlDeviceGetMaxMigDeviceCount(device, &count) == NVML_SUCCESS && count == 7);
  CHECK(nvmlDeviceGetMigMode(device, &current, &pending) == NVML_SUCCESS && current == 1 && pending == 1);
  nvmlDevice_t instance = nullptr, found = nullptr;
  CHECK(nvmlDeviceGetMigDeviceHandleByIndex(device, 2, &instance) == NVML_ERROR_NOT_FOUND);
  CHECK(nvmlDeviceGetMigDeviceHandleByIndex(device, 1, &instance) == NVML_SUCCESS);
  char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
  CHECK(nvmlDeviceGetUUID(instance, uuid, sizeof uuid) == NVML_SUCCESS);
  CHECK(std::string(uuid) == "MIG-00000000-0000-0000-0001-000000000001");
  CHECK(nvmlDeviceGetHandleByUUID(uuid, &found) == NVML_SUCCESS && found == instance);
  unsigned is_instance = 9;
  CHECK(nvmlDeviceIsMigDeviceHandle(instance, &is_instance) == NVML_SUCCESS && is_instance == 1);
  CHECK(nvmlDeviceIsMigDeviceHandle(device, &is_instance) == NVML_SUCCESS && is_instance == 0);
  CHECK(nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance, &found) == NVML_SUCCESS && found == device);
  CHECK(power_usage(instance) == NVML_ERROR_NOT_SUPPORTED);
  CHECK(field(instance, 186).nvmlReturn == NVML_ERROR_NOT_SUPPORTED);
  CHECK(instant_mw(device) == 60000);
  configure("mig", 0.0, 1);
  CHECK(power_usage(instance) == NVML_ERROR_INVALID_ARGUMENT);
}

TEST(what_other_tools_ask_for_is_answered) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  nvmlUtilization_t utilization{9, 9};
  CHECK(nvmlDeviceGetUtilizationRates(device, &utilization) == NVML_SUCCESS);
  CHECK(utilization.gpu == 0 && utilization.memory == 0);
  CHECK(simulated_nvml_set_power(0, 300.0) == 0);
  CHECK(nvmlDeviceGetUtilizationRates(device, &utilization) == NVML_SUCCESS && utilization.gpu == 100);
  nvmlComputeMode_t mode = NVML_COMPUTEMODE_PROHIBITED;
  CHECK(nvmlDeviceGetComputeMode(device, &mode) == NVML_SUCCESS && mode == NVML_COMPUTEMODE_DEFAULT);
  nvmlC2cModeInfo_v1_t c2c{9};
  CHECK(nvmlDeviceGetC2cModeInfoV(device, &c2c) == NVML_SUCCESS && c2c.isC2cEnabled == 0);
  unsigned compute = 9, graphics = 9;
  CHECK(nvmlDeviceGetComputeRunningProcesses_v3(device, &compute, nullptr) == NVML_SUCCESS && compute == 0);
  CHECK(nvmlDeviceGetGraphicsRunningProcesses_v3(device, &graphics, nullptr) == NVML_SUCCESS);
  CHECK(graphics == 0);
}

TEST(a_hanging_device_holds_up_only_its_own_readers) {
  const Simulation simulation(10.0, 2);
  const nvmlDevice_t device = simulation.handle(0), other = simulation.handle(1);
  CHECK(simulated_nvml_hang(0, 1) == 0);
  std::atomic<bool> returned{false};
  std::thread reader([&] {
    CHECK(power_usage(device) == NVML_SUCCESS);
    returned = true;
  });
  while (simulated_nvml_calls("nvmlDeviceGetPowerUsage") < 1) std::this_thread::yield();
  CHECK(power_usage(other) == NVML_SUCCESS);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!returned);
  CHECK(simulated_nvml_hang(0, 0) == 0);
  reader.join();
  CHECK(returned);
}

TEST(a_call_takes_its_latency) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  configure("call_latency_s", 0.03);
  const auto start = std::chrono::steady_clock::now();
  const nvmlFieldValue_t value = field(device, 186);
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(30));
  CHECK(value.latencyUsec >= 30000);
}

TEST(forked_children_go_on_while_other_threads_read) {
  const Simulation simulation(10.0);
  const nvmlDevice_t device = simulation.handle();
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) power_usage(device);
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const bool reads = power_usage(device) == NVML_SUCCESS && simulated_nvml_set_power(0, 1.0) == 0;
      _exit(reads ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  reader.join();
  CHECK(simulated_nvml_true_power_w(0, 11.0) == 60.0);
}

TEST(what_makes_no_sense_is_refused) {
  const Simulation simulation(10.0);
  const double zero = 0.0, one = 1.0, negative = -1.0;
  CHECK(simulated_nvml_reset(65) == -1);
  CHECK(simulated_nvml_configure(0, "update_period", 0.1) == -1);
  CHECK(simulated_nvml_configure(0, "update_period_s", 0.0) == -1);
  CHECK(simulated_nvml_configure(0, "gain", std::nan("")) == -1);
  CHECK(simulated_nvml_configure(1, "gain", 1.0) == -1);
  CHECK(simulated_nvml_set_power(0, -1.0) == -1);
  CHECK(simulated_nvml_set_power(1, 1.0) == -1);
  CHECK(simulated_nvml_play(0, 0.0, 0, &one, &one, 0) == -1);
  CHECK(simulated_nvml_play(0, 0.0, 1, &zero, &one, 0) == -1);
  CHECK(simulated_nvml_play(0, 0.0, 1, &one, &negative, 0) == -1);
  CHECK(simulated_nvml_fail(0, "nvmlDeviceGetPower", 1, 1) == -1);
  CHECK(simulated_nvml_fail(0, "field:x", 1, 1) == -1);
  CHECK(simulated_nvml_fail(1, "field:186", 1, 1) == -1);
  CHECK(simulated_nvml_hang(1, 1) == -1);
  CHECK(simulated_nvml_calls("nvmlDeviceGetPower") == ~0ULL);
  CHECK(std::isnan(simulated_nvml_true_power_w(1, 0.0)));
}

CHECK_MAIN
