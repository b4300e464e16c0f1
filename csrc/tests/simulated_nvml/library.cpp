#include "library.hpp"

#include <pthread.h>
#include <time.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>

namespace simulated {
namespace {

constexpr std::chrono::milliseconds kHangPoll{1};

nvmlReturn_t call_device(const char* function, nvmlDevice_t handle, bool reads,
                         const std::function<nvmlReturn_t(Library&, Target)>& body) {
  Library& library = Library::get();
  std::unique_lock<std::mutex> lock(library.mutex);
  ++library.calls[function];
  if (library.sessions == 0) return NVML_ERROR_UNINITIALIZED;
  Target target{};
  if (!library.find(handle, target)) return NVML_ERROR_INVALID_ARGUMENT;
  if (reads) {
    const auto sleep = [&lock](auto duration) {
      lock.unlock();
      std::this_thread::sleep_for(duration);
      lock.lock();
    };
    // Polled: a condition variable that has waiters does not survive a fork.
    while (library.find(handle, target) && library.devices[target.device].hung) sleep(kHangPoll);
    if (!library.find(handle, target)) return NVML_ERROR_GPU_IS_LOST;
    const double latency_s = library.devices[target.device].settings().call_latency_s;
    if (latency_s > 0.0) sleep(std::chrono::duration<double>(latency_s));
    if (!library.find(handle, target)) return NVML_ERROR_GPU_IS_LOST;
  }
  const nvmlReturn_t code = library.injected(target.device, function);
  return code == NVML_SUCCESS ? body(library, target) : code;
}

}  // namespace

nvmlDevice_t to_handle(Target target) {
  const auto number = (static_cast<std::uintptr_t>(target.device) + 1U) << 8U |
                      static_cast<std::uintptr_t>(target.mig_instance + 1);
  return reinterpret_cast<nvmlDevice_t>(number);
}

Library& Library::get() {
  static Library* const library = new Library;
  return *library;
}

Library::Library() {
  reset(1);
  if (const char* text = std::getenv("SIMULATED_NVML")) configure_from_text(*this, text);
  pthread_atfork([] { get().mutex.lock(); }, [] { get().mutex.unlock(); }, [] { get().mutex.unlock(); });
}

double Library::now_s() const {
  if (set_time_s >= 0.0) return set_time_s;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

bool Library::find(nvmlDevice_t handle, Target& target) const {
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  if (number < 0x100U || (number >> 8U) > devices.size()) return false;
  target = {static_cast<unsigned>((number >> 8U) - 1U), static_cast<int>(number & 0xffU) - 1};
  return target.mig_instance < static_cast<int>(devices[target.device].settings().mig);
}

nvmlReturn_t Library::injected(unsigned device, const std::string& function) {
  const auto found = failures.find({device, function});
  if (found == failures.end()) return NVML_SUCCESS;
  const nvmlReturn_t code = found->second.code;
  if (found->second.times > 0 && --found->second.times == 0) failures.erase(found);
  return code;
}

bool Library::fail(unsigned device, const std::string& function, nvmlReturn_t code, int times) {
  const bool field = function.rfind("field:", 0) == 0 && function.size() > 6 &&
                     function.find_first_not_of("0123456789", 6) == std::string::npos;
  if (!field && !exports(function)) return false;
  if (!field && (function.rfind("nvmlDevice", 0) != 0 || function == "nvmlDeviceGetCount_v2")) {
    device = kNoDevice;
  } else if (device >= devices.size()) {
    return false;
  }
  failures.erase({device, function});
  if (times != 0 && code != NVML_SUCCESS) failures.insert({{device, function}, {code, times}});
  return true;
}

void Library::reset(unsigned device_count) {
  devices.clear();
  for (unsigned i = 0; i < device_count; ++i) devices.emplace_back(i);
  set_time_s = -1.0;
  failures.clear();
  calls.clear();
}

nvmlReturn_t call(const char* function, const std::function<nvmlReturn_t(Library&)>& body) {
  Library& library = Library::get();
  const std::lock_guard<std::mutex> lock(library.mutex);
  ++library.calls[function];
  const nvmlReturn_t code = library.injected(kNoDevice, function);
  return code == NVML_SUCCESS ? body(library) : code;
}

nvmlReturn_t call_on(const char* function, nvmlDevice_t handle,
                     const std::function<nvmlReturn_t(Library&, Target)>& body) {
  return call_device(function, handle, false, body);
}

nvmlReturn_t read_from(const char* function, nvmlDevice_t handle,
                       const std::function<nvmlReturn_t(Library&, Target)>& body) {
  return call_device(function, handle, true, body);
}

}  // namespace simulated
