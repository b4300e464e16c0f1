#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "control.h"
#include "pywatt/errors.hpp"
#include "pywatt/nvml_library.hpp"
#include "pywatt/nvml_sensor.hpp"

using namespace pywatt;

namespace {

const std::string library_path = SIMULATED_NVML_LIBRARY;
const std::string gpu0 = "GPU-00000000-0000-0000-0000-000000000000";
const std::string gpu1 = "GPU-00000000-0000-0000-0000-000000000001";
const std::string mig_note = "power of the whole card, not of the MIG instance";

constexpr int every_time = -1;
constexpr const char* instant = "field:186";
constexpr const char* average = "field:185";
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
void reset(unsigned devices = 1) {
  CHECK(SIMULATED(reset)(devices) == 0);
  CHECK(SIMULATED(set_time)(10.05) == 0);
  const std::array<double, 2> duration_s{9.5, 1.0};
  const std::array<double, 2> power_w{100.0, 300.0};
  for (unsigned i = 0; i < devices; ++i) {
    CHECK(SIMULATED(play)(i, 0.0, 2, duration_s.data(), power_w.data(), 0) == 0);
  }
}

void configure(const char* property, double value) { CHECK(SIMULATED(configure)(0, property, value) == 0); }
void fail(const char* function, nvmlReturn_t code, int times = every_time) {
  CHECK(SIMULATED(fail)(0, function, code, times) == 0);
}
unsigned long long calls(const char* function) { return SIMULATED(calls)(function); }

std::unique_ptr<NvmlSensor> open(const std::string& device = gpu0, const std::string& note = "") {
  return std::make_unique<NvmlSensor>("nvml:0", device, note, library_path);
}

std::vector<double> read(NvmlSensor& sensor) {
  std::vector<double> values(sensor.channels().size(), -1.0);
  sensor.read(values.data());
  return values;
}

std::vector<std::string> names(const NvmlSensor& sensor) {
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

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST(power_and_energy_come_from_one_call) {
  reset();
  const auto sensor = open();
  CHECK(sensor->name() == "nvml:0");
  CHECK((names(*sensor) == std::vector<std::string>{"nvml:0", "nvml:0/energy"}));
  CHECK(sensor->power_source() == "POWER_INSTANT");
  CHECK(sensor->channels()[0].kind == Kind::power && sensor->channels()[1].kind == Kind::counter);
  for (const auto& channel : sensor->channels()) {
    CHECK(channel.domain == "gpu" && !channel.estimated && channel.resolution == 0.001);
    CHECK(channel.contained_in.empty() && channel.note.empty());
  }

  const auto before = calls("nvmlDeviceGetFieldValues");
  const auto first = read(*sensor);
  CHECK(calls("nvmlDeviceGetFieldValues") == before + 1);
  CHECK(calls("nvmlDeviceGetPowerUsage") == 0 && calls("nvmlDeviceGetTotalEnergyConsumption") == 0);
  CHECK_NEAR(first[0], 300.0, 1e-9);

  CHECK(SIMULATED(set_time)(12.05) == 0);
  CHECK_NEAR(read(*sensor)[1] - first[1], 600.0, 1e-9);
}

TEST(without_instant_power_the_average_is_read) {
  reset();
  configure("has_instant", 0);
  const auto sensor = open();
  CHECK(sensor->power_source() == "POWER_AVERAGE");
  CHECK_NEAR(read(*sensor)[0], 200.0, 1e-9);
}

TEST(without_power_fields_the_old_function_is_read_beside_the_energy_field) {
  reset();
  configure("has_instant", 0);
  configure("has_average", 0);
  const auto sensor = open();
  CHECK(sensor->power_source() == "nvmlDeviceGetPowerUsage");
  CHECK((names(*sensor) == std::vector<std::string>{"nvml:0", "nvml:0/energy"}));
  CHECK_NEAR(read(*sensor)[0], 200.0, 1e-9);
  CHECK(calls("nvmlDeviceGetTotalEnergyConsumption") == 0);
}

TEST(without_any_fields_the_old_functions_are_read) {
  reset();
  const auto expected = read(*open());
  fail("nvmlDeviceGetFieldValues", NVML_ERROR_INVALID_ARGUMENT);
  const auto sensor = open();
  CHECK(sensor->power_source() == "nvmlDeviceGetPowerUsage");
  const auto before = calls("nvmlDeviceGetFieldValues");
  const auto values = read(*sensor);
  CHECK(calls("nvmlDeviceGetFieldValues") == before);
  CHECK_NEAR(values[0], 200.0, 1e-9);
  CHECK_NEAR(values[1], expected[1], 1e-9);
}

TEST(energy_has_two_fields_and_a_function) {
  reset();
  const double expected_j = read(*open())[1];
  fail(total_energy, NVML_ERROR_NOT_SUPPORTED);
  CHECK_NEAR(read(*open())[1], expected_j, 1e-9);
  CHECK(calls("nvmlDeviceGetTotalEnergyConsumption") == 0);
  fail(energy, NVML_ERROR_NOT_SUPPORTED);
  CHECK_NEAR(read(*open())[1], expected_j, 1e-9);
  CHECK(calls("nvmlDeviceGetTotalEnergyConsumption") == 2);  // when opened, and read
}

TEST(without_a_counter_there_is_power_alone) {
  reset();
  configure("has_counter", 0);
  const auto sensor = open();
  CHECK((names(*sensor) == std::vector<std::string>{"nvml:0"}));
  CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);
}

TEST(without_power_there_is_the_counter_alone) {
  reset();
  for (const char* property : {"has_instant", "has_average", "has_power_usage"}) configure(property, 0);
  const auto sensor = open();
  CHECK((names(*sensor) == std::vector<std::string>{"nvml:0/energy"}));
  CHECK(sensor->power_source().empty());
}

TEST(a_device_with_neither_is_refused_naming_what_was_tried) {
  reset();
  for (const char* property : {"has_instant", "has_average", "has_power_usage", "has_counter"}) {
    configure(property, 0);
  }
  const std::string message = message_of<NvmlError>([] { open(); });
  for (const char* part : {gpu0.c_str(), "POWER_INSTANT", "POWER_AVERAGE", "nvmlDeviceGetPowerUsage",
                           "TOTAL_ENERGY_CONSUMPTION", "nvmlDeviceGetTotalEnergyConsumption"}) {
    CHECK(contains(message, part));
  }
}

TEST(the_module_contains_the_gpu) {
  reset();
  configure("module_power_w", 150.0);
  const auto sensor = open();
  CHECK((names(*sensor) == std::vector<std::string>{"nvml:0", "nvml:0/energy", "nvml:0/module"}));
  CHECK(sensor->channels()[0].contained_in == "nvml:0/module");
  CHECK(sensor->channels()[1].contained_in == "nvml:0/module");
  CHECK(sensor->channels()[2].domain == "module" && sensor->channels()[2].contained_in.empty());
  const auto before = calls("nvmlDeviceGetFieldValues");
  const auto values = read(*sensor);
  CHECK(calls("nvmlDeviceGetFieldValues") == before + 1);
  CHECK_NEAR(values[0], 300.0, 1e-9);
  CHECK_NEAR(values[2], 450.0, 1e-9);
}

TEST(devices_are_found_by_uuid_and_by_pci_bus_id) {
  reset(2);
  CHECK(SIMULATED(configure)(1, "gain", 0.5) == 0);
  CHECK_NEAR(read(*open(gpu0))[0], 300.0, 1e-9);
  CHECK_NEAR(read(*open(gpu1))[0], 150.0, 1e-9);
  CHECK_NEAR(read(*open("00000000:02:00.0"))[0], 150.0, 1e-9);
  for (const char* absent : {"GPU-ffffffff-0000-0000-0000-000000000000", "00000000:09:00.0", "nonsense"}) {
    CHECK(contains(message_of<NvmlError>([&] { open(absent); }), absent));
  }
}

TEST(a_mig_instance_is_read_as_its_card_and_says_so) {
  reset(2);
  CHECK(SIMULATED(configure)(1, "mig", 2) == 0);
  CHECK(SIMULATED(configure)(1, "gain", 0.5) == 0);
  const std::string instance = "MIG-00000000-0000-0000-0001-000000000001";
  const auto sensor = open(instance);
  CHECK_NEAR(read(*sensor)[0], 150.0, 1e-9);
  for (const auto& channel : sensor->channels()) CHECK(channel.note == mig_note);
  CHECK(open(instance, mig_note)->channels()[0].note == mig_note);
  CHECK(open(instance, "by hand")->channels()[0].note == "by hand; " + mig_note);
  CHECK(open(gpu1, "by hand")->channels()[0].note == "by hand");

  const auto old_form = open("MIG-" + gpu1 + "/7/0");
  CHECK_NEAR(read(*old_form)[0], 150.0, 1e-9);
  CHECK(old_form->channels()[0].note == mig_note);
}

TEST(one_field_that_fails_gives_nan_in_its_channel_only) {
  reset();
  const auto sensor = open();
  fail(instant, NVML_ERROR_TIMEOUT, 1);
  const auto values = read(*sensor);
  CHECK(std::isnan(values[0]));
  CHECK(values[1] > 0.0);
  CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);

  fail(total_energy, NVML_ERROR_NOT_SUPPORTED, 1);
  CHECK(std::isnan(read(*sensor)[1]));
}

TEST(all_fields_failing_is_a_passing_error) {
  reset();
  const auto sensor = open();
  fail(instant, NVML_ERROR_UNKNOWN, 1);
  fail(total_energy, NVML_ERROR_IN_USE, 1);
  CHECK(contains(message_of<PassingSensorError>([&] { read(*sensor); }), gpu0));
  CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);
}

TEST(every_error_while_reading_is_passing_or_lost) {
  const std::vector<nvmlReturn_t> passing = {NVML_ERROR_TIMEOUT,
                                             NVML_ERROR_IN_USE,
                                             NVML_ERROR_UNKNOWN,
                                             NVML_ERROR_INVALID_ARGUMENT,
                                             NVML_ERROR_NOT_FOUND,
                                             NVML_ERROR_INSUFFICIENT_SIZE,
                                             NVML_ERROR_INSUFFICIENT_POWER,
                                             NVML_ERROR_IRQ_ISSUE,
                                             NVML_ERROR_OPERATING_SYSTEM,
                                             NVML_ERROR_MEMORY,
                                             NVML_ERROR_NOT_READY,
                                             NVML_ERROR_INVALID_STATE,
                                             NVML_ERROR_NOT_SUPPORTED,
                                             NVML_ERROR_NO_DATA,
                                             NVML_ERROR_FUNCTION_NOT_FOUND};
  const std::vector<nvmlReturn_t> lost = {NVML_ERROR_GPU_IS_LOST,       NVML_ERROR_RESET_REQUIRED,
                                          NVML_ERROR_UNINITIALIZED,     NVML_ERROR_LIBRARY_NOT_FOUND,
                                          NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_LIB_RM_VERSION_MISMATCH,
                                          NVML_ERROR_NO_PERMISSION};
  reset();
  const auto sensor = open();
  for (const auto code : passing) {
    fail("nvmlDeviceGetFieldValues", code, 1);
    message_of<PassingSensorError>([&] { read(*sensor); });
    CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);
  }
  for (const auto code : lost) {
    fail("nvmlDeviceGetFieldValues", code, 1);
    CHECK(contains(message_of<LostSensorError>([&] { read(*sensor); }),
                   "NVML error " + std::to_string(static_cast<int>(code)) + ")"));
    fail(total_energy, code, 1);  // one field is enough: the device is gone
    message_of<LostSensorError>([&] { read(*sensor); });
  }
}

TEST(the_old_functions_fail_in_the_same_way) {
  reset();
  fail("nvmlDeviceGetFieldValues", NVML_ERROR_NOT_SUPPORTED);
  const auto sensor = open();
  fail("nvmlDeviceGetPowerUsage", NVML_ERROR_TIMEOUT, 2);
  CHECK(std::isnan(read(*sensor)[0]));
  fail("nvmlDeviceGetTotalEnergyConsumption", NVML_ERROR_TIMEOUT, 1);
  message_of<PassingSensorError>([&] { read(*sensor); });
  CHECK_NEAR(read(*sensor)[0], 200.0, 1e-9);
  fail("nvmlDeviceGetPowerUsage", NVML_ERROR_GPU_IS_LOST, 1);
  message_of<LostSensorError>([&] { read(*sensor); });
}

TEST(a_counter_that_goes_back_ends_the_sensor) {
  reset();
  const auto sensor = open();
  read(*sensor);
  CHECK(SIMULATED(set_time)(5.0) == 0);
  CHECK(contains(message_of<LostSensorError>([&] { read(*sensor); }), "driver was reloaded"));
}

TEST(a_passing_failure_while_opening_is_waited_out) {
  reset();
  fail("nvmlInit_v2", NVML_ERROR_UNKNOWN, 2);
  fail("nvmlDeviceGetHandleByUUID", NVML_ERROR_TIMEOUT, 2);
  fail(instant, NVML_ERROR_IN_USE, 2);
  const auto sensor = open();
  CHECK(calls("nvmlInit_v2") == 3);
  CHECK(calls("nvmlDeviceGetHandleByUUID") == 3);
  CHECK(sensor->power_source() == "POWER_INSTANT");

  fail(instant, NVML_ERROR_UNKNOWN);  // what an old driver says of a field it does not know
  CHECK(open()->power_source() == "POWER_AVERAGE");
}

TEST(errors_at_the_start_of_nvml_name_the_remedy) {
  const std::vector<std::pair<nvmlReturn_t, std::string>> remedies = {
      {NVML_ERROR_LIBRARY_NOT_FOUND, "Install the NVIDIA driver"},
      {NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"},
      {NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reboot"},
      {NVML_ERROR_NO_PERMISSION, "/dev/nvidia"},
      {NVML_ERROR_UNKNOWN, "nvidia-smi"}};
  for (const auto& [code, remedy] : remedies) {
    reset();
    fail("nvmlInit_v2", code);
    CHECK(contains(message_of<NvmlError>([] { open(); }), remedy));
    CHECK(calls("nvmlInit_v2") == (code == NVML_ERROR_UNKNOWN ? 3U : 1U));
    CHECK(calls("nvmlShutdown") == 0);  // what was not started is not ended
  }
}

TEST(errors_at_the_device_are_of_their_kind) {
  for (const char* function : {"nvmlDeviceGetHandleByUUID", instant}) {
    for (const auto code : {NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED, NVML_ERROR_UNINITIALIZED}) {
      reset();
      fail(function, code);
      message_of<LostSensorError>([] { open(); });
    }
  }
  for (const auto code : {NVML_ERROR_LIBRARY_NOT_FOUND, NVML_ERROR_DRIVER_NOT_LOADED,
                          NVML_ERROR_LIB_RM_VERSION_MISMATCH, NVML_ERROR_NO_PERMISSION,
                          NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_NO_DATA}) {
    reset();
    fail("nvmlDeviceGetHandleByUUID", code);
    message_of<NvmlError>([] { open(); });
  }
  for (const auto code : {NVML_ERROR_TIMEOUT, NVML_ERROR_IN_USE, NVML_ERROR_UNKNOWN}) {
    reset();
    fail("nvmlDeviceGetHandleByUUID", code);
    message_of<PassingSensorError>([] { open(); });
    CHECK(calls("nvmlDeviceGetHandleByUUID") == 3);
  }
}

TEST(one_session_is_shared_and_ended_by_the_last_holder) {
  reset();
  {
    const auto library = NvmlLibrary::open(library_path);
    const auto sensor = open();
    CHECK(NvmlLibrary::open(library_path) == library);
    CHECK(calls("nvmlInit_v2") == 1);
  }
  CHECK(calls("nvmlShutdown") == 1);
  read(*open());
  CHECK(calls("nvmlInit_v2") == 2);
  CHECK(calls("nvmlShutdown") == 2);
}

TEST(the_library_can_be_given_by_the_environment) {
  reset();
  CHECK(setenv("PYWATT_NVML_LIBRARY", library_path.c_str(), 1) == 0);
  CHECK(NvmlLibrary::open() == NvmlLibrary::open(library_path));
  CHECK(setenv("PYWATT_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1", 1) == 0);
  CHECK(contains(message_of<NvmlError>([] { NvmlLibrary::open(); }), "/nowhere/libnvidia-ml.so.1"));
  CHECK(unsetenv("PYWATT_NVML_LIBRARY") == 0);
}

TEST(a_library_that_is_missing_or_not_nvml_is_named) {
  const std::string missing = "/nowhere/libnvidia-ml.so.1";
  const std::string message = message_of<NvmlError>([&] { NvmlSensor("nvml:0", gpu0, "", missing); });
  CHECK(contains(message, missing));
  CHECK(contains(message, "Install the NVIDIA driver"));
  CHECK(contains(message_of<NvmlError>([] { NvmlLibrary::open("libm.so.6"); }), "libm.so.6"));
}

TEST(a_forked_child_starts_its_own_session_and_leaves_the_parents_alone) {
  reset();
  auto sensor = open();
  read(*sensor);
  const auto inherited = NvmlLibrary::open(library_path);

  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(!inherited->of_this_process());
    const auto own = NvmlLibrary::open(library_path);
    CHECK(own != inherited && own->of_this_process());
    CHECK(calls("nvmlInit_v2") == 2);
    CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);  // on the child's session now
    CHECK(calls("nvmlInit_v2") == 2);
    sensor.reset();
    CHECK(calls("nvmlShutdown") == 0);
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(calls("nvmlInit_v2") == 1);
  CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);
}

TEST(a_sensor_that_cannot_start_again_in_a_child_is_lost) {
  reset();
  const auto sensor = open();
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    fail("nvmlInit_v2", NVML_ERROR_NO_PERMISSION);
    message_of<LostSensorError>([&] { read(*sensor); });
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

CHECK_MAIN
