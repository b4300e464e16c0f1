"""What the commands have in common: usage, help, terminals, and how fast they start."""

import os
import resource
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from fakes.command_line import PYWATT, pywatt

from pywatt import cli
from pywatt.support.display import encodable


@pytest.mark.parametrize("arguments", [["run"], ["run", "--"], ["run", "sleep", "1"], [], ["walk"]])
def test_wrong_usage(arguments):
    ran = pywatt(*arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: pywatt")


@pytest.mark.parametrize("columns", ["0", "1", "7"])
def test_the_figures_are_shown_on_the_narrowest_terminal(columns):
    ran = pywatt("run", "--", "sh", "-c", "exit 3", COLUMNS=columns)
    assert ran.returncode == 3
    assert "energy" in ran.stderr
    listed = pywatt("sensors", COLUMNS=columns)
    assert (listed.returncode, "cpu:estimated" in listed.stdout) == (0, True)


def test_help_has_an_example():
    for arguments in ([], ["demo"], ["sensors"], ["compare"], ["run"], ["call"], ["study"]):
        shown = pywatt(*arguments, "--help")
        assert shown.returncode == 0
        assert "example: pywatt" in shown.stdout
        assert shown.stdout.isascii()
        assert "%%" not in shown.stdout


def test_version():
    import pywatt as package

    assert pywatt("--version").stdout == f"pywatt {package.__version__}\n"


def test_nothing_is_lost_on_an_ascii_terminal():
    ran = pywatt("run", "--", "true", PYTHONIOENCODING="ascii")
    assert " +/- " in ran.stderr
    listed = pywatt("sensors", PYTHONIOENCODING="ascii")
    assert (listed.returncode, listed.stdout.isascii()) == (0, True)


def test_encodable():
    assert encodable("3 ± 1 µJ", "utf-8") == "3 ± 1 µJ"
    assert encodable("3 ± 1 µJ", "ascii") == "3 +/- 1 uJ"
    assert encodable("模 \udcff", "ascii") == "? ?"


def test_a_reader_that_has_seen_enough_hears_no_complaint():
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run([*PYWATT, "sensors"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")


def test_ctrl_c_is_quiet(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.sensors, "execute", interrupted)
    assert cli.main(["sensors"]) == 130
    assert capsys.readouterr() == ("", "")


def cpu_time_s(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.alone
@pytest.mark.parametrize("arguments", [["--version"], ["sensors"], ["run", "--", "true"]])
def test_starts_quickly(arguments):
    # Against the import of numpy, which pywatt cannot do without, on the same machine in turn; the
    # least of each, since other work makes it longer only.
    commands = ([*PYWATT, *arguments], [sys.executable, "-c", "import numpy"])
    used_s, numpy_s = np.min([[cpu_time_s(command) for command in commands] for _ in range(7)], 0)
    assert used_s < 3.0 * numpy_s


@pytest.mark.parametrize(
    ("arguments", "absent"), [(["sensors"], {"torch"}), (["run", "--", "true"], {"torch", "rich"})]
)
def test_what_is_slow_to_import_is_left_alone(arguments, absent):
    code = (
        "import sys; from pywatt import cli; cli.main(sys.argv[1:]); "
        "print('\\n' + ' '.join(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.splitlines()[-1].split())
    assert "pywatt.cli" in loaded
    assert absent.isdisjoint(loaded)


SCRIPT = Path(sysconfig.get_path("scripts"), "pywatt")


@pytest.mark.skipif(not SCRIPT.exists(), reason="pywatt is not installed here")
def test_the_script_is_the_module():
    script = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True)
    assert script.stdout == pywatt("--version").stdout
