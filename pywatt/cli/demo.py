"""`pywatt demo`."""

from __future__ import annotations

import argparse

from pywatt.cli.terminal import file_errors, show, writable

_DESCRIPTION = """\
Trains a small network on scikit-learn's digits, profiles its inference over test images, and prints
the energy of each layer, the accuracy and the score. Takes a few seconds.
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    demo = actions.add_parser(
        "demo",
        help="energy of each layer of a small network",
        description=_DESCRIPTION,
        epilog="example: pywatt demo --save digits.json",
    )
    demo.add_argument(
        "--save", "--json", metavar="FILE", help="write the profile to this file, for pywatt.load"
    )
    demo.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Train, profile, print and save; return the exit status."""
    target = writable(options.save)
    from pywatt.demos import profile as demo
    from pywatt.profiling.profile import profile

    trained = demo.train()
    with demo.one_thread():
        found = profile(trained.model, demo.passes(trained))
    passes = found.batches // len(trained.batches)
    show(
        f"Trained on {trained.training_images:,} of scikit-learn's digits in "
        f"{trained.training_s:.1f} s; profiled on the other {trained.test_images:,} "
        f"(passes: {passes:,}).\n"
    )
    show(str(found))
    if target is not None:
        with file_errors(target):
            found.save(target)
        show(f"\nSaved: pywatt.load({str(target)!r}) reads it.")
    return 0
