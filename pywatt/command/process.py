"""Run another program as a shell would: pass its signals and its exit status through."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from pywatt.errors import PywattError

NOT_EXECUTABLE = 126
NOT_FOUND = 127

# Signals that ask a program to do something, or warn it that its time is up (batch systems).
# Stopping and continuing (SIGTSTP, SIGCONT) keep their default: Ctrl-Z stops pywatt and the command
# together.
RELAYED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGXCPU,
)
_FROM_KEYS = (signal.SIGINT, signal.SIGQUIT)

# Python ignores these, and the command would inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class CommandError(PywattError):
    """A command could not be started; `exit_status` is that which a shell would return."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def run(command: Sequence[str]) -> int:
    """Run a command in this terminal until it ends. Call it in the main thread only.

    The command inherits all open file descriptors, as under `time`.

    Args:
        command: program and arguments; no shell is involved.

    Returns:
        Its exit status; 128 + n where signal n ended it.

    Raises:
        CommandError: it could not be started.
    """
    relay = _Relay()
    if not command[0]:
        raise _not_started("", FileNotFoundError(errno.ENOENT, "no name"))
    with relay.installed():
        try:
            pid = os.posix_spawnp(
                command[0], list(command), os.environ, setsigdef=_IGNORED_BY_PYTHON
            )
        except OSError as error:
            raise _not_started(command[0], error) from error
        relay.begin(pid)
        # The process id stays taken until waitpid, so no signal can reach another process.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        relay.end()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _not_started(program: str, error: OSError) -> CommandError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if program and shutil.which(program):
            return CommandError(
                f"{program}: the interpreter that its first line names is missing", NOT_EXECUTABLE
            )
        return CommandError(f"{program!r}: command not found", NOT_FOUND)
    return CommandError(f"{program}: cannot be run: {error.strerror}", NOT_EXECUTABLE)


class _Relay:
    """Forwards signals to the command; those that arrive before it starts, once it has started."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._early: list[int] = []
        self._ended = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals; those that pywatt ignores (nohup) stay ignored in both."""
        before = {number: signal.getsignal(number) for number in RELAYED}
        children_before = signal.getsignal(signal.SIGCHLD)
        try:
            # Where it is ignored, children vanish without a status.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, handler in before.items():
                if handler != signal.SIG_IGN:
                    signal.signal(number, self._pass_on)
            yield
        finally:
            for number, handler in (*before.items(), (signal.SIGCHLD, children_before)):
                # None: the handler was not set from Python, and Python cannot restore it.
                if handler is not None:
                    signal.signal(number, handler)

    def begin(self, pid: int) -> None:
        self._pid = pid
        for number in self._early:
            self._pass_on(number, None)

    def end(self) -> None:
        """Drop signals from now on: the measurement is about to be reported."""
        self._ended = True

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if self._ended:
            return
        if self._pid is None:
            self._early.append(number)
        elif not (number in _FROM_KEYS and _in_foreground()):
            os.kill(self._pid, number)


def _in_foreground() -> bool:
    """Return whether the terminal's keys reach this process group, and so the command directly.

    Python does not report who sent a signal. A program that gets Ctrl-C twice might take the second
    for impatience and exit without cleaning up.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
