// The functions of nvml.h that read from a device, with the value types and units of the real library.
#pragma GCC visibility push(default)
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>
#pragma GCC visibility pop

#include <chrono>
#include <cmath>
#include <cstring>

#include "library.hpp"

namespace {

using simulated::Device;
using simulated::give;
using simulated::Library;
using simulated::read_from;
using simulated::Target;

constexpr unsigned kMinLimit_mw = 200000, kMaxLimit_mw = 700000;
constexpr unsigned kMaxClock_mhz = 1980, kMemoryClock_mhz = 2619;
constexpr unsigned long long kMemory_bytes = 80ULL << 30U, kUsed_bytes = 1ULL << 30U;

unsigned rounded(double value) { return static_cast<unsigned>(std::llround(value)); }

/// A call that reads one value which a MIG instance does not have.
template <class Value, class Body>
nvmlReturn_t read_value(const char* function, nvmlDevice_t handle, Value* to, Body body) {
  return read_from(function, handle, [&](Library& library, Target target) {
    if (to == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (target.mig_instance >= 0) return NVML_ERROR_NOT_SUPPORTED;
    return body(library.devices[target.device], library.now_s());
  });
}

template <class Value>
nvmlReturn_t read_constant(const char* function, nvmlDevice_t handle, Value* to, Value value) {
  return read_value(function, handle, to, [&](const Device&, double) { return give(to, value); });
}

bool supports_power(const Device& device, Device::Power kind) {
  return (kind == Device::Power::instant ? device.settings().has_instant : device.settings().has_average) >
         0.0;
}

nvmlReturn_t read_power_field(const Device& device, Device::Power kind, double now_s,
                              nvmlFieldValue_t& field) {
  const double module_w = device.settings().module_power_w;
  const bool of_module = field.scopeId == NVML_POWER_SCOPE_MODULE && module_w >= 0.0;
  if (!supports_power(device, kind) || (field.scopeId != NVML_POWER_SCOPE_GPU && !of_module)) {
    return NVML_ERROR_NOT_SUPPORTED;
  }
  field.valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
  field.value.uiVal = rounded(1e3 * (device.shown_power_w(kind, now_s) + (of_module ? module_w : 0.0)));
  return NVML_SUCCESS;
}

nvmlReturn_t read_field(const Device& device, double now_s, nvmlFieldValue_t& field) {
  const auto limit = [&field](unsigned limit_mw) {
    field.valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field.value.uiVal = limit_mw;
    return NVML_SUCCESS;
  };
  switch (field.fieldId) {
    case NVML_FI_DEV_POWER_INSTANT:
      return read_power_field(device, Device::Power::instant, now_s, field);
    case NVML_FI_DEV_POWER_AVERAGE:
      return read_power_field(device, Device::Power::average, now_s, field);
    case NVML_FI_DEV_ENERGY:
      if (field.scopeId != NVML_POWER_SCOPE_GPU) return NVML_ERROR_NOT_SUPPORTED;
      [[fallthrough]];
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
      if (device.settings().has_counter <= 0.0) return NVML_ERROR_NOT_SUPPORTED;
      field.valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
      field.value.ullVal = device.shown_energy_mj(now_s);
      return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_MIN_LIMIT:
      return limit(kMinLimit_mw);
    case NVML_FI_DEV_POWER_MAX_LIMIT:
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT:
    case NVML_FI_DEV_POWER_CURRENT_LIMIT:
    case NVML_FI_DEV_POWER_REQUESTED_LIMIT:
      return limit(kMaxLimit_mw);
    default:
      return field.fieldId < NVML_FI_MAX ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
  }
}

/// CPU time in microseconds since 1970 that belongs to `now_s`, which may be a time set by hand.
long long timestamp_us(double now_s) {
  const auto us = [](auto since) {
    return std::chrono::duration_cast<std::chrono::microseconds>(since).count();
  };
  return us(std::chrono::system_clock::now().time_since_epoch()) -
         us(std::chrono::steady_clock::now().time_since_epoch()) + std::llround(1e6 * now_s);
}

}  // namespace

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned* power) {
  return read_value(__func__, handle, power, [&](const Device& device, double now_s) {
    if (device.settings().has_power_usage <= 0.0) return NVML_ERROR_NOT_SUPPORTED;
    return give(power, rounded(1e3 * device.shown_power_w(Device::Power::average, now_s)));
  });
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t handle, unsigned long long* energy) {
  return read_value(__func__, handle, energy, [&](const Device& device, double now_s) {
    if (device.settings().has_counter <= 0.0) return NVML_ERROR_NOT_SUPPORTED;
    return give(energy, device.shown_energy_mj(now_s));
  });
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t handle, int count, nvmlFieldValue_t* fields) {
  const auto start = std::chrono::steady_clock::now();
  return read_from(__func__, handle, [&](Library& library, Target target) {
    if (count <= 0 || fields == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    const double now_s = library.now_s();
    for (nvmlFieldValue_t* field = fields; field != fields + count; ++field) {
      // What a failed field leaves in its value is undefined: something nobody can take for a reading.
      std::memset(&field->value, 0xff, sizeof field->value);
      field->timestamp = timestamp_us(now_s);
      field->latencyUsec =
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start)
              .count();
      field->nvmlReturn = library.injected(target.device, "field:" + std::to_string(field->fieldId));
      if (field->nvmlReturn != NVML_SUCCESS) continue;
      field->nvmlReturn = target.mig_instance >= 0
                              ? NVML_ERROR_NOT_SUPPORTED
                              : read_field(library.devices[target.device], now_s, *field);
    }
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t handle, unsigned* limit) {
  return read_constant(__func__, handle, limit, kMaxLimit_mw);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t handle, unsigned* limit) {
  return read_constant(__func__, handle, limit, kMaxLimit_mw);
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t handle, unsigned* limit) {
  return read_constant(__func__, handle, limit, kMaxLimit_mw);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t handle, unsigned* least,
                                                          unsigned* most) {
  return read_value(__func__, handle, least, [&](const Device&, double) {
    const nvmlReturn_t code = give(most, kMaxLimit_mw);
    return code == NVML_SUCCESS ? give(least, kMinLimit_mw) : code;
  });
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, nvmlTemperatureSensors_t, unsigned* temperature) {
  return read_value(__func__, handle, temperature, [&](const Device& device, double) {
    return give(temperature, rounded(device.settings().temperature_c));
  });
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t handle, nvmlTemperature_t* temperature) {
  return read_value(__func__, handle, temperature, [&](const Device& device, double) {
    if (temperature->version != nvmlTemperature_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return give(&temperature->temperature, rounded(device.settings().temperature_c));
  });
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t handle, nvmlClockType_t type, unsigned* clock) {
  return read_value(__func__, handle, clock, [&](const Device& device, double) {
    return give(clock, type == NVML_CLOCK_MEM ? kMemoryClock_mhz : rounded(device.settings().sm_clock_mhz));
  });
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t handle, nvmlClockType_t type, unsigned* clock) {
  return read_constant(__func__, handle, clock, type == NVML_CLOCK_MEM ? kMemoryClock_mhz : kMaxClock_mhz);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t handle, unsigned long long* reasons) {
  return read_value(__func__, handle, reasons, [&](const Device& device, double) {
    return give(reasons, device.settings().throttle_reasons);
  });
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t handle, unsigned long long* reasons) {
  return read_value(__func__, handle, reasons, [&](const Device& device, double) {
    return give(reasons, device.settings().throttle_reasons);
  });
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t* utilization) {
  return read_value(__func__, handle, utilization, [&](const Device& device, double now_s) {
    const bool works = device.truth.power_w(now_s) > Device::kIdlePowerW;
    return give(utilization, nvmlUtilization_t{works ? 100U : 0U, 0U});
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t* memory) {
  return read_from(__func__, handle, [&](Library&, Target) {
    return give(memory, nvmlMemory_t{kMemory_bytes, kMemory_bytes - kUsed_bytes, kUsed_bytes});
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t* memory) {
  return read_from(__func__, handle, [&](Library&, Target) {
    if (memory == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return give(memory,
                nvmlMemory_v2_t{nvmlMemory_v2, kMemory_bytes, 0, kMemory_bytes - kUsed_bytes, kUsed_bytes});
  });
}
