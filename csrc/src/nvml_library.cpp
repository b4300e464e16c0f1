#include "pywatt/nvml_library.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "pywatt/errors.hpp"

namespace pywatt {

namespace {

constexpr const char* driver_library = "libnvidia-ml.so.1";
constexpr const char* wsl_library = "/usr/lib/wsl/lib/libnvidia-ml.so.1";
constexpr const char* path_variable = "PYWATT_NVML_LIBRARY";

constexpr int init_attempts = 3;
constexpr std::chrono::milliseconds init_pause{10};

/// Open sessions by the dlopen handle, which is the same for every name of one library.
struct Registry {
  std::mutex mutex;
  std::map<void*, std::weak_ptr<NvmlLibrary>> sessions;  // guarded by mutex
  Registry* inherited = nullptr;  // the parent process's, kept reachable, never touched
};

/// Never destroyed: a sensor may outlive static objects. A forked child starts with an empty one,
/// because another thread of the parent may have held the lock at the fork.
Registry*& current_registry() {
  static Registry* registry = [] {
    pthread_atfork(nullptr, nullptr, [] {
      auto* fresh = new Registry;
      fresh->inherited = current_registry();
      current_registry() = fresh;
    });
    return new Registry;
  }();
  return registry;
}

std::vector<std::string> candidates(const std::string& path) {
  if (!path.empty()) return {path};
  const char* variable = std::getenv(path_variable);
  if (variable != nullptr && *variable != '\0') return {variable};
  // The bare libnvidia-ml.so is the toolkit's stub for linking, which knows no device.
  return {driver_library, wsl_library};
}

void* open_library(const std::string& path) {
  std::string tried;
  for (const auto& name : candidates(path)) {
    if (void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* reason = dlerror();
    tried += (tried.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : name.c_str());
  }
  throw NvmlError(
      "NVML, the library of NVIDIA's driver, could not be opened (" + tried +
      "). Install the NVIDIA driver, or start the container with its GPUs (docker run --gpus all), "
      "or set " +
      path_variable + " to the path of libnvidia-ml.so.1.");
}

template <typename Function>
void resolve(void* handle, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, symbol));
}

const char* remedy(nvmlReturn_t code) {
  switch (code) {
    case NVML_ERROR_LIBRARY_NOT_FOUND:
      return "Install the NVIDIA driver, or set PYWATT_NVML_LIBRARY to the path of its libnvidia-ml.so.1 "
             "(not to a stub).";
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "Load the driver (sudo modprobe nvidia; nvidia-smi must work), or start the container with its "
             "GPUs (docker run --gpus all).";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
      return "The driver was updated while it was running: reboot, or reload the nvidia kernel modules.";
    case NVML_ERROR_NO_PERMISSION:
      return "Let this user read and write /dev/nvidia* (ls -l /dev/nvidia* shows the group to join).";
    case NVML_ERROR_GPU_IS_LOST:
      return "The GPU has fallen off the bus: see dmesg for the Xid, and reboot.";
    case NVML_ERROR_RESET_REQUIRED:
      return "Reset the GPU (sudo nvidia-smi --gpu-reset) or reboot.";
    case NVML_ERROR_UNINITIALIZED:
      return "Something in this process shut NVML down; open the sensor again.";
    case NVML_ERROR_NOT_SUPPORTED:
    case NVML_ERROR_FUNCTION_NOT_FOUND:
    case NVML_ERROR_NO_DATA:
      return "The device or its driver does not offer this; a newer driver may.";
    default:
      return "It may pass; if it stays, see whether nvidia-smi works.";
  }
}

}  // namespace

NvmlFailure failure_of(nvmlReturn_t code) noexcept {
  switch (code) {
    case NVML_ERROR_LIBRARY_NOT_FOUND:
    case NVML_ERROR_DRIVER_NOT_LOADED:
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
    case NVML_ERROR_NO_PERMISSION:
      return NvmlFailure::absent;
    case NVML_ERROR_NOT_SUPPORTED:
    case NVML_ERROR_FUNCTION_NOT_FOUND:
    case NVML_ERROR_NO_DATA:
      return NvmlFailure::lacking;
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_RESET_REQUIRED:
    case NVML_ERROR_UNINITIALIZED:
      return NvmlFailure::gone;
    default:
      return NvmlFailure::passing;
  }
}

/// One dlopen and, once `initialized`, one nvmlInit_v2, undone together by the process that did them.
struct NvmlLibrary::Session {
  explicit Session(void* opened) : handle(opened), process(getpid()) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  ~Session() {
    // In a forked child both belong to the parent: a shutdown here would end the parent's session
    // in the driver, and unloading runs the library's own cleanup.
    if (getpid() != process) return;
    if (initialized) shutdown();
    dlclose(handle);
  }

  void* handle;
  pid_t process;
  bool initialized = false;
  nvmlReturn_t (*init)() = nullptr;
  nvmlReturn_t (*shutdown)() = nullptr;
  const char* (*error_string)(nvmlReturn_t) = nullptr;
};

std::shared_ptr<NvmlLibrary> NvmlLibrary::open(const std::string& path) {
  auto session = std::make_unique<Session>(open_library(path));
  Registry& registry = *current_registry();
  const std::lock_guard lock(registry.mutex);
  auto& known = registry.sessions[session->handle];
  if (auto open_already = known.lock()) return open_already;

  void* handle = session->handle;
  resolve(handle, "nvmlInit_v2", session->init);
  resolve(handle, "nvmlShutdown", session->shutdown);
  resolve(handle, "nvmlErrorString", session->error_string);
  if (session->init == nullptr || session->shutdown == nullptr) {
    throw NvmlError("The library opened as NVML (" + candidates(path).front() +
                    ") has no nvmlInit_v2. Set PYWATT_NVML_LIBRARY to the driver's libnvidia-ml.so.1.");
  }

  std::shared_ptr<NvmlLibrary> library(new NvmlLibrary);
  library->session_ = std::move(session);
  resolve(handle, "nvmlDeviceGetHandleByUUID", library->device_by_uuid);
  resolve(handle, "nvmlDeviceGetHandleByPciBusId_v2", library->device_by_pci_bus_id);
  resolve(handle, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", library->device_of_mig);
  resolve(handle, "nvmlDeviceGetFieldValues", library->field_values);
  resolve(handle, "nvmlDeviceGetPowerUsage", library->power_usage);
  resolve(handle, "nvmlDeviceGetEnforcedPowerLimit", library->power_limit);
  resolve(handle, "nvmlDeviceGetTotalEnergyConsumption", library->total_energy);

  nvmlReturn_t code = NVML_SUCCESS;
  for (int attempt = 1; attempt <= init_attempts; ++attempt) {
    code = library->session_->init();
    if (code == NVML_SUCCESS || failure_of(code) != NvmlFailure::passing) break;
    if (attempt < init_attempts) std::this_thread::sleep_for(init_pause);
  }
  if (code != NVML_SUCCESS) throw NvmlError(library->message(code, "starting NVML", ""));
  library->session_->initialized = true;
  known = library;
  return library;
}

NvmlLibrary::~NvmlLibrary() = default;

bool NvmlLibrary::of_this_process() const noexcept { return session_->process == getpid(); }

std::string NvmlLibrary::message(nvmlReturn_t code, const std::string& what,
                                 const std::string& device) const {
  const char* meaning = session_->error_string != nullptr ? session_->error_string(code) : nullptr;
  return what + (device.empty() ? "" : " of " + device) + ": " +
         (meaning != nullptr ? meaning : "unknown error") + " (NVML error " +
         std::to_string(static_cast<int>(code)) + "). " + remedy(code);
}

void NvmlLibrary::raise(nvmlReturn_t code, const std::string& what, const std::string& device) const {
  const std::string text = message(code, what, device);
  switch (failure_of(code)) {
    case NvmlFailure::gone:
      throw LostSensorError(text);
    case NvmlFailure::passing:
      throw PassingSensorError(text);
    case NvmlFailure::absent:
    case NvmlFailure::lacking:
      break;
  }
  throw NvmlError(text);
}

}  // namespace pywatt
