"""Copies of the arguments of a call."""

import torch

from pywatt.model.reachable_state import copy_tensors


def test_copies_keep_layout_and_identity():
    x, expanded = torch.zeros(8, 4).t(), torch.zeros(1).expand(5)
    sliced = torch.arange(10.0)[::2]
    one, two, (three, four), kept = copy_tensors((x, x, [sliced, expanded], "text"))
    assert one is two
    assert one is not x
    assert one.stride() == x.stride()
    assert three.stride() == sliced.stride()
    assert torch.equal(three, sliced)
    assert four.stride() == (0,)
    assert kept == "text"
