/// How a test controls and queries the simulated libnvidia-ml.so.1. The functions live in the
/// library beside NVML's own, so whoever opens the same file (C++, Python's ctypes, nvidia-ml-py)
/// sees the same devices. Times are seconds of CLOCK_MONOTONIC; thread-safe; return 0, or -1 for
/// arguments that make no sense.
///
/// A process that is not the test's own (a command line) is configured by the environment instead:
/// SIMULATED_NVML="devices=2;update_period_s=0.1;power_w=300;1.gain=1.05;fail.nvmlInit_v2=9"
/// Keys as below, for all devices or, with "1.", for device 1; power_w is the true power, past too;
/// fail.FUNCTION an nvmlReturn code, for every call. Text that makes no sense aborts the process.
/// Without SIMULATED_NVML there is one device.
///
/// A forked child continues with a copy of everything, and can be configured independently.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Forgets everything and makes `devices` devices (64 at most) with the defaults of
/// simulated_nvml_configure and a true power of 60 W, past too. Who has called nvmlInit_v2 stays
/// initialized, handles stay valid, real time is back, calls that hang go on.
/// Device i has the UUID "GPU-00000000-0000-0000-0000-00000000000i" (hex), the serial "i" (13 digits)
/// and the PCI bus id "00000000:0{i+1}:00.0".
int simulated_nvml_reset(unsigned devices);

/// Sets one property of one device, by name:
///   update_period_s   0.1    the power fields change at phase_s + k * update_period_s
///   window_s          0.025  POWER_INSTANT is the true power averaged over the window before the update
///   average_window_s  1.0    the same for POWER_AVERAGE and nvmlDeviceGetPowerUsage
///   counter_period_s  0.1    the energy counter changes at counter_phase_s + k * counter_period_s
///   phase_s, counter_phase_s 0
///   update_jitter_s   0      each update instant (not the counter's) is off by a reproducible uniform
///                            +-update_jitter_s, at most 0.49 * update_period_s
///   call_latency_s    0      every call that reads sleeps this long, then reads
///   gain 1, offset_w 0       shown = gain * truth + offset, in the counter too; it does not jump when
///                            they are changed
///   noise_w           0      reproducible normal noise on each published power
///   has_instant 1, has_average 1, has_power_usage 1, has_counter 1   0: NOT_SUPPORTED
///   module_power_w    -1     >= 0: the field power at module scope is this much above the GPU's
///   mig               0      n > 0: the device has n MIG instances (7 at most), k with the UUID
///                            "MIG-00000000-0000-0000-000i-00000000000k" (hex)
///   temperature_c 45, sm_clock_mhz 1410, throttle_reasons 0
int simulated_nvml_configure(unsigned device, const char* property, double value);

/// The time of the simulation stands still at `time_s` (>= 0) until the next call; negative: real time
/// again. Latencies and hangs always take real time.
int simulated_nvml_set_time(double time_s);

/// True power from now on.
int simulated_nvml_set_power(unsigned device, double power_w);

/// True power from start_s on: steps[i] of power_w[i] lasting duration_s[i], over and over if
/// `repeat` is not 0, else once, the last power holding. Replaces what was set for later than start_s,
/// which may lie in the past.
int simulated_nvml_play(unsigned device, double start_s, unsigned count, const double* duration_s,
                        const double* power_w, int repeat);

/// The truth: energy of the window in joules, power at a time in watts.
double simulated_nvml_true_energy_j(unsigned device, double start_s, double end_s);
double simulated_nvml_true_power_w(unsigned device, double time_s);

/// The next `times` calls of `function` on `device` return nvmlReturn `code` (times < 0: all from now
/// on; 0: no more), and do nothing else. `function` is NVML's name ("nvmlInit_v2",
/// "nvmlDeviceGetFieldValues", ...; device is ignored where the function has none), or "field:186" for the
/// nvmlReturn of one field inside a call that itself succeeds.
int simulated_nvml_fail(unsigned device, const char* function, int code, int times);

/// Calls that read from `device` (power, energy, fields, limits, temperature, clocks, memory) block from
/// now on / go on again.
int simulated_nvml_hang(unsigned device, int hang);

/// How often `function` was called since the reset, over all devices, failed calls included.
/// ~0ULL for a function that the library does not have.
unsigned long long simulated_nvml_calls(const char* function);

#ifdef __cplusplus
}
#endif
