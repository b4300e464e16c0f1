"""A spot that moves left, right, up or down: clips of shape (1, 8 frames, 16, 16)."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FRAMES = 8
SIZE = 16
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # left, right, up, down


def loaders():
    """Return a loader for training and one for the test."""
    generator = torch.Generator().manual_seed(3)  # the same clips, whatever the run's seed
    training, test = clips(256, generator), clips(128, generator)
    return (
        DataLoader(TensorDataset(*training), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(*test), batch_size=32),
    )


def clips(count, generator):
    """Return clips of shape (count, 1, 8, 16, 16) and their actions, of shape (count,)."""
    actions = torch.randint(len(STEPS), (count,), generator=generator)
    starts = torch.randint(SIZE, (count, 2), generator=generator)
    films = 0.1 * torch.randn(count, 1, FRAMES, SIZE, SIZE, generator=generator)
    for film, action, start in zip(films, actions, starts, strict=True):
        row, column = start.tolist()
        down, right = STEPS[action]
        for frame in range(FRAMES):
            # The spot wraps around at the edges, so that only its motion shows the action.
            film[0, frame, (row + down * frame) % SIZE, (column + right * frame) % SIZE] += 5.0
    return films, actions


def clip_accuracy(output, batch):
    """Return the share of the clips that are classified correctly."""
    return (output.argmax(dim=1) == batch[1]).float().mean()


class SingleFrames(nn.Module):
    """Looks at each frame, or at each pair of frames in a row, and takes the mean."""

    def __init__(self, width, difference=False):
        super().__init__()
        self.difference = difference
        self.features = nn.Sequential(
            nn.Conv2d(2 if difference else 1, width, 3, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, len(STEPS)),
        )

    def forward(self, clips):
        """Return logits of shape (clips, actions)."""
        frames = clips.squeeze(1)
        looked_at = frames.unsqueeze(2)
        if self.difference:
            looked_at = torch.stack([frames[:, :-1], frames[:, 1:]], dim=2)
        each = self.features(looked_at.flatten(0, 1))
        return each.reshape(len(clips), -1, len(STEPS)).mean(dim=1)


def convolutions_3d(width):
    """Convolutions over space and time."""
    return nn.Sequential(
        nn.Conv3d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(width, len(STEPS)),
    )
