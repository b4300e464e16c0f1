#pragma once

#include <dlfcn.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "control.h"
#include "pywatt/errors.hpp"
#include "pywatt/nvml_library.hpp"
#include "pywatt/nvml_sensor.hpp"

/// What the NVML tests share: the simulated library in one known state, and short words for it.
namespace simulated {

using namespace pywatt;

inline const std::string library_path = SIMULATED_NVML_LIBRARY;
inline const std::string gpu0 = "GPU-00000000-0000-0000-0000-000000000000";
inline const std::string gpu1 = "GPU-00000000-0000-0000-0000-000000000001";
inline const std::string mig_note = "power of the whole card, not of the MIG instance";

constexpr int every_time = -1;
constexpr const char* instant = "field:186";
constexpr const char* total_energy = "field:83";
constexpr const char* energy = "field:191";

/// The control functions of the very file that the sensor opens; kept open, so that what is set stays.
template <typename Function>
Function* control(const char* name) {
  static void* const handle = dlopen(library_path.c_str(), RTLD_NOW | RTLD_LOCAL);
  CHECK(handle != nullptr);
  auto* function = reinterpret_cast<Function*>(dlsym(handle, name));
  CHECK(function != nullptr);
  return function;
}
#define SIMULATED(function) control<decltype(simulated_nvml_##function)>("simulated_nvml_" #function)

/// Devices whose time stands at 10.05 s, just after the update at 10 s, 100 W until 9.5 s and 300 W
/// since: POWER_INSTANT shows 300 W, the average of the last second 200 W.
inline void reset(unsigned devices = 1) {
  CHECK(SIMULATED(reset)(devices) == 0);
  CHECK(SIMULATED(set_time)(10.05) == 0);
  const std::array<double, 2> duration_s{9.5, 1.0};
  const std::array<double, 2> power_w{100.0, 300.0};
  for (unsigned i = 0; i < devices; ++i) {
    CHECK(SIMULATED(play)(i, 0.0, 2, duration_s.data(), power_w.data(), 0) == 0);
  }
}

inline void configure(const char* property, double value) {
  CHECK(SIMULATED(configure)(0, property, value) == 0);
}
inline void fail(const char* function, nvmlReturn_t code, int times = every_time) {
  CHECK(SIMULATED(fail)(0, function, code, times) == 0);
}
inline unsigned long long calls(const char* function) { return SIMULATED(calls)(function); }

inline std::unique_ptr<NvmlSensor> open(const std::string& device = gpu0, const std::string& note = "") {
  return std::make_unique<NvmlSensor>("nvml:0", device, note, library_path);
}

inline std::vector<double> read(NvmlSensor& sensor) {
  std::vector<double> values(sensor.channels().size(), -1.0);
  sensor.read(values.data());
  return values;
}

inline std::vector<std::string> names(const NvmlSensor& sensor) {
  std::vector<std::string> all;
  for (const auto& channel : sensor.channels()) all.push_back(channel.name);
  return all;
}

/// The message of the error, which must be an `Expected` and not one of its siblings.
template <typename Expected, typename Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const Expected& error) {
    return error.what();
  }
  check::fail(__FILE__, __LINE__, "nothing was thrown");
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace simulated
