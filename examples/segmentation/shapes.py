"""Discs and squares on noise: images of shape (1, 32, 32), a class for each pixel."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIZE = 32
CLASSES = 3  # ground, disc, square


def loaders():
    """Return a loader for training and one for the test."""
    generator = torch.Generator().manual_seed(7)  # the same images, whatever the run's seed
    training, test = images(256, generator), images(128, generator)
    return (
        DataLoader(TensorDataset(*training), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(*test), batch_size=32),
    )


def images(count, generator):
    """Return images of shape (count, 1, 32, 32) and classes of shape (count, 32, 32)."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    classes = torch.zeros(count, SIZE, SIZE, dtype=torch.long)
    for image in classes:
        for shape in (1, 2):
            row, column = torch.randint(6, SIZE - 6, (2,), generator=generator).tolist()
            radius = int(torch.randint(3, 7, (), generator=generator))
            rows, columns = (y - row).abs(), (x - column).abs()
            disc = rows**2 + columns**2 <= radius**2
            image[disc if shape == 1 else torch.maximum(rows, columns) <= radius] = shape
    noise = 0.3 * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    return (classes > 0).unsqueeze(1).float() + noise, classes


class MeanIoU:
    """Mean over the classes of intersection over union, counted over all pixels of the test."""

    def __init__(self, classes):
        self.classes = classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.long)

    def update(self, output, batch):
        """Count a batch: output of shape (samples, classes, height, width)."""
        pairs = batch[1].flatten().cpu() * self.classes + output.argmax(dim=1).flatten().cpu()
        counts = torch.bincount(pairs, minlength=self.classes**2)
        self.confusion += counts.reshape(self.classes, self.classes)

    def compute(self):
        """Return the mean IoU over all counted pixels, 0 to 1."""
        both = self.confusion.diag()
        either = self.confusion.sum(0) + self.confusion.sum(1) - both
        return (both / either.clamp(min=1)).mean()


def one_convolution():
    """Sees 5 x 5 pixels."""
    return nn.Conv2d(1, CLASSES, 5, padding=2)


def fully_convolutional(width):
    """Three convolutions at full resolution."""
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(width, width, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(width, CLASSES, 5, padding=2),
    )


class UNet(nn.Module):
    """One level down and up again (Ronneberger et al., arXiv 1505.04597)."""

    def __init__(self, width):
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(
            nn.MaxPool2d(4),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=4, mode="bilinear"),
        )
        self.head = nn.Conv2d(2 * width, CLASSES, 3, padding=1)

    def forward(self, images):
        """Return logits of shape (samples, classes, height, width)."""
        fine = self.fine(images)
        return self.head(torch.cat([fine, self.coarse(fine)], dim=1))
