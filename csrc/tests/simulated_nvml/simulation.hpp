#pragma once

#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>

#include "check.hpp"
#include "control.h"

/// What the tests of the simulated library itself have in common.
namespace simulation {

/// A fresh simulation at a time set by hand, with one session open, and every count at zero.
struct Simulation {
  explicit Simulation(double time_s, unsigned devices = 1) {
    CHECK(nvmlInit_v2() == NVML_SUCCESS);
    CHECK(simulated_nvml_reset(devices) == 0);
    CHECK(simulated_nvml_set_time(time_s) == 0);
  }
  ~Simulation() {
    simulated_nvml_reset(1);
    nvmlShutdown();
  }
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  nvmlDevice_t handle(unsigned index = 0) const {
    nvmlDevice_t device = nullptr;
    CHECK(nvmlDeviceGetHandleByIndex_v2(index, &device) == NVML_SUCCESS);
    return device;
  }
};

inline void configure(const char* property, double value, unsigned device = 0) {
  CHECK(simulated_nvml_configure(device, property, value) == 0);
}

inline nvmlFieldValue_t field(nvmlDevice_t device, unsigned id, unsigned scope = 0) {
  nvmlFieldValue_t value{};
  value.fieldId = id;
  value.scopeId = scope;
  CHECK(nvmlDeviceGetFieldValues(device, 1, &value) == NVML_SUCCESS);
  return value;
}

inline unsigned instant_mw(nvmlDevice_t device, unsigned scope = NVML_POWER_SCOPE_GPU) {
  const nvmlFieldValue_t value = field(device, NVML_FI_DEV_POWER_INSTANT, scope);
  CHECK(value.nvmlReturn == NVML_SUCCESS);
  CHECK(value.valueType == NVML_VALUE_TYPE_UNSIGNED_INT);
  return value.value.uiVal;
}

inline unsigned average_mw(nvmlDevice_t device) {
  const nvmlFieldValue_t value = field(device, NVML_FI_DEV_POWER_AVERAGE);
  CHECK(value.nvmlReturn == NVML_SUCCESS);
  unsigned usage_mw = 0;
  CHECK(nvmlDeviceGetPowerUsage(device, &usage_mw) == NVML_SUCCESS);
  CHECK(usage_mw == value.value.uiVal);
  return usage_mw;
}

inline unsigned long long energy_mj(nvmlDevice_t device) {
  unsigned long long energy = 0;
  CHECK(nvmlDeviceGetTotalEnergyConsumption(device, &energy) == NVML_SUCCESS);
  for (const unsigned id : {NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, NVML_FI_DEV_ENERGY}) {
    const nvmlFieldValue_t value = field(device, id);
    CHECK(value.nvmlReturn == NVML_SUCCESS);
    CHECK(value.valueType == NVML_VALUE_TYPE_UNSIGNED_LONG_LONG);
    CHECK(value.value.ullVal == energy);
  }
  return energy;
}

inline nvmlReturn_t power_usage(nvmlDevice_t device) {
  unsigned power_mw = 0;
  return nvmlDeviceGetPowerUsage(device, &power_mw);
}

}  // namespace simulation
