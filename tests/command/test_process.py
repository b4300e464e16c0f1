import os
import pty
import signal
import subprocess
import sys

import pytest

from pywatt.command import process as command

ASKS = "from pywatt.command.process import _in_foreground; print(_in_foreground())"


@pytest.fixture
def relayed(monkeypatch):
    signals = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    return signals


@pytest.mark.parametrize(
    ("in_foreground", "kept_back"), [(True, {"SIGINT", "SIGQUIT"}), (False, set())]
)
def test_what_keys_have_sent_is_not_sent_again(monkeypatch, relayed, in_foreground, kept_back):
    monkeypatch.setattr(command, "_in_foreground", lambda: in_foreground)
    relay = command._Relay()
    with relay.installed():
        relay.begin(4711)
        for number in command.RELAYED:
            signal.raise_signal(number)
    assert relayed == [(4711, n) for n in command.RELAYED if n.name not in kept_back]


def test_signals_before_the_command_begins_wait_for_it(relayed):
    relay = command._Relay()
    with relay.installed():
        signal.raise_signal(signal.SIGTERM)
        assert relayed == []
        relay.begin(4711)
        assert relayed == [(4711, signal.SIGTERM)]


def test_after_the_command_no_signal_goes_anywhere(relayed):
    relay = command._Relay()
    with relay.installed():
        relay.begin(4711)
        relay.end()
        signal.raise_signal(signal.SIGTERM)
    assert relayed == []


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (*command.RELAYED, signal.SIGCHLD)]
    with command._Relay().installed():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(n) for n in (*command.RELAYED, signal.SIGCHLD)] == before


def test_knows_whether_keys_reach_it():
    alone = subprocess.run(
        [sys.executable, "-c", ASKS], capture_output=True, text=True, start_new_session=True
    )
    assert alone.stdout == "False\n"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKS])
    assert os.read(terminal, 100).startswith(b"True")
    os.close(terminal)
    os.waitpid(pid, 0)
