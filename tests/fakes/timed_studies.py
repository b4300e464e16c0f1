"""Studies of timed models, in the working directory."""

import json
from pathlib import Path

import pywatt
from fakes.timed_models import clock, sensor

HEAD = 'name = "timed"\ndata = "fakes.timed_models:loaders"\nrate_hz = 100\n'
RECIPE = """
[training]
epochs = 2
optimizer = { call = "torch.optim:SGD", lr = 0.0 }
"""


def a_model(name, /, factory="model", more="", **arguments):
    given = "".join(f", {key} = {json.dumps(argument)}" for key, argument in arguments.items())
    call = f'{{ call = "fakes.timed_models:{factory}"{given} }}'
    return f'\n[[models]]\nname = "{name}"\nfactory = {call}\n{more}\n'


GOOD = a_model("good", share=0.75)
CHEAP = a_model("cheap", share=0.5, sample_s=0.125)


def study(text, name="study.toml", **options):
    Path(name).write_text(text)
    return pywatt.Study(name, **{"sensors": sensor(), "clock": clock} | options)


def run(text, **options):
    return study(text).run(progress=False, **options)
