#pragma once

#include <memory>
#include <string>

#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>

namespace pywatt {

/// What an NVML error means for whoever wants to go on reading.
enum class NvmlFailure {
  absent,   ///< no library, driver or permission
  lacking,  ///< the driver or the device does not have what was asked for
  gone,     ///< the device is lost
  passing,  ///< the next try may succeed
};

/// REQUIRES: code is not NVML_SUCCESS.
NvmlFailure failure_of(nvmlReturn_t code) noexcept;

/// libnvidia-ml.so.1, opened at run time and initialized for this process; shut down with the last
/// holder. Only nvml_*.cpp files include this header.
class NvmlLibrary {
 public:
  /// `path` empty: PYWATT_NVML_LIBRARY, else libnvidia-ml.so.1, else WSL's own path.
  /// The same library and process give the same object; a forked child gets a new session.
  /// Throws NvmlError saying what was looked for and what to do.
  static std::shared_ptr<NvmlLibrary> open(const std::string& path = "");
  ~NvmlLibrary();
  NvmlLibrary(const NvmlLibrary&) = delete;
  NvmlLibrary& operator=(const NvmlLibrary&) = delete;

  /// False in a forked child that inherited this object: it must open its own.
  bool of_this_process() const noexcept;

  /// Null where the installed driver does not have the function.
  nvmlReturn_t (*device_by_uuid)(const char*, nvmlDevice_t*) = nullptr;
  nvmlReturn_t (*device_by_pci_bus_id)(const char*, nvmlDevice_t*) = nullptr;
  nvmlReturn_t (*device_of_mig)(nvmlDevice_t, nvmlDevice_t*) = nullptr;
  nvmlReturn_t (*field_values)(nvmlDevice_t, int, nvmlFieldValue_t*) = nullptr;
  nvmlReturn_t (*power_usage)(nvmlDevice_t, unsigned int*) = nullptr;
  nvmlReturn_t (*power_limit)(nvmlDevice_t, unsigned int*) = nullptr;
  nvmlReturn_t (*total_energy)(nvmlDevice_t, unsigned long long*) = nullptr;

  /// "reading the power of GPU-...: GPU is lost (NVML error 15). <what the user can do>"
  std::string message(nvmlReturn_t code, const std::string& what, const std::string& device) const;

  /// Throws PassingSensorError, LostSensorError or NvmlError, by the kind of the error: `what` was
  /// being done to `device`.
  [[noreturn]] void raise(nvmlReturn_t code, const std::string& what, const std::string& device) const;

 private:
  NvmlLibrary() = default;
  struct Session;
  std::unique_ptr<Session> session_;
};

}  // namespace pywatt
