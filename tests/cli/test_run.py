"""The command `pywatt run`."""

import contextlib
import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import simulated_nvml
from fakes.command_line import PYWATT, pywatt

RUN = [*PYWATT, "run", "--"]
# Says that it is ready, and exits with 40 + n after the first signal n.
WAITS = """
import signal, sys
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXCPU"):
    signal.signal(getattr(signal, name), lambda number, frame: sys.exit(40 + number))
print("ready", flush=True)
while True:
    signal.pause()
"""
# Prints whether a second SIGINT follows the first.
COUNTS = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ready", flush=True)
signal.sigwait({signal.SIGINT})
again = signal.sigtimedwait({signal.SIGINT}, 1.0)
print(f"then: {again}", flush=True)
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
    ],
)
def test_run_passes_the_exit_status_through(command, status):
    ran = pywatt("run", "--json", "ran.json", "--", *command)
    assert ran.returncode == status
    assert json.loads(Path("ran.json").read_text())["exit_status"] == status
    assert ("exit" in ran.stderr) == (status != 0)


def test_run_names_the_signal_that_ended_the_command():
    assert "status 137 (SIGKILL)" in pywatt("run", "--", "sh", "-c", "kill -KILL $$").stderr


def test_run_says_what_cannot_be_started():
    script = Path("script")
    script.write_text("#!/nonexistent/interpreter\n")
    for mode, name, status, words in [
        (0o755, "no-such-command", 127, "'no-such-command': command not found"),
        (0o755, "./no/such", 127, "'./no/such': command not found"),
        (0o755, "", 127, "'': command not found"),
        (0o644, "./script", 126, "./script: cannot be run: Permission denied"),
        (0o755, "./script", 126, "./script: the interpreter that its first line names is missing"),
    ]:
        script.chmod(mode)
        ran = pywatt("run", "--", name)
        assert (ran.returncode, ran.stdout) == (status, "")
        assert ran.stderr == f"pywatt: error: {words}\n"


def test_run_leaves_input_and_output_alone():
    given = bytes(range(256)) * 300
    ran = subprocess.run([*RUN, "cat"], input=given, capture_output=True)
    assert ran.stdout == given
    assert b"energy" in ran.stderr


def test_run_gives_the_command_what_follows_the_first_dashes():
    ran = pywatt("run", "--", "printf", "%s,", "--json", "x", "--", "-h")
    assert ran.stdout == "--json,x,--,-h,"


def test_run_leaves_what_was_ignored_ignored_and_nothing_else():
    shell = f"trap '' HUP; exec {sys.executable} -m pywatt run -- grep SigIgn /proc/self/status"
    ran = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    # Python ignores SIGPIPE for itself, which the command must not inherit. What lies above signal
    # 31 is the C library's own.
    ignored = int(ran.stdout.split()[1], 16) & 0x7FFFFFFF
    assert ignored == 1 << (signal.SIGHUP - 1)


@pytest.mark.parametrize(
    "name",
    ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXCPU"],
)
def test_run_relays_signals(name):
    number = getattr(signal, name)
    with subprocess.Popen(
        [*RUN, sys.executable, "-c", WAITS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # no terminal, and so no keys that the command would see itself
    ) as ran:
        assert ran.stdout.readline() == "ready\n"
        ran.send_signal(number)
        _, report = ran.communicate(timeout=30)
    assert ran.returncode == 40 + number
    assert "energy" in report


def read_until(terminal, words):
    text = b""
    while words not in text:
        assert select.select([terminal], [], [], 30)[0], text
        text += os.read(terminal, 4096)
    return text


def read_until_closed(terminal):
    with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
        while True:
            os.read(terminal, 4096)


def test_ctrl_c_reaches_the_command_once(monkeypatch):
    monkeypatch.delenv("COLUMNS")  # so that the terminal, whose size nobody has set, is asked
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*RUN, sys.executable, "-c", COUNTS])
    try:
        read_until(terminal, b"ready")
        os.write(terminal, b"\x03")
        assert b"then: None" in read_until(terminal, b"energy")
        read_until_closed(terminal)
    finally:
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0


def test_run_estimates_the_whole_process_tree():
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    tree = f"{sys.executable} -c '{burn}' & {sys.executable} -c '{burn}' & wait"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = pywatt("run", "--json", "ran.json", "--", "sh", "-c", tree, PYWATT_CPU_TDP_W="100")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ran.returncode == 0, ran.stderr
    all_cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = json.loads(Path("ran.json").read_text())
    cpu_s = (figures["energy_j"] - 10 * figures["duration_s"]) / (90 / os.cpu_count())
    # What pywatt itself used is in `all_cpu_s` only.
    assert 0.8 <= cpu_s <= all_cpu_s
    assert figures["estimated"] is True
    assert figures["power_w"] == pytest.approx(figures["energy_j"] / figures["duration_s"])
    assert [sensor["name"] for sensor in figures["sensors"]] == ["cpu:estimated"]
    assert any("estimated" in note for note in figures["notes"])
    assert "estimated" in ran.stderr


def test_run_reads_meters():
    library = simulated_nvml.environment(devices=1, power_w=300)
    ran = pywatt("run", "--json", "ran.json", "--", "sleep", "1", **library)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(Path("ran.json").read_text())
    assert figures["estimated"] is False
    assert figures["energy_j"] == pytest.approx(300 * figures["duration_s"], rel=0.01)
    # A reading that a busy machine takes late makes what it shows come late, and the next early.
    late_s = figures["quality"]["nvml:0/energy"]["longest_gap_s"]
    assert figures["peak_power_w"] == pytest.approx(300, rel=0.01 + late_s / 0.5)
    assert figures["energy_by_sensor"].keys() == {"nvml:0", "nvml:0/energy"}
    assert any("no power meter covers the CPU" in note for note in figures["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "0"], "out of range"),
        (["--rate", "1e9"], "out of range"),
        (["--rate", "nan"], "out of range"),
        (["--rate", "fast"], "invalid float"),
        (["--sensor", "nvml:7"], "'nvml:7' cannot be read"),
        (["--sensor", "toaster"], "no sensor 'toaster' here; those that can be read: "),
        (["--json", "/nonexistent/folder/ran.json"], "/nonexistent/folder does not exist"),
        (["--json", "."], ". is a folder"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_command_begins(arguments, words):
    ran = pywatt("run", *arguments, "--", "touch", "begun")
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not Path("begun").exists()


def test_a_wrong_figure_in_the_environment_is_one_line():
    ran = pywatt("run", "--", "true", PYWATT_CPU_TDP_W="many")
    assert ran.returncode == 2
    assert ran.stderr.startswith("pywatt: error: PYWATT_CPU_TDP_W is 'many'")
    assert ran.stderr.count("\n") == 1


def test_json_is_written_to_devices_not_in_their_place():
    ran = pywatt("run", "--json", "/dev/stdout", "--", "true")
    assert json.loads(ran.stdout)["command"] == ["true"]
    assert pywatt("run", "--json", "/dev/null", "--", "true").returncode == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(("status", "expected"), [(5, 5), (0, 2)])
def test_a_command_s_own_status_goes_before_that_of_a_file_that_cannot_be_written(status, expected):
    Path("gone").mkdir()
    ran = pywatt("run", "--json", "gone/ran.json", "--", "sh", "-c", f"rmdir gone; exit {status}")
    assert ran.returncode == expected
    assert "energy" in ran.stderr
    assert "pywatt: error: gone/ran.json cannot be written" in ran.stderr
