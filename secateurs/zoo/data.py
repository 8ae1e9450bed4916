"""Data sets by name: ``digits``, ``mnist:DIR``, ``cifar10:DIR``, or the user's own ``file.py:loaders``.

Validation is cut from the training data with a seed; what normalises the inputs comes from what is left of
the training data; the test set is checked when the data are loaded (a missing file should not show after
hours of training) but handed out only through ``Data.test``, which counts how often it was opened.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, require, suggest
from .cifar import read_cifar10
from .files import is_file
from .idx import read_mnist
from .splits import Split, TensorSplit, stratified

Arrays = tuple[np.ndarray, np.ndarray]
SOURCES = ("digits", "mnist:DIR", "cifar10:DIR", "file.py:loaders")


class Data:
    """A data set in three parts.

    Attributes:
        name: as it was asked for.
        classes: number of classes.
        input_shape: of one example, without the batch axis.
        hash: SHA-256 (hex) of the content, all parts; see :func:`content_hash`.
        train, validation: what selection may look at.
        augment: ``"none"`` or ``"crop-flip"``, what ``train`` applies.
        test_reads: how often ``test`` was opened.
        lowest: label of the training data, where it was looked at.
    """

    def __init__(
        self,
        name: str,
        classes: int,
        input_shape: Iterable[int],
        hash: str,
        train: Split,
        validation: Split,
        test: Split,
        augment: str = "none",
        lowest: int = 0,
    ) -> None:
        self.name, self.classes, self.input_shape = name, classes, tuple(input_shape)
        self.hash, self.augment = hash, augment
        self.train, self.validation, self._test = train, validation, test
        self.test_reads, self.lowest = 0, lowest

    @property
    def test(self) -> Split:
        """The test set. Each access counts as one reading of it: do it once, at the end."""
        self.test_reads += 1
        return self._test

    @property
    def sizes(self) -> dict[str, int]:
        """Examples in each part. Does not count as reading the test set."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self._test)}

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        """The first ``batch`` training examples, not augmented, as positional arguments of a model."""
        x, _ = next(iter(self.train.batches(batch, epoch=None)))
        return (x,)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n} {part}" for part, n in self.sizes.items())
        return f"Data({self.name!r}, {self.classes} classes, {self.input_shape}, {sizes})"


def load_data(
    spec: str,
    *,
    validation: float = 0.0833,
    seed: int = 0,
    limit: int | None = None,
    augment: str | None = None,
) -> Data:
    """Load a data set.

    Args:
        spec: ``"digits"`` (scikit-learn's, 8×8, embedded), ``"mnist:DIR"``, ``"cifar10:DIR"``, or
            ``"file.py:loaders"``, see :func:`secateurs.zoo.loaders.user_data`.
        validation: fraction of the training data to hold out.
        seed: of the validation split, and of ``limit``.
        limit: use only this many training examples (validation is cut from them), drawn with the seed,
            every class with its share.
        augment: ``"none"`` or ``"crop-flip"``; by default crop-flip for CIFAR-10.
    Raises:
        DataError: unknown, missing (the expected layout is shown), damaged, or of the wrong shape.
    """
    if not 0 < validation < 1:
        raise DataError(f"validation={validation:g}: must be a fraction between 0 and 1, such as 0.0833")
    if limit is not None and limit < 2:
        raise DataError(f"limit={limit}: must leave at least two training examples")
    if augment not in (None, "none", "crop-flip"):
        raise DataError(f"augment={augment!r}: known: 'none', 'crop-flip'")
    if is_file(spec):
        from .loaders import user_data

        if limit is not None or augment is not None:
            raise DataError(f"{spec!r}: limit and augment do not apply to your own loaders; do it there")
        return user_data(spec, validation=validation, seed=seed)
    source, _, folder = spec.partition(":")
    if source == "digits" and not folder:
        train, test = _digits()
    elif source in ("mnist", "cifar10") and folder:
        train, test = (read_mnist if source == "mnist" else read_cifar10)(folder)
    else:
        raise _unknown(spec, source, folder)
    chosen = augment or ("crop-flip" if source == "cifar10" else "none")
    return _in_memory(spec, train, test, validation, seed, limit, chosen)


def _unknown(spec: str, source: str, folder: str) -> DataError:
    if source in ("mnist", "cifar10"):
        return DataError(f"data {spec!r} names no folder; write {source}:DIR")
    if source == "digits":
        return DataError(f"data {spec!r}: digits come with scikit-learn and take no folder; write digits")
    known = [s.partition(":")[0] for s in SOURCES[:3]]
    return DataError(f"unknown data {spec!r}; {suggest(source, known)} (write one of {', '.join(SOURCES)})")


def _in_memory(
    name: str, train: Arrays, test: Arrays, validation: float, seed: int, limit: int | None, augment: str
) -> Data:
    digest = content_hash(*train, *test)
    x, y = torch.from_numpy(train[0]), torch.from_numpy(train[1]).long()
    classes = int(y.max()) + 1
    if int(test[1].max()) >= classes:
        raise DataError(f"data {name!r}: test labels reach {int(test[1].max())}, training labels only {classes - 1}")
    if limit is not None and limit < len(y):
        part = stratified(y, limit, seed, "limit")
        x, y = x[part], y[part]
    held = stratified(y, held_out(len(y), validation, name), seed, "validation")
    mean, std = moments(x[~held])
    return Data(
        name,
        classes,
        x.shape[1:],
        digest,
        TensorSplit(x[~held], y[~held], augment=augment, mean=mean, std=std),
        TensorSplit(x[held], y[held], mean=mean, std=std),
        TensorSplit(torch.from_numpy(test[0]), torch.from_numpy(test[1]), mean=mean, std=std),
        augment,
        int(y.min()),
    )


def held_out(count: int, fraction: float, name: str) -> int:
    """How many of ``count`` training examples to hold out: at least one, and not all.

    Raises:
        DataError: fewer than two examples.
    """
    if count < 2:
        raise DataError(f"data {name!r}: {count} training examples; validation cannot be cut from them")
    return min(max(round(count * fraction), 1), count - 1)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel (axis 1) of byte images, exactly, from their histograms.

    Args:
        x: (n, channels, …) uint8.
    Returns:
        two tensors (channels,), float64. A constant channel has deviation 1.
    """
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in x.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = (shares * (values - mean[:, None]).square()).sum(1).sqrt()
    return mean, torch.where(std > 0, std, torch.ones_like(std))


def content_hash(*arrays: np.ndarray) -> str:
    """SHA-256 (hex) over type, shape and bytes of arrays: equal data in another file format hash the same."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _digits() -> tuple[Arrays, Arrays]:
    # scikit-learn ships no split. Every fifth example, the same for everyone: a comparison across seeds must
    # not be one across test sets.
    images, labels = _sklearn_digits()
    test = stratified(torch.from_numpy(labels).long(), len(labels) // 5, 0, "digits").numpy()
    return (images[~test], labels[~test]), (images[test], labels[test])


def _sklearn_digits() -> Arrays:
    found = importlib.util.find_spec("sklearn")
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz" if found and found.origin else None
    if file is not None and file.exists():  # importing scikit-learn for one table takes longer than a run on it
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        return table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].copy()
    bunch = require("sklearn.datasets", "data").load_digits()
    return bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.uint8)
