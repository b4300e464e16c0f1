"""Ctrl-C at any line: what was changed for a measurement is put back."""

import linecache
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import pywatt
from pywatt.spans import windows
from pywatt.support.signals import uninterrupted

PACKAGE = str(Path(pywatt.__file__).parent)
POINTS = 200  # spread over all lines: every one of them held when this was written


def profiled(model):
    pywatt.profile(model, [torch.randn(4, 3)] * 2, method="time", repeat=False)


def replayed(model):
    batches = [torch.randn(4, 3)] * 2
    pywatt.profile(model, batches, warmup=0, method="replay", repeat=False, budget_s=0.1)


def in_a_loop(model):
    with pywatt.Profiler(model) as profiler, pywatt.window("step"):
        model(torch.randn(4, 3))
        profiler.step()
    profiler.result()


def measured(model):
    with pywatt.measure() as measurement:
        model(torch.randn(4, 3))
    assert measurement.duration_s > 0


class CtrlC:
    """Presses Ctrl-C at the line with a number, of all lines of pywatt that Python runs."""

    def __init__(self, at=None):
        self.at, self.line = at, 0

    def __call__(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        # What follows `try:` is guarded, but not the word itself.
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and text != "try:":
            if self.line == self.at:
                signal.raise_signal(signal.SIGINT)
            self.line += 1
        return self

    def run(self, work, model):
        sys.settrace(self)
        try:
            work(model)
        finally:
            sys.settrace(None)


def traces_of_pywatt(model):
    kept = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return sum(kept), len(windows._active), [m for m in model.modules() if "forward" in vars(m)]


@pytest.mark.parametrize("work", [profiled, replayed, in_a_loop, measured])
def test_nothing_is_left_after_ctrl_c_at_any_line(work):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.TransformerEncoderLayer(3, 1, 4))
    work(model)
    whole = CtrlC()
    whole.run(work, model)
    kept = [buffer.clone() for buffer in model.buffers()]
    interrupted = 0
    for at in range(0, whole.line, 1 + whole.line // POINTS):
        try:
            CtrlC(at).run(work, model)
        except KeyboardInterrupt:
            interrupted += 1
        assert traces_of_pywatt(model) == (0, 0, []), f"at line {at} of {whole.line}"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if work in (profiled, replayed):
            assert all(map(torch.equal, model.buffers(), kept)), f"at line {at} of {whole.line}"
    assert interrupted > 50


def test_ctrl_c_comes_after_the_block():
    done = []

    def held_back():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        held_back()
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_users_own_handler_is_called_and_an_ignored_signal_stays_so():
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert calls == []
        assert calls == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
