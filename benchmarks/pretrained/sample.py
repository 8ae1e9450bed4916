"""The images: read, prepared as the network was trained to see them, and divided in two by a seed.

The weights come from TensorFlow's EfficientNet-Lite, which sees (RGB − 127)/128 and the middle 224 of 256 pixels
(its `efficientnet_lite_builder.py`: MEAN_RGB, STDDEV_RGB). The images are stored at 256 × 256, so nothing is resized.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from secateurs.errors import DataError, require
from secateurs.spec import derive_seed
from secateurs.storage import sha256
from secateurs.zoo import TensorSplit

MEAN, STD = 127.0, 128.0
STORED, CROP = 256, 224
FILE = "validation.parquet"


@dataclass(frozen=True)
class Sample:
    """Two disjoint halves, and the hash of the file that they came from."""

    calibration: TensorSplit
    scoring: TensorSplit
    hash: str


def read(spec: str, seed: int, calibration: int = 500) -> Sample:
    """The sample at ``imagenet:DIR``.

    Raises:
        DataError: another source, no such file, or images of another size.
    """
    source, _, folder = spec.partition(":")
    path = Path(folder) / FILE
    if source != "imagenet" or not folder:
        raise DataError(f"data {spec!r}: write imagenet:DIR, where DIR holds {FILE}")
    if not path.is_file():
        raise DataError(f"data {spec!r}: there is no file {str(path)!r}")
    table = require("pyarrow.parquet", "data").read_table(path)
    images = np.stack([_pixels(row["bytes"], i) for i, row in enumerate(table.column("image").to_pylist())])
    first, second = halved(len(images), seed, calibration)
    # Channels stay last in memory: convolutions on a CPU take half the time.
    x, y = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(table.column("label").to_numpy().copy())
    return Sample(split(x[first], y[first]), split(x[second], y[second]), sha256(path))


def halved(count: int, seed: int, calibration: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that calibrate and of those that are scored, each in order.

    Raises:
        DataError: one of the two would be empty.
    """
    if not 0 < calibration < count:
        raise DataError(f"{calibration} images for calibration of {count}: some must calibrate, and some be scored")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "calibration")))
    return order[:calibration].sort().values, order[calibration:].sort().values


def split(x: Tensor, y: Tensor) -> TensorSplit:
    """Bytes (n, 3, …) and labels, served as the network wants them."""
    return TensorSplit(x, y, mean=torch.tensor([MEAN]), std=torch.tensor([STD]))


def _pixels(encoded: bytes, number: int) -> np.ndarray:
    with require("PIL.Image", "data").open(io.BytesIO(encoded)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    if pixels.shape != (STORED, STORED, 3):
        raise DataError(f"image {number} has shape {pixels.shape}; expected ({STORED}, {STORED}, 3)")
    edge = (STORED - CROP) // 2
    return pixels[edge : edge + CROP, edge : edge + CROP]
