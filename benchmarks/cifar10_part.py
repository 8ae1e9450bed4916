"""Part of CIFAR-10, for a schedule that a CPU can carry out: 4,400 training images and the first 3,000 of the test set.

    secateurs compare --model zoo:resnet20 --data benchmarks/cifar10_part.py:loaders ...

Reads the folder that the environment variable CIFAR10 names, or data/cifar10. Normalised by channel, not augmented: a
short schedule sees an image twice. The part is the same for every seed, each class with its share.
"""

from __future__ import annotations

import os

import torch
from torch.utils.data import TensorDataset

from secateurs.zoo.cifar import read_cifar10

TRAIN, TEST = 4400, 3000


def loaders() -> dict[str, object]:
    """Train and test as tensor datasets."""
    (x, y), (x_test, y_test) = read_cifar10(os.environ.get("CIFAR10", "data/cifar10"))
    labels = torch.from_numpy(y).long()
    part = torch.cat([(labels == c).nonzero().squeeze(1)[: TRAIN // 10] for c in range(10)]).sort().values
    images = torch.from_numpy(x)[part].float() / 255
    mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    test = torch.from_numpy(x_test)[:TEST].float() / 255
    return {
        "train": TensorDataset((images - mean) / std, labels[part]),
        "test": TensorDataset((test - mean) / std, torch.from_numpy(y_test)[:TEST].long()),
        "classes": 10,
    }
