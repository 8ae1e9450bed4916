"""Part of CIFAR-10, for a schedule that a CPU can carry out: 2,800 training images and the first 1,500 of the test set.

    secateurs compare --model zoo:resnet20 --data benchmarks/cifar10_part.py:loaders ...

Reads the folder that the environment variable CIFAR10 names, or data/cifar10, and keeps the part under runs/benchmarks:
decoding all pictures takes longer than a short run. Normalised by channel, not augmented, for a short schedule sees an
image twice. The part is the same for every seed, each class with its share.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from secateurs.zoo.cifar import read_cifar10

TRAIN, TEST = 2800, 1500
KEPT = Path("runs/benchmarks/cifar10_part.npz")


def part() -> dict[str, np.ndarray]:
    """The chosen images and labels."""
    if not KEPT.exists():
        (x, y), (x_test, y_test) = read_cifar10(os.environ.get("CIFAR10", "data/cifar10"))
        chosen = np.sort(np.concatenate([np.flatnonzero(y == c)[: TRAIN // 10] for c in range(10)]))
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=KEPT.parent, suffix=".npz", delete=False) as file:
            np.savez(file, x=x[chosen], y=y[chosen], x_test=x_test[:TEST], y_test=y_test[:TEST])
        os.replace(file.name, KEPT)
    with np.load(KEPT) as held:
        return dict(held)


def loaders() -> dict[str, object]:
    """Train and test as tensor datasets."""
    held = part()
    images, test = (torch.from_numpy(held[name]).float() / 255 for name in ("x", "x_test"))
    mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    return {
        "train": TensorDataset((images - mean) / std, torch.from_numpy(held["y"]).long()),
        "test": TensorDataset((test - mean) / std, torch.from_numpy(held["y_test"]).long()),
        "classes": 10,
    }
