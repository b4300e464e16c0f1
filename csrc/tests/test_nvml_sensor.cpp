#include <cmath>

#include "nvml_simulation.hpp"

using namespace simulated;

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
    CHECK_NEAR(channel.power_limit_w, 700.0, 1e-9);
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

CHECK_MAIN
