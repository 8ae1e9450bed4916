"""MNIST and its likes: the IDX format (LeCun), raw or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import DataError

_LAYOUT = """expected (each raw or with .gz):
  {folder}/train-images-idx3-ubyte
  {folder}/train-labels-idx1-ubyte
  {folder}/t10k-images-idx3-ubyte
  {folder}/t10k-labels-idx1-ubyte"""

_TYPE_UNSIGNED_BYTE = 8


def read_mnist(folder: str | Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Read the four files of an IDX data set.

    Args:
        folder: holds them, itself or in ``raw/`` or ``MNIST/raw/`` (torchvision's layout).
    Returns:
        (images (n, 1, height, width) uint8, labels (n,) uint8), for train and for test.
    Raises:
        DataError: a file is missing (the expected layout is shown), damaged, or the parts do not match.
    """
    folder = Path(folder)
    parts = []
    for part in ("train", "t10k"):
        images = _read(folder, f"{part}-images", 3)
        labels = _read(folder, f"{part}-labels", 1)
        if len(images) != len(labels):
            raise DataError(f"{str(folder)!r}: {len(images)} {part} images but {len(labels)} labels")
        if len(images) == 0 or min(images.shape) == 0:
            raise DataError(f"{str(folder)!r}: the {part} images have shape {images.shape}: there is nothing in them")
        parts.append((images[:, None], labels))
    train, test = parts
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{str(folder)!r}: train images have {train[0].shape[2:]} pixels, test images {test[0].shape[2:]}"
        )
    return train, test


def _read(folder: Path, stem: str, rank: int) -> np.ndarray:
    path = _find(folder, stem, rank)
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{str(path)!r} is damaged or cut short: {error}; download it again") from error
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    header = 4 + 4 * rank
    if len(content) < header or content[:4] != bytes((0, 0, _TYPE_UNSIGNED_BYTE, rank)):
        raise DataError(
            f"{str(path)!r} is not an IDX file of bytes with {rank} axes: "
            f"it starts with {content[:4].hex() or 'nothing'}"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != size:
        raise DataError(
            f"{str(path)!r} announces {'×'.join(map(str, shape))} = {size} bytes of data and holds "
            f"{len(content) - header}; it is cut short or damaged"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _find(folder: Path, stem: str, rank: int) -> Path:
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        for separator in "-.":
            for ending in ("", ".gz"):
                path = place / f"{stem}{separator}idx{rank}-ubyte{ending}"
                if path.is_file():
                    return path
    layout = _LAYOUT.format(folder=folder)
    if not folder.is_dir():
        raise DataError(f"data 'mnist:{folder}': there is no folder {str(folder)!r}; {layout}")
    raise DataError(f"data 'mnist:{folder}': no {stem}-idx{rank}-ubyte there; {layout}")
