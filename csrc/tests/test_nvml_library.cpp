#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "nvml_simulation.hpp"

using namespace simulated;

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
  auto inherited = NvmlLibrary::open(library_path);

  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(!inherited->of_this_process());
    auto own = NvmlLibrary::open(library_path);
    CHECK(own != inherited && own->of_this_process());
    CHECK(calls("nvmlInit_v2") == 2);
    CHECK_NEAR(read(*sensor)[0], 300.0, 1e-9);  // on the child's session now
    CHECK(calls("nvmlInit_v2") == 2);
    inherited.reset();
    CHECK(calls("nvmlShutdown") == 0);
    own.reset();
    sensor.reset();
    CHECK(calls("nvmlShutdown") == 1);
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
