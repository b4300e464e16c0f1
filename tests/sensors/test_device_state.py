"""The state of GPUs before and after a run, on the simulated NVML library."""

import time

import pynvml
import pytest
import torch
from fakes.profiles import profile as made_profile

import pywatt
from pywatt.sensors.device_state import TIMEOUT_S, DeviceState, device_states, state_changes

CAPPED = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle


def state(moment, temperature_c=45.0, sm_clock_hz=1.41e9, reasons=(), sensor="nvml:0"):
    return DeviceState(sensor, moment, temperature_c, sm_clock_hz, tuple(reasons))


def run(gpus, **changes):
    """Profile a model by a GPU whose state changes meanwhile."""

    def forward(model, batch):
        gpus.configure(**changes)
        return model(batch)

    model, loader = torch.nn.Linear(4, 4), [torch.zeros(2, 4)]
    return pywatt.profile(model, loader, sensors="nvml:0", warmup=0, forward=forward, method="time")


def test_states_are_what_the_device_reports(gpus):
    gpus.reset(2)
    gpus.configure(1, temperature_c=71, sm_clock_mhz=1980, throttle_reasons=CAPPED)
    found, notes = device_states(["nvml:0", "nvml:1", "cpu:estimated"], "start")
    assert notes == ()
    assert found == (
        DeviceState("nvml:0", "start", 45.0, 1.41e9, ()),
        DeviceState("nvml:1", "start", 71.0, 1.98e9, ("GpuIdle", "SwPowerCap")),
    )


def test_a_reason_without_a_name_is_shown_as_its_bit(gpus):
    gpus.configure(throttle_reasons=(1 << 12) | pynvml.nvmlClocksEventReasonSyncBoost)
    ((found,), _) = device_states(["nvml:0"], "end")
    assert found.throttle_reasons == ("SyncBoost", "0x1000")


def test_a_profile_has_the_states_at_start_and_end(gpus, tmp_path):
    found = run(gpus, temperature_c=62, sm_clock_mhz=1200, throttle_reasons=CAPPED)
    assert found.device_states == (
        state("start"),
        state("end", 62.0, 1.2e9, ["GpuIdle", "SwPowerCap"]),
    )
    assert (
        "nvml:0 was not steady during the run: its temperature went from 45 to 62 °C and its SM "
        "clock went from 1410 to 1200 MHz, which changes its power; warm up for longer"
    ) in found.notes
    assert "the clock of nvml:0 was throttled by SwPowerCap" in found.notes
    found.save(tmp_path / "run.json")
    assert pywatt.load(tmp_path / "run.json").device_states == found.device_states


def test_a_steady_gpu_has_no_note(gpus):
    found = run(gpus, temperature_c=50, sm_clock_mhz=1345, throttle_reasons=1)
    assert [s.moment for s in found.device_states] == ["start", "end"]
    assert not any("steady" in note or "throttled" in note for note in found.notes)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (state("end", 50.0), []),
        (state("end", 50.1), ["temperature"]),
        (state("end", 39.9), ["temperature"]),
        (state("end", 45.0, 1.34e9), []),
        (state("end", 45.0, 1.33e9), ["SM clock"]),
        (state("end", None, None), []),
        (state("end", 45.0, 1.41e9, ["GpuIdle"]), []),
        (state("end", 45.0, 1.41e9, ["HwSlowdown"]), ["HwSlowdown"]),
        (state("end", 90.0, sensor="nvml:1"), []),
    ],
)
def test_what_changed_is_in_the_notes(end, words):
    notes = list(state_changes([state("start"), end]))
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


def test_what_a_device_does_not_report_is_none(gpus):
    for function in ("GetTemperature", "GetClockInfo", "GetCurrentClocksThrottleReasons"):
        gpus.fail(f"nvmlDevice{function}", pynvml.NVML_ERROR_NOT_SUPPORTED)
    found, notes = device_states(["nvml:0"], "start")
    assert (found, notes) == ((DeviceState("nvml:0", "start", None, None, ()),), ())


def test_a_device_that_is_lost_is_a_note(gpus):
    gpus.fail("nvmlDeviceGetHandleByIndex_v2", pynvml.NVML_ERROR_GPU_IS_LOST)
    found, notes = device_states(["nvml:0"], "end")
    assert found == ()
    assert notes[0].startswith("the GPUs' state at the end of the run is not known: ")


def test_a_driver_that_hangs_is_a_note_and_blocks_nothing(gpus):
    gpus.hang()
    began_s = time.monotonic()
    found, notes = device_states(["nvml:0"], "end")
    took_s = time.monotonic() - began_s
    gpus.hang(False)
    assert found == ()
    assert "did not answer within 1 s" in notes[0]
    assert TIMEOUT_S <= took_s < TIMEOUT_S + 1.0


def test_other_sensors_have_no_state():
    assert device_states(["cpu:estimated", "rapl:package-0", "nvml:0/energy"], "end") == ((), ())


def test_profiles_saved_before_there_were_states_can_be_read(tmp_path):
    path = tmp_path / "old.json"
    made_profile().save(path)
    path.write_text(path.read_text().replace('"device_states": [], ', ""))
    assert "device_states" not in path.read_text()
    assert pywatt.load(path).device_states == ()
