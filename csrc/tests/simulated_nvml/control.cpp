#pragma GCC visibility push(default)
#include "control.h"
#pragma GCC visibility pop

#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "library.hpp"

namespace simulated {
namespace {

bool is_power(double power_w) { return std::isfinite(power_w) && power_w >= 0.0; }

/// The body's answer about a device, under the lock; `otherwise` where there is no such device.
template <class Answer, class Body>
Answer with_device(unsigned device, Answer otherwise, Body body) {
  Library& library = Library::get();
  const std::lock_guard<std::mutex> lock(library.mutex);
  return device < library.devices.size() ? body(library, library.devices[device]) : otherwise;
}

bool apply(Library& library, unsigned device, const std::string& key, const std::string& value) {
  char* end = nullptr;
  const double number = std::strtod(value.c_str(), &end);
  if (value.empty() || *end != '\0') return false;
  if (key.rfind("fail.", 0) == 0) {
    return library.fail(device, key.substr(5), static_cast<nvmlReturn_t>(static_cast<int>(number)), -1);
  }
  if (device >= library.devices.size()) return false;
  if (key == "power_w") {
    if (!is_power(number)) return false;
    library.devices[device].truth = PowerHistory(number);
    return true;
  }
  return library.devices[device].configure(key, number, library.now_s());
}

}  // namespace

void configure_from_text(Library& library, const std::string& text) {
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ';');) {
    if (item.empty()) continue;
    const std::size_t equals = item.find('=');
    std::string key = item.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : item.substr(equals + 1);
    bool known = true;
    const std::size_t digits = key.find_first_not_of("0123456789");
    if (key == "devices") {
      char* end = nullptr;
      const unsigned long count = std::strtoul(value.c_str(), &end, 10);
      known = !value.empty() && *end == '\0' && count <= kMostDevices;
      if (known) library.reset(static_cast<unsigned>(count));
    } else if (digits > 0 && digits != std::string::npos && key[digits] == '.') {
      known = apply(library, static_cast<unsigned>(std::atoi(key.c_str())), key.substr(digits + 1), value);
    } else {
      unsigned device = 0;  // without any device, functions that have none can still fail
      do known = known && apply(library, device, key, value);
      while (++device < library.devices.size());
    }
    if (!known) {
      std::fprintf(stderr, "SIMULATED_NVML: '%s' makes no sense\n", item.c_str());
      std::abort();
    }
  }
}

bool exports(const std::string& function) {
  Dl_info self{};
  if (function.rfind("nvml", 0) != 0 || dladdr(reinterpret_cast<void*>(&simulated_nvml_reset), &self) == 0) {
    return false;
  }
  void* const library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return false;
  const bool found = dlsym(library, function.c_str()) != nullptr;
  dlclose(library);
  return found;
}

}  // namespace simulated

using simulated::Device;
using simulated::Library;
using simulated::with_device;

int simulated_nvml_reset(unsigned devices) {
  if (devices > simulated::kMostDevices) return -1;
  Library& library = Library::get();
  const std::lock_guard<std::mutex> lock(library.mutex);
  library.reset(devices);
  return 0;
}

int simulated_nvml_configure(unsigned device, const char* property, double value) {
  if (property == nullptr) return -1;
  return with_device(device, -1, [&](Library& library, Device& found) {
    return found.configure(property, value, library.now_s()) ? 0 : -1;
  });
}

int simulated_nvml_set_time(double time_s) {
  if (!std::isfinite(time_s)) return -1;
  Library& library = Library::get();
  const std::lock_guard<std::mutex> lock(library.mutex);
  library.set_time_s = time_s;
  return 0;
}

int simulated_nvml_set_power(unsigned device, double power_w) {
  if (!simulated::is_power(power_w)) return -1;
  return with_device(device, -1, [&](Library& library, Device& found) {
    found.truth.play(library.now_s(), {1.0}, {power_w}, false);
    return 0;
  });
}

int simulated_nvml_play(unsigned device, double start_s, unsigned count, const double* duration_s,
                        const double* power_w, int repeat) {
  if (!std::isfinite(start_s) || count == 0 || duration_s == nullptr || power_w == nullptr) return -1;
  for (unsigned i = 0; i < count; ++i) {
    if (!(std::isfinite(duration_s[i]) && duration_s[i] > 0.0 && simulated::is_power(power_w[i]))) return -1;
  }
  return with_device(device, -1, [&](Library&, Device& found) {
    found.truth.play(start_s, {duration_s, duration_s + count}, {power_w, power_w + count}, repeat != 0);
    return 0;
  });
}

double simulated_nvml_true_energy_j(unsigned device, double start_s, double end_s) {
  return with_device(device, std::nan(""),
                     [&](Library&, Device& found) { return found.truth.energy_j(start_s, end_s); });
}

double simulated_nvml_true_power_w(unsigned device, double time_s) {
  return with_device(device, std::nan(""),
                     [&](Library&, Device& found) { return found.truth.power_w(time_s); });
}

int simulated_nvml_fail(unsigned device, const char* function, int code, int times) {
  if (function == nullptr) return -1;
  Library& library = Library::get();
  const std::lock_guard<std::mutex> lock(library.mutex);
  return library.fail(device, function, static_cast<nvmlReturn_t>(code), times) ? 0 : -1;
}

int simulated_nvml_hang(unsigned device, int hang) {
  return with_device(device, -1, [&](Library&, Device& found) {
    found.hung = hang != 0;
    return 0;
  });
}

unsigned long long simulated_nvml_calls(const char* function) {
  if (function == nullptr || !simulated::exports(function)) return ~0ULL;
  Library& library = Library::get();
  const std::lock_guard<std::mutex> lock(library.mutex);
  const auto found = library.calls.find(function);
  return found == library.calls.end() ? 0 : found->second;
}
