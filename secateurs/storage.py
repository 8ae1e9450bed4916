"""Files that are either whole or absent: atomic writes, trees of tensors without pickle, checksums.

A *tree* is any nesting of dicts, lists and tuples whose leaves are tensors, numbers, strings, booleans
or None: an optimizer's ``state_dict``, for instance. Tensors go to safetensors, the rest to JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError, RunError

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, TREE = "tensors.safetensors", "tree.json"


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on failure it vanishes.

    Raises:
        RunError: the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise RunError(
            f"cannot write {str(path)!r}: {error.strerror}; choose another --out or fix its permissions"
        ) from error
    part = Path(name)
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, value: Any) -> Path:
    """Write JSON atomically, keys in the order given."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=True) + "\n")


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a tree into a JSON skeleton and its tensors. Shared and non-contiguous tensors are copied."""
    import torch

    tensors: dict[str, Tensor] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            key = f"t{len(tensors)}"
            tensors[key] = node.detach().to("cpu", copy=True).contiguous()
            return {"~tensor": key}
        if isinstance(node, dict):
            return {"~dict": [[walk(k), walk(v)] for k, v in node.items()]}
        if isinstance(node, (list, tuple)):
            return {"~tuple" if isinstance(node, tuple) else "~list": [walk(v) for v in node]}
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        raise TypeError(f"a checkpoint holds tensors, numbers, strings, lists and dicts, not {type(node).__name__}")

    return walk(tree), tensors


def unflatten(skeleton: Any, tensors: dict[str, Tensor]) -> Any:
    """Inverse of :func:`flatten`."""
    if isinstance(skeleton, dict):
        ((tag, value),) = skeleton.items()
        if tag == "~tensor":
            return tensors[value]
        if tag == "~dict":
            return {unflatten(k, tensors): unflatten(v, tensors) for k, v in value}
        items = [unflatten(v, tensors) for v in value]
        return tuple(items) if tag == "~tuple" else items
    return skeleton


def save_tree(path: str | Path, tree: Any) -> Path:
    """Save a tree as one safetensors file whose metadata holds the skeleton; atomic, never pickle."""
    import torch
    from safetensors.torch import save_file

    skeleton, tensors = flatten(tree)
    if not tensors:
        tensors = {"~empty": torch.zeros(0)}
    with atomic(path) as part:
        save_file(tensors, part, metadata={"secateurs": json.dumps(skeleton)})
    return Path(path)


def load_tree(path: str | Path) -> Any:
    """Load a tree saved by :func:`save_tree`.

    Raises:
        ArtifactError: the file is damaged, truncated or not ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            if "secateurs" not in metadata:
                raise ArtifactError(f"{str(path)!r} was not written by Secateurs")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        return unflatten(json.loads(metadata["secateurs"]), tensors)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged: {error}") from error
