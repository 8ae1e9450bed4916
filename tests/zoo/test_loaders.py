"""The user's own loaders: what may be returned, order and randomness fixed by the seed, errors."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils import data as td

from secateurs.errors import DataError
from secateurs.zoo import LoaderSplit, TensorSplit, check_fit, load_data


class Noisy(td.Dataset):
    """Each look at an example adds noise from all three generators."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        noise = [float(torch.rand(())), random.random(), np.random.rand()]  # noqa: NPY002
        return torch.tensor([float(i), *noise]), i % 4


def everything(split: LoaderSplit, **options: int) -> torch.Tensor:
    return torch.cat([x for x, _ in split.batches(6, seed=1, **options)])  # type: ignore[arg-type]


def test_noise_depends_on_seed_epoch_and_example_only() -> None:
    states = torch.get_rng_state(), random.getstate()
    split = LoaderSplit(td.DataLoader(Noisy(), batch_size=3, shuffle=True))
    first = everything(split, epoch=0)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert torch.equal(first, everything(split, epoch=0))
    other = everything(split, epoch=1)
    by_example = lambda t: t[t[:, 0].argsort()]  # noqa: E731
    assert not torch.equal(by_example(first)[:, 1:], by_example(other)[:, 1:])
    assert torch.equal(first[6:], everything(split, epoch=0, start=1))  # resumed
    ranks = [list(split.batches(6, epoch=0, seed=1, rank=r, world=2)) for r in (0, 1)]
    assert torch.equal(first, torch.cat([x for pair in zip(*ranks) for x, _ in pair]))
    workers = LoaderSplit(td.DataLoader(Noisy(), batch_size=3, num_workers=2))
    assert torch.equal(first, everything(workers, epoch=0))


def test_a_sampler_of_ones_own_is_kept_and_seeded() -> None:
    sampler = td.WeightedRandomSampler([0.0] * 10 + [1.0] * 10, 12)
    split = LoaderSplit(td.DataLoader(Noisy(), sampler=sampler))
    first = everything(split, epoch=0)
    assert len(first) == 12 and first[:, 0].min() >= 10
    assert torch.equal(first, everything(split, epoch=0))
    assert not torch.equal(first, everything(split, epoch=1))


FILE = """
import torch
from torch.utils.data import DataLoader, TensorDataset, IterableDataset
g = torch.Generator().manual_seed(0)
def part(n): return TensorDataset(torch.randn(n, 3, generator=g), torch.arange(n) % 4)
class Images(torch.utils.data.Dataset):
    def __len__(self): return 12
    def __getitem__(self, i): return torch.full((1, 2, 2), float(i)), i % 3
class Stream(IterableDataset):
    def __iter__(self): return iter([])
def loaders(): return {"train": DataLoader(part(40), 8, shuffle=True), "test": part(10), "classes": 5}
def pair(seed): return Images(), Images()
def triple(): return part(30), part(6), part(9)
def number(): return 3
def strange(): return {"train": part(4), "tset": part(4)}
def stream(): return DataLoader(Stream()), part(4)
def dicts(): return [{"a": 1}] * 4, part(4)
def regression(): return TensorDataset(torch.randn(4, 2), torch.randn(4)), part(4)
def from_one(): return TensorDataset(torch.randn(20, 3), 1 + torch.arange(20) % 10), part(4)
def too_few(): return {"train": from_one()[0], "test": part(4), "classes": 10}
def fails(): raise KeyError("x")
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "mydata.py"
    path.write_text(FILE)
    return path


def test_a_dict_of_tensor_datasets(module: Path) -> None:
    data = load_data(f"{module}:loaders", validation=0.25)
    assert data.classes == 5 and data.input_shape == (3,)
    assert data.sizes == {"train": 30, "validation": 10, "test": 10}
    assert isinstance(data.train, TensorSplit)  # no loader in the way
    labels = torch.cat([y for _, y in data.validation.batches(4, epoch=None)])
    assert sorted(torch.bincount(labels).tolist()) == [2, 2, 3, 3]  # stratified
    parts = {tuple(x.tolist()) for s in (data.train, data.validation) for b, _ in s.batches(4, epoch=0) for x in b}
    assert len(parts) == 40


def test_datasets_without_tensors(module: Path) -> None:
    data = load_data(f"{module}:pair")
    assert data.classes == 3 and data.input_shape == (1, 2, 2) and isinstance(data.train, LoaderSplit)
    assert data.sizes == {"train": 11, "validation": 1, "test": 12}
    assert data.example_inputs(4)[0].shape == (4, 1, 2, 2)
    before = data.hash
    module.write_text(FILE + "\n# changed")
    assert load_data(f"{module}:pair").hash != before


def test_three_parts(module: Path) -> None:
    assert load_data(f"{module}:triple").sizes == {"train": 30, "validation": 6, "test": 9}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("number", "returned a int"),
        ("strange", "train, tset"),
        ("stream", "IterableDataset"),
        ("dicts", "your loader gave a dict"),
        ("regression", "labels must be integers"),
        ("too_few", "classes=10 means labels 0 to 9; they go from 1 to 10"),
        ("fails", "KeyError"),
        ("loadrs", "did you mean"),
    ],
)
def test_what_cannot_be_used(module: Path, name: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        load_data(f"{module}:{name}")
    assert says in str(caught.value)


def test_labels_that_start_at_one_are_named_where_the_model_does_not_fit(module: Path) -> None:
    data = load_data(f"{module}:from_one")
    with pytest.raises(DataError, match=r"11 classes \(labels start at 1: no example has label 0"):
        check_fit(torch.nn.Linear(3, 10), data.example_inputs(2), data.classes, lowest=data.lowest)
    check_fit(torch.nn.Linear(3, 11), data.example_inputs(2), data.classes, lowest=data.lowest)
