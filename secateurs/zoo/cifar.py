"""CIFAR-10 from disk: parquet files of encoded images (the hub's layout) or torchvision's batches.

Decoding 60,000 encoded images takes a while, so the pixels are kept in the user's cache folder under the hash
of the file they came from. torchvision's batches are pickles; they are read by an unpickler that can build
arrays and nothing else.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, RunError, require
from ..storage import atomic, sha256

_LAYOUT = """expected either
  {folder}/train.parquet and {folder}/test.parquet, columns img (struct with bytes) and label, or
  {folder}/cifar-10-batches-py/data_batch_1 … data_batch_5 and test_batch (as torchvision unpacks them)"""

CLASSES = 10
Arrays = tuple[np.ndarray, np.ndarray]


def read_cifar10(folder: str | Path) -> tuple[Arrays, Arrays]:
    """Read CIFAR-10.

    Args:
        folder: in one of the two layouts.
    Returns:
        (images (n, 3, 32, 32) uint8, labels (n,) uint8), for train and for test.
    Raises:
        DataError: not there (the expected layouts are shown), damaged, or labels out of range.
    """
    folder = Path(folder)
    layout = _LAYOUT.format(folder=folder)
    if not folder.is_dir():
        raise DataError(f"data 'cifar10:{folder}': there is no folder {str(folder)!r}; {layout}")
    for place in (folder, folder / "cifar-10-batches-py"):
        if (place / "data_batch_1").is_file():
            names = [f"data_batch_{i}" for i in range(1, 6)]
            return _pickles(place, names), _pickles(place, ["test_batch"])
    train, test = _parquets(folder, "train"), _parquets(folder, "test")
    if not train or not test:
        missing = "train" if not train else "test"
        raise DataError(f"data 'cifar10:{folder}': no {missing} files there; {layout}")
    return _together(train), _together(test)


def check(images: np.ndarray, labels: np.ndarray, where: Path) -> Arrays:
    """Refuse arrays that are not CIFAR-10's.

    Raises:
        DataError: wrong shapes, or labels outside 0…9.
    """
    if images.ndim != 4 or images.shape[1:] != (3, 32, 32):
        raise DataError(f"{str(where)!r}: images have shape {images.shape[1:]}; CIFAR-10's are (3, 32, 32)")
    if len(images) != len(labels):
        raise DataError(f"{str(where)!r}: {len(images)} images but {len(labels)} labels")
    if len(labels) and not (labels.min() >= 0 and labels.max() < CLASSES):
        raise DataError(
            f"{str(where)!r}: labels run from {labels.min()} to {labels.max()}; CIFAR-10's are 0 to 9 "
            "(is it CIFAR-100?)"
        )
    return images.astype(np.uint8, copy=False), labels.astype(np.uint8, copy=False)


def cache_folder() -> Path:
    """Where decoded images are kept: ``$XDG_CACHE_HOME/secateurs``, by default ``~/.cache/secateurs``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secateurs"


def _parquets(folder: Path, part: str) -> list[Path]:
    for place in (folder, folder / "plain_text", folder / "data"):
        if found := sorted(place.glob(f"{part}*.parquet")):
            return found
    return []


def _together(paths: list[Path]) -> Arrays:
    parts = [_cached(path, _decode) for path in paths]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _cached(path: Path, decode: Callable[[Path], Arrays]) -> Arrays:
    key = cache_folder() / f"cifar-{sha256(path)}"
    files = key.with_suffix(".images.npy"), key.with_suffix(".labels.npy")
    try:
        images, labels = (np.load(file, allow_pickle=False) for file in files)
        return check(images, labels, path)
    except (OSError, ValueError, EOFError, DataError):
        pass  # absent, or damaged: decode again
    arrays = decode(path)
    try:
        for file, array in zip(files, arrays):
            with atomic(file) as part, open(part, "wb") as out:
                np.save(out, array, allow_pickle=False)
    except (OSError, RunError):
        pass  # a cache that cannot be written costs time, not the run
    return arrays


def _decode(path: Path) -> Arrays:
    parquet, image = require("pyarrow.parquet", "data"), require("PIL.Image", "data")
    pyarrow = require("pyarrow", "data")
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} is not a readable parquet file: {error}") from error
    column = next((c for c in ("img", "image") if c in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise DataError(f"{str(path)!r} has columns {table.column_names}; expected img and label")
    rows = table.column(column).to_pylist()
    images = np.zeros((len(rows), 3, 32, 32), np.uint8)
    for i, row in enumerate(_progress(rows, f"decoding {path.name}")):
        try:
            with image.open(io.BytesIO(row["bytes"])) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (OSError, TypeError, KeyError, SyntaxError) as error:
            raise DataError(f"{str(path)!r}: row {i} of {column!r} is not an encoded image: {error}") from error
        if pixels.shape != (32, 32, 3):
            raise DataError(f"{str(path)!r}: image {i} has shape {pixels.shape}; CIFAR-10's are (32, 32, 3)")
        images[i] = pixels.transpose(2, 0, 1)
    labels = table.column("label").to_numpy()
    if labels.dtype.kind not in "iu":
        raise DataError(f"{str(path)!r}: column 'label' holds {labels.dtype}; expected integers, none missing")
    return check(images, labels, path)


def _progress(rows: list[Any], label: str) -> Any:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not sys.stderr.isatty()
    return track(rows, description=label, console=console, transient=True, disable=hidden, update_period=0.2)


class _ArraysOnly(pickle.Unpickler):
    """Builds arrays of numbers, bytes, lists and dicts; a pickle that names anything else is refused."""

    _ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image data does not need")
        if name == "_reconstruct":  # its module moved in numpy 2
            return np.ndarray(0).__reduce__()[0]
        return super().find_class(module, name)


def _pickles(folder: Path, names: list[str]) -> Arrays:
    parts = [_pickle(folder / name) for name in names]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _pickle(path: Path) -> Arrays:
    if not path.is_file():
        raise DataError(f"there is no {path.name!r} beside the other batches in {str(path.parent)!r}")
    try:
        with open(path, "rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
        named = {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
        data, labels = np.asarray(named["data"]), np.asarray(named["labels"])
        images = data.reshape(-1, 3, 32, 32)
        if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
            raise ValueError(f"data are {images.dtype} and labels {labels.dtype}")
    except Exception as error:  # a hostile or cut pickle may raise anything
        raise DataError(f"{str(path)!r} is not a CIFAR-10 batch, or is damaged: {error}") from error
    return check(images, labels, path)
