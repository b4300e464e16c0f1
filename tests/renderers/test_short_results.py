"""One call, a command, a block of code: their lines, and what only `explain` says."""

import pytest
from fakes.profiles import CPU, GPU

import pywatt
from pywatt.calls.result import CallEnergy, CallWindow
from pywatt.command.run import CommandEnergy
from pywatt.renderers import call, command, measurement
from pywatt.support.notes import NoteOnParts, NoteOnSensors, ordered

ESTIMATE = type(CPU)(
    "cpu:estimated", device="cpu", estimated=True, note="by CPU time", scale_std=0.45
)
LONG = "is longer than fits into a single line of a terminal of any kind"


def one_call(**changes):
    fields = {
        "function": "infer",
        "energy_j": 0.5,
        "energy_j_std": 0.01,
        "net_energy_j": 0.3,
        "net_energy_j_std": 0.01,
        "duration_s": 0.002,
        "duration_s_std": 0.0001,
        "power_w": 250.0,
        "idle_power_w": 100.0,
        "idle_power_w_std": 1.0,
        "calls": 1200,
        "blocks": 6,
        "elapsed_s": 2.5,
        "target_reached": True,
        "method": "1,200 calls in 6 blocks",
        "estimated": False,
        "energy_by_sensor": {"nvml:0": 0.5},
        "sensors": (GPU,),
        "windows": (),
        "notes": (),
    }
    return CallEnergy(**fields | changes)


def test_a_call_is_a_headline_and_its_lines():
    assert call.render(one_call(), 100).splitlines() == [
        "One call of infer · MEASURED with nvml:0",
        "",
        "energy      500 ± 10 mJ measured",
        "above idle  300 ± 10 mJ",
        "time        2.00 ± 0.10 ms (median, spread of 1,200 calls)",
        "power       250 W, idle 100.0 ± 1.0 W",
    ]


def test_windows_of_a_call_stand_between_headline_and_lines():
    window = CallWindow(name="decode", count=2.0, duration_s=0.001, energy_j=0.2, energy_j_std=0.02)
    parts = call.render(one_call(windows=(window,)), 100).split("\n\n")
    assert len(parts) == 3
    assert parts[1].splitlines()[-1].split("  ")[0] == "decode"


def test_explain_of_a_call_has_method_sensors_and_notes():
    found = one_call(sensors=(ESTIMATE,), energy_by_sensor={"cpu:estimated": 0.5}, estimated=True)
    text = call.explain(found, 100)
    assert text.startswith("One call of infer · ESTIMATED (±45 %) with cpu:estimated\n")
    assert "method      1,200 calls in 6 blocks (took 2.5 s)" in text
    assert "sensor      cpu:estimated, estimated, 500 mJ a call, by CPU time" in text
    assert one_call().explain() == call.explain(one_call(), 100)


def ran(**changes):
    fields = {
        "command": ("sleep", "1"),
        "exit_status": 0,
        "duration_s": 1.0,
        "energy_j": 50.0,
        "energy_j_std": 0.5,
        "power_w": 50.0,
        "peak_power_w": 60.0,
        "peak_interval_s": 0.5,
        "estimated": False,
        "energy_by_sensor": {"nvml:0": 50.0},
        "sensors": (GPU,),
        "quality": {},
        "notes": (),
    }
    return CommandEnergy(**fields | changes)


def test_a_command_is_a_headline_and_its_lines():
    assert command.render(ran(), 100).splitlines() == [
        "pywatt: sleep 1",
        "energy      50.00 ± 0.50 J, MEASURED with nvml:0",
        "power       50 W on average, 60 W at the peak (highest mean of 0.5 s)",
        "time        1 s",
    ]


def test_an_estimated_command_says_how_far_its_scale_may_be_off():
    found = ran(sensors=(ESTIMATE,), estimated=True, notes=("cpu:estimated: by CPU time",))
    assert "ESTIMATED (±45 %) with cpu:estimated" in command.render(found, 100)
    assert "by CPU time" not in command.render(found, 100)
    assert "by CPU time" in command.explain(found, 100)


def test_a_command_that_failed_says_how():
    lines = command.render(ran(exit_status=137, energy_j=None, power_w=None), 100).splitlines()
    assert lines[1:] == [
        "energy      unavailable",
        "time        1 s",
        "exit        status 137 (SIGKILL)",
    ]


@pytest.mark.parametrize("notes", [1, 2, 9])
def test_there_are_at_most_six_lines(notes):
    texts = tuple(f"note {k} {LONG}" for k in range(notes))
    assert len(call.render(one_call(notes=texts), 60).split("\n\n")[-1].splitlines()) <= 6
    assert len(command.render(ran(notes=texts, exit_status=1), 60).splitlines()) <= 7


def test_a_measurement_is_one_line_and_explained_in_full():
    clock = pywatt.ScriptedClock()
    sensor = pywatt.ScriptedSensor([50.0], clock=clock)
    with pywatt.measure(sensors=sensor, clock=clock) as m:
        with pywatt.window("half"):
            clock.advance(0.5)
        clock.advance(0.5)
    assert str(m) == measurement.render(m, 10)
    assert str(m).endswith(" J over 1 s, 50 W (measured: scripted)")
    lines = m.explain().splitlines()
    assert lines[0] == str(m)
    assert "window      half: 25 J in 500 ms, 1 time" in lines
    assert "sensor      scripted, 50 J" in lines


def test_notes_on_the_whole_come_first_and_those_on_sensors_last():
    notes = (NoteOnSensors("meter"), NoteOnParts("layer"), "run", NoteOnParts("layer"))
    assert ordered(notes) == ("run", "layer", "meter")
