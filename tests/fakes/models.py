"""Models with scripted times, and models that are hard to hook."""

import torch
from torch import nn

import pywatt


class Work(nn.Module):
    """Takes exactly `seconds` of a scripted clock itself, then calls its children in turn."""

    def __init__(self, clock, seconds, **inside):
        super().__init__()
        self.clock, self.seconds = clock, seconds
        for name, module in inside.items():
            self.add_module(name, module)

    def forward(self, x):
        self.clock.advance(self.seconds)
        for module in self.children():
            x = module(x)
        return x


class Countdown(nn.Module):
    """Calls itself until its input is 0; each call takes 0.1 s itself."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, n):
        self.clock.advance(0.1)
        return n if int(n) == 0 else self(n - 1)


class Raising(nn.Module):
    """Raises `error` in its second call."""

    def __init__(self, error):
        super().__init__()
        self.error, self.calls = error, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return x


class Twice(nn.Module):
    """One module under two names, called three times."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first
        self.parts = nn.ModuleList([nn.ReLU(), nn.Dropout(0.5)])

    def forward(self, x):
        for part in self.parts:
            x = part(self.first(x))
        return self.second(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class PaddedEncoder(nn.Module):
    """nn.TransformerEncoder on its path of nested tensors, which needs a mask."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(encoder_layer(), 2)

    def forward(self, x):
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        mask[0, 2:] = True
        return self.encoder(x, src_key_padding_mask=mask)


class OwnEncoderLayer(nn.TransformerEncoderLayer):
    def forward(self, src, *args, **kwargs):
        return super().forward(src, *args, **kwargs)


class Compilable(nn.Module):
    """A model with its own class: Module.compile does nothing to nn.Sequential."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        return self.head(self.body(x))


def encoder_layer(kind=nn.TransformerEncoderLayer):
    return kind(8, 2, 16, batch_first=True)


def convnet():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(0.5)
    )


def compiled_inside():
    model = Compilable()
    model.head = torch.compile(model.head, backend="eager")
    return model


def compiled_in_place():
    model = Compilable()
    model.compile(backend="eager")
    return model


def graphed():
    """Return a linear layer that looks as if torch.cuda.make_graphed_callables had made it."""
    model = nn.Sequential(nn.Linear(8, 8))

    def make_graphed_forward(forward):
        def new_fwd(x):
            return forward(x)

        return new_fwd

    model[0].forward = make_graphed_forward(model[0].forward)
    return model


SEQUENCES = (4, 5, 8)
ROWS = (4, 8)
IMAGES = (4, 1, 6, 6)

# A function that makes each, and the shape of its input.
ZOO = {
    "linear": (lambda: nn.Linear(8, 8), ROWS),
    "no parameters": (nn.ReLU, ROWS),
    "shared": (Twice, ROWS),
    "convnet": (convnet, IMAGES),
    "lstm": (lambda: nn.LSTM(8, 8, batch_first=True), SEQUENCES),
    "attention": (Attention, SEQUENCES),
    "encoder layer": (encoder_layer, SEQUENCES),
    "own encoder layer": (lambda: encoder_layer(OwnEncoderLayer), SEQUENCES),
    "encoder": (lambda: nn.TransformerEncoder(encoder_layer(), 2), SEQUENCES),
    "padded encoder": (PaddedEncoder, SEQUENCES),
    "script": (lambda: torch.jit.script(Compilable()), ROWS),
    "script inside": (lambda: nn.Sequential(torch.jit.script(Compilable())), ROWS),
    "traced": (lambda: torch.jit.trace(nn.Linear(8, 8), torch.ones(ROWS)), ROWS),
    "compiled": (lambda: torch.compile(Compilable(), backend="eager"), ROWS),
    "compiled inside": (compiled_inside, ROWS),
    "compiled in place": (compiled_in_place, ROWS),
    "graphed": (graphed, ROWS),
}


def tensors_of(output):
    """Return all tensors in an output, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    items = output.values() if isinstance(output, dict) else output
    is_nest = isinstance(output, (tuple, list, dict))
    return [t for item in items for t in tensors_of(item)] if is_nest else []


def traces_left(model):
    """Return all that hooks could leave behind, to compare before and after."""
    return [
        {
            name: list(entry.items()) if "hooks" in name else id(entry)
            for name, entry in module.__dict__.items()
        }
        for module in model.modules()
    ]


def scripted(power_w=50.0, clock=None, **options):
    """Return options for a profile at `power_w` on a scripted clock."""
    clock = pywatt.ScriptedClock() if clock is None else clock
    sensor = pywatt.ScriptedSensor([power_w], clock=clock)
    return {"clock": clock, "sensors": sensor} | options


def assert_adds_up(profile, tolerance=1e-9):
    """Assert that the self energies and the energy outside add up to the measured energy."""
    parts_j = [entry.self_energy_j for entry in profile.layers if entry.self_energy_j is not None]
    total_j = sum(parts_j) + profile.outside_j
    assert abs(total_j - profile.energy_j) <= tolerance * max(1.0, profile.energy_j)


def row(profile, name, kind=None):
    """Return the only row with this name."""
    (found,) = [e for e in profile.layers if e.name == name and kind in (None, e.type)]
    return found
