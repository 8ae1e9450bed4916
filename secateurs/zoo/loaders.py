"""The user's own loaders, served in an order that is a function of (seed, epoch).

A DataLoader says what the examples are, how they are collated and by how many workers. The order is ours, and
so is the seeding of each example: what a random transform makes of example i in epoch e depends on
(seed, e, i), so neither workers, nor processes, nor a resumed run change it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as td

from ..errors import DataError
from ..spec import derive_seed
from .data import Data, content_hash, held_out
from .files import call, load_attribute
from .splits import Batch, Split, TensorSplit, permutation, spans, stratified

_PARTS = ("train", "validation", "test")
_EXPECTED = (
    "it must return a dict with train, test and optionally validation, classes, "
    "or a tuple (train, test) or (train, validation, test), each a DataLoader or a Dataset with a length"
)


class LoaderSplit:
    """A user's DataLoader, or part of it.

    Its batch size and shuffling are replaced by those asked for; a sampler of its own is kept, and seeded.

    Args:
        loader: over a dataset with a length.
        indices: the part of the dataset to serve; ``None``: all.
    Raises:
        DataError: an iterable dataset or a batch sampler of its own, whose order cannot be fixed.
    """

    def __init__(self, loader: td.DataLoader, indices: Tensor | None = None) -> None:
        if isinstance(loader.dataset, td.IterableDataset):
            raise DataError(
                "an IterableDataset has no order that a seed could fix; give a Dataset with __len__ and __getitem__"
            )
        if loader.batch_size is None or type(loader.batch_sampler) is not td.BatchSampler:
            raise DataError("a DataLoader with its own batch_sampler, or none, cannot be sliced; give a batch_size")
        self.loader, self.indices = loader, indices
        own = type(loader.sampler) not in (td.RandomSampler, td.SequentialSampler)
        self.sampler = loader.sampler if own else None
        if len(self) == 0:
            raise DataError("the split is empty: no examples")

    def __len__(self) -> int:
        if self.sampler is not None and self.indices is None:
            return len(self.sampler)  # type: ignore[arg-type]
        return len(self.loader.dataset) if self.indices is None else len(self.indices)  # type: ignore[arg-type]

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int | None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        start: int = 0,
        augment: bool = True,
    ) -> Iterator[Batch]:
        """See :class:`secateurs.zoo.Split`.

        Raises:
            DataError: a batch that is not a pair of tensors (x, y).
        """
        order = self._order(seed, epoch)
        lists = [order[a:b].tolist() for a, b in spans(len(order), batch_size, rank, world, drop_last, start)]
        like = self.loader
        served: td.DataLoader = td.DataLoader(
            _Seeded(like.dataset, derive_seed(seed, "example", -1 if epoch is None else epoch)),
            batch_sampler=lists,
            num_workers=like.num_workers,
            collate_fn=like.collate_fn,
            pin_memory=like.pin_memory,
            worker_init_fn=like.worker_init_fn,
            generator=torch.Generator().manual_seed(0),  # else it draws from the global state
        )
        for batch in served:
            x, y = _pair(batch)
            yield ((x, y) if device is None else (x.to(device, non_blocking=True), y.to(device, non_blocking=True)))

    def _order(self, seed: int, epoch: int | None) -> Tensor:
        if self.sampler is not None and self.indices is None:
            return _sampled(self.sampler, derive_seed(seed, "sampler", -1 if epoch is None else epoch))
        order = torch.arange(len(self)) if epoch is None else permutation(len(self), seed, epoch)
        return order if self.indices is None else self.indices[order]


class _Seeded(td.Dataset):
    """Each example under random states of its own; the caller's are left as they were."""

    def __init__(self, dataset: td.Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002 (users' transforms)
        try:
            return [self._one(i) for i in indices]
        finally:
            torch.set_rng_state(states[0])
            random.setstate(states[1])
            np.random.set_state(states[2])  # noqa: NPY002

    def _one(self, index: int) -> Any:
        seed = (self.seed + index * 0x9E3779B97F4A7C15) % 2**63
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        return self.dataset[index]


def _sampled(sampler: Any, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(getattr(sampler, "generator", None), torch.Generator):
            sampler.generator.manual_seed(seed)
        return torch.tensor(list(sampler), dtype=torch.int64)


def _pair(batch: Any) -> Batch:
    if isinstance(batch, (list, tuple)) and len(batch) == 2 and all(isinstance(t, Tensor) for t in batch):
        return batch[0], batch[1]
    got = type(batch).__name__
    if isinstance(batch, (list, tuple)):
        got += " of " + ", ".join(type(t).__name__ for t in batch)
    elif isinstance(batch, Mapping):
        got += " with keys " + ", ".join(map(str, batch))
    raise DataError(f"a batch must be a pair of tensors (inputs, labels); your loader gave a {got}")


def user_data(spec: str, *, validation: float = 0.0833, seed: int = 0) -> Data:
    """The data that ``file.py:loaders`` returns.

    The function is called without arguments, or with ``seed=`` if it has such a parameter. It returns a dict
    with ``train``, ``test`` and optionally ``validation``, ``classes``, or a tuple ``(train, test)`` or
    ``(train, validation, test)``; each part is a DataLoader or a Dataset. Without a validation part one is
    cut from train, with the seed. Values are taken as they come: nothing is normalised.

    The hash covers all values of tensor datasets; of other datasets, which may be random or large, it covers
    the file's text and the sizes.

    Raises:
        DataError: the file, the function or what it returns cannot be used.
    """
    function = load_attribute(spec, DataError, example="loaders")
    try:
        returned = call(function, seed=seed)
    except Exception as error:
        raise DataError(f"{spec!r} failed: {type(error).__name__}: {error}") from error
    parts = _parts(spec, returned)
    loaders = {name: _loader(spec, name, part) for name, part in parts.items() if name in _PARTS}
    splits = {name: LoaderSplit(loader) for name, loader in loaders.items()}
    digest = _hash(spec, loaders)
    labels = _labels(loaders["train"])
    if "validation" not in splits:
        splits |= _cut(spec, splits["train"], labels, validation, seed)
    classes, lowest = _classes(spec, parts.get("classes"), labels, splits["train"])
    served: dict[str, Split] = {name: _fast(split) for name, split in splits.items()}
    x, y = next(iter(served["train"].batches(2, epoch=None)))
    if y.dim() != 1 or y.is_floating_point():
        raise DataError(f"{spec!r}: labels must be integers, one an example; got {y.dtype} of shape {tuple(y.shape)}")
    parts_served = served["train"], served["validation"], served["test"]
    return Data(spec, classes, x.shape[1:], digest, *parts_served, lowest=lowest)


def _parts(spec: str, returned: Any) -> dict[str, Any]:
    if isinstance(returned, (tuple, list)) and len(returned) in (2, 3):
        names = ("train", "test") if len(returned) == 2 else _PARTS
        return dict(zip(names, returned))
    if not isinstance(returned, Mapping):
        raise DataError(f"{spec!r} returned a {type(returned).__name__}; {_EXPECTED}")
    parts = {("validation" if k in ("val", "valid") else k): v for k, v in returned.items()}
    strange = sorted(set(map(str, parts)) - {*_PARTS, "classes"})
    if strange or "train" not in parts or "test" not in parts:
        raise DataError(f"{spec!r} returned a dict with keys {', '.join(map(str, returned))}; {_EXPECTED}")
    return {k: v for k, v in parts.items() if v is not None}


def _loader(spec: str, name: str, part: Any) -> td.DataLoader:
    if isinstance(part, td.DataLoader):
        return part
    if hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        return td.DataLoader(part)
    raise DataError(f"{spec!r}: {name} is a {type(part).__name__}; {_EXPECTED}")


def _labels(loader: td.DataLoader) -> Tensor | None:
    """The labels, where they can be had without going through the examples."""
    dataset: Any = loader.dataset
    found: Any
    if isinstance(dataset, td.TensorDataset) and len(dataset.tensors) == 2:
        found = dataset.tensors[1]
    elif isinstance(dataset, td.Subset) and (inner := _labels(td.DataLoader(dataset.dataset))) is not None:
        found = inner[torch.as_tensor(dataset.indices)]
    else:
        found = getattr(dataset, "targets", None)
    try:
        labels = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    return labels.long() if labels.dim() == 1 and not labels.is_floating_point() else None


def _cut(spec: str, train: LoaderSplit, labels: Tensor | None, fraction: float, seed: int) -> dict[str, LoaderSplit]:
    if train.sampler is not None:
        raise DataError(f"{spec!r}: train has a sampler of its own, so no validation can be cut from it; return one")
    count = len(train)
    # Without labels at hand every example is of one class: a plain random split.
    usable = labels is not None and len(labels) == count and int(labels.min()) >= 0
    key = labels if usable and labels is not None else torch.zeros(count, dtype=torch.int64)
    held = stratified(key, held_out(count, fraction, spec), seed, "validation")
    return {
        "train": LoaderSplit(train.loader, (~held).nonzero().squeeze(1)),
        "validation": LoaderSplit(train.loader, held.nonzero().squeeze(1)),
    }


def _classes(spec: str, given: Any, labels: Tensor | None, train: LoaderSplit) -> tuple[int, int]:
    """How many classes, and the lowest label, as far as labels can be had."""
    if given is not None:
        if not isinstance(given, int) or given < 2:
            raise DataError(f"{spec!r}: classes={given!r}; must be a whole number, at least 2")
        low, high = (int(labels.min()), int(labels.max())) if labels is not None else (0, 0)
        if high >= given:
            raise DataError(f"{spec!r}: classes={given} means labels 0 to {given - 1}; they go from {low} to {high}")
        return given, low
    if labels is None:
        named = getattr(train.loader.dataset, "classes", None)
        if isinstance(named, Sequence):
            return len(named), 0
        labels = torch.cat([y for _, y in train.batches(256, epoch=None)])
    if labels.is_floating_point() or labels.dim() != 1 or int(labels.min()) < 0:
        raise DataError(f"{spec!r}: labels must be integers from 0; got {labels.dtype}, shape {tuple(labels.shape)}")
    return int(labels.max()) + 1, int(labels.min())


def _fast(split: LoaderSplit) -> Split:
    """In-memory tensors, plainly collated, need no loader: their batches are gathered in one operation."""
    dataset = split.loader.dataset
    plain = split.sampler is None and split.loader.collate_fn is td.default_collate
    if not plain or type(dataset) is not td.TensorDataset or len(dataset.tensors) != 2:
        return split
    x, y = dataset.tensors
    if not x.is_floating_point() or y.is_floating_point():
        return split
    part = slice(None) if split.indices is None else split.indices
    return TensorSplit(x[part], y[part])


def _hash(spec: str, loaders: Mapping[str, td.DataLoader]) -> str:
    datasets: list[Any] = [loaders[name].dataset for name in _PARTS if name in loaders]
    if all(type(d) is td.TensorDataset for d in datasets):
        return content_hash(*(t.detach().cpu().numpy() for d in datasets for t in d.tensors))
    text = Path(spec.rpartition(":")[0]).read_bytes()
    return hashlib.sha256(text + repr([len(d) for d in datasets]).encode()).hexdigest()
