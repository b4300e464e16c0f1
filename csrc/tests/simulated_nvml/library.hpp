#pragma once

#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "device.hpp"

namespace simulated {

/// The device of failures of functions that have none.
constexpr unsigned kNoDevice = ~0U;
constexpr unsigned kMostDevices = 64;

/// What an nvmlDevice_t refers to.
struct Target {
  unsigned device;
  int mig_instance;  // -1: the whole device
};

nvmlDevice_t to_handle(Target target);

/// Everything that calls of this process share. Every member is guarded by `mutex`, which no call holds
/// while it sleeps, and which a fork takes, so that the child finds it free.
class Library {
 public:
  /// Never destroyed: a thread may hang in it while the process exits.
  static Library& get();

  /// Seconds of CLOCK_MONOTONIC, or the time set by hand.
  double now_s() const;
  /// False where the handle refers to nothing.
  bool find(nvmlDevice_t handle, Target& target) const;
  /// The code that the next call of `function` shall return, NVML_SUCCESS if none; counts it off.
  nvmlReturn_t injected(unsigned device, const std::string& function);
  void reset(unsigned device_count);
  /// False where there is no such function or device.
  bool fail(unsigned device, const std::string& function, nvmlReturn_t code, int times);

  struct Failure {
    nvmlReturn_t code;
    int times;  // < 0: for good
  };

  std::mutex mutex;
  std::vector<Device> devices;
  unsigned sessions = 0;     // nvmlInit minus nvmlShutdown
  double set_time_s = -1.0;  // < 0: real time
  std::map<std::pair<unsigned, std::string>, Failure> failures;
  std::map<std::string, unsigned long long> calls;

 private:
  Library();
};

/// Configures `library` as the text of SIMULATED_NVML says; aborts where it makes no sense.
void configure_from_text(Library& library, const std::string& text);

/// Whether this library exports NVML's `function`.
bool exports(const std::string& function);

/// A call that has no device: counted, made to fail where that was asked for, else the body's result.
nvmlReturn_t call(const char* function, const std::function<nvmlReturn_t(Library&)>& body);

/// A call on a device of any kind that asks the driver's memory only.
nvmlReturn_t call_on(const char* function, nvmlDevice_t handle,
                     const std::function<nvmlReturn_t(Library&, Target)>& body);

/// A call that reads from the device: it takes the configured time, and hangs with the device.
nvmlReturn_t read_from(const char* function, nvmlDevice_t handle,
                       const std::function<nvmlReturn_t(Library&, Target)>& body);

/// Fills an output argument, which must not be null.
template <class Value, class Source>
nvmlReturn_t give(Value* to, Source value) {
  if (to == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *to = static_cast<Value>(value);
  return NVML_SUCCESS;
}

}  // namespace simulated
