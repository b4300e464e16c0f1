// The functions of nvml.h that set NVML up, find devices and say what they are.
#pragma GCC visibility push(default)
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>
#pragma GCC visibility pop

#include <cstdio>
#include <cstring>

#include "library.hpp"

namespace {

constexpr unsigned kMostInstances = 7;

using simulated::call;
using simulated::call_on;
using simulated::Device;
using simulated::give;
using simulated::Library;
using simulated::Target;
using simulated::to_handle;

nvmlReturn_t copy_text(const std::string& text, char* to, unsigned length) {
  if (to == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (text.size() >= length) return NVML_ERROR_INSUFFICIENT_SIZE;
  std::memcpy(to, text.c_str(), text.size() + 1);
  return NVML_SUCCESS;
}

unsigned instances(const Library& library, Target target) {
  return static_cast<unsigned>(library.devices[target.device].settings().mig);
}

/// Looks a device up; the failure of a device that is found is that device's own.
template <class Matches>
nvmlReturn_t find_device(const char* function, const char* text, nvmlDevice_t* handle, Matches matches) {
  return call(function, [&](Library& library) {
    if (library.sessions == 0) return NVML_ERROR_UNINITIALIZED;
    if (text == nullptr || handle == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < library.devices.size(); ++i) {
      for (int k = -1; k < static_cast<int>(instances(library, {i, -1})); ++k) {
        if (!matches(library.devices[i], Target{i, k})) continue;
        const nvmlReturn_t code = library.injected(i, function);
        return code == NVML_SUCCESS ? give(handle, to_handle({i, k})) : code;
      }
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

std::string serial(unsigned device) {
  char text[32];
  std::snprintf(text, sizeof text, "%013u", device);
  return text;
}

nvmlReturn_t initialize(const char* function) {
  return call(function, [](Library& library) {
    ++library.sessions;
    return NVML_SUCCESS;
  });
}

template <class Body>
nvmlReturn_t call_system(const char* function, Body body) {
  return call(function, [&](Library& library) {
    return library.sessions == 0 ? NVML_ERROR_UNINITIALIZED : body(library);
  });
}

}  // namespace

nvmlReturn_t nvmlInit_v2() { return initialize(__func__); }

nvmlReturn_t nvmlInitWithFlags(unsigned) { return initialize(__func__); }

nvmlReturn_t nvmlShutdown() {
  return call_system(__func__, [](Library& library) {
    --library.sessions;
    return NVML_SUCCESS;
  });
}

const char* nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case NVML_SUCCESS:
      return "Success";
    case NVML_ERROR_UNINITIALIZED:
      return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT:
      return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED:
      return "Not Supported";
    case NVML_ERROR_NO_PERMISSION:
      return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND:
      return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE:
      return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT:
      return "Timeout";
    case NVML_ERROR_LIBRARY_NOT_FOUND:
      return "NVML Shared Library Not Found";
    case NVML_ERROR_FUNCTION_NOT_FOUND:
      return "Function Not Found";
    case NVML_ERROR_GPU_IS_LOST:
      return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED:
      return "GPU requires restart";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
      return "Driver/library version mismatch";
    case NVML_ERROR_IN_USE:
      return "In use by another client";
    case NVML_ERROR_MEMORY:
      return "Insufficient Memory";
    case NVML_ERROR_NO_DATA:
      return "No data";
    default:
      return "Unknown Error";
  }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned length) {
  return call_system(__func__, [&](Library&) { return copy_text("580.00.00", version, length); });
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char* version, unsigned length) {
  return call_system(__func__, [&](Library&) { return copy_text("13.580.00.00", version, length); });
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int* version) {
  return call(__func__, [&](Library&) { return give(version, 13000); });
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int* version) {
  return call(__func__, [&](Library&) { return give(version, 13000); });
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned* count) {
  return call_system(__func__, [&](Library& library) { return give(count, library.devices.size()); });
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* handle) {
  return call_system(__func__, [&](Library& library) {
    if (index >= library.devices.size() || handle == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    const nvmlReturn_t code = library.injected(index, "nvmlDeviceGetHandleByIndex_v2");
    return code == NVML_SUCCESS ? give(handle, to_handle({index, -1})) : code;
  });
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* handle) {
  return find_device(__func__, uuid, handle, [&](const Device& device, Target target) {
    return target.mig_instance < 0 ? device.uuid() == uuid
                                   : device.mig_uuid(static_cast<unsigned>(target.mig_instance)) == uuid;
  });
}

nvmlReturn_t nvmlDeviceGetHandleBySerial(const char* text, nvmlDevice_t* handle) {
  return find_device(__func__, text, handle, [&](const Device&, Target target) {
    return target.mig_instance < 0 && serial(target.device) == text;
  });
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, nvmlDevice_t* handle) {
  return find_device(__func__, bus_id, handle, [&](const Device&, Target target) {
    unsigned domain = 0, bus = 0, slot = 0, function = 0;
    int length = 0;
    if (std::sscanf(bus_id, "%x:%x:%x.%x%n", &domain, &bus, &slot, &function, &length) != 4) {
      domain = 0;
      if (std::sscanf(bus_id, "%x:%x.%x%n", &bus, &slot, &function, &length) != 3) return false;
    }
    return target.mig_instance < 0 && bus_id[length] == '\0' && domain == 0 && bus == target.device + 1 &&
           slot == 0 && function == 0;
  });
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char* uuid, unsigned length) {
  return call_on(__func__, handle, [&](Library& library, Target target) {
    const Device& device = library.devices[target.device];
    return copy_text(
        target.mig_instance < 0 ? device.uuid() : device.mig_uuid(static_cast<unsigned>(target.mig_instance)),
        uuid, length);
  });
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char* name, unsigned length) {
  return call_on(__func__, handle, [&](Library&, Target target) {
    return copy_text(target.mig_instance < 0 ? "Simulated GPU" : "Simulated GPU MIG 1g.10gb", name, length);
  });
}

nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t handle, char* text, unsigned length) {
  return call_on(__func__, handle,
                 [&](Library&, Target target) { return copy_text(serial(target.device), text, length); });
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t handle, unsigned* index) {
  return call_on(__func__, handle, [&](Library&, Target target) {
    return give(index, target.mig_instance < 0 ? target.device : static_cast<unsigned>(target.mig_instance));
  });
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t* pci) {
  return call_on(__func__, handle, [&](Library&, Target target) {
    if (pci == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *pci = {};
    pci->bus = target.device + 1;
    pci->pciDeviceId = 0x233010deU;
    std::snprintf(pci->busId, sizeof pci->busId, "%08x:%02x:00.0", 0U, pci->bus & 0xffU);
    std::snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%04x:%02x:00.0", 0U, pci->bus & 0xffU);
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t handle, nvmlDeviceArchitecture_t* architecture) {
  return call_on(__func__, handle,
                 [&](Library&, Target) { return give(architecture, NVML_DEVICE_ARCH_HOPPER); });
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int* major, int* minor) {
  return call_on(__func__, handle, [&](Library&, Target) {
    const nvmlReturn_t code = give(major, 9);
    return code == NVML_SUCCESS ? give(minor, 0) : code;
  });
}

nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t handle, nvmlComputeMode_t* mode) {
  return call_on(__func__, handle, [&](Library&, Target) { return give(mode, NVML_COMPUTEMODE_DEFAULT); });
}

nvmlReturn_t nvmlDeviceGetC2cModeInfoV(nvmlDevice_t handle, nvmlC2cModeInfo_v1_t* info) {
  return call_on(__func__, handle, [&](Library&, Target) { return give(info, nvmlC2cModeInfo_v1_t{0}); });
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned* count,
                                                     nvmlProcessInfo_t*) {
  return call_on(__func__, handle, [&](Library&, Target) { return give(count, 0U); });
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t handle, unsigned* count,
                                                      nvmlProcessInfo_t*) {
  return call_on(__func__, handle, [&](Library&, Target) { return give(count, 0U); });
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned* current, unsigned* pending) {
  return call_on(__func__, handle, [&](Library& library, Target target) {
    const unsigned mode = instances(library, target) > 0 ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;
    const nvmlReturn_t code = give(current, mode);
    return code == NVML_SUCCESS ? give(pending, mode) : code;
  });
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned* count) {
  return call_on(__func__, handle, [&](Library& library, Target target) {
    return give(count, instances(library, target) > 0 ? kMostInstances : 0U);
  });
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned index,
                                                 nvmlDevice_t* instance) {
  return call_on(__func__, handle, [&](Library& library, Target target) {
    if (target.mig_instance >= 0 || index >= kMostInstances) return NVML_ERROR_INVALID_ARGUMENT;
    if (index >= instances(library, target)) return NVML_ERROR_NOT_FOUND;
    return give(instance, to_handle({target.device, static_cast<int>(index)}));
  });
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t handle, unsigned* is_instance) {
  return call_on(__func__, handle, [&](Library&, Target target) {
    return give(is_instance, target.mig_instance >= 0 ? 1U : 0U);
  });
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t instance, nvmlDevice_t* device) {
  return call_on(__func__, instance, [&](Library&, Target target) {
    return target.mig_instance < 0 ? NVML_ERROR_INVALID_ARGUMENT
                                   : give(device, to_handle({target.device, -1}));
  });
}
