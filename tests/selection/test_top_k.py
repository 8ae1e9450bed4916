"""The k largest: against a stable sort, whatever the numbers are and wherever the sample misleads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs.partition import Players, players
from secateurs.selection import budget as by_queue
from secateurs.selection import fit_budget, top, top_k


def _sorted(values: torch.Tensor, k: int) -> torch.Tensor:
    order = torch.sort(torch.nan_to_num(values, nan=-torch.inf), descending=True, stable=True).indices
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[order[:k]] = True
    return mask


def _either(g: torch.Generator, share: float, other: float) -> torch.Tensor:
    return torch.where(torch.rand(5000, generator=g) < share, other, torch.randn(5000, generator=g))


KINDS = {
    "normal": lambda g: torch.randn(5000, generator=g),
    "few values": lambda g: torch.randint(-3, 4, (5000,), generator=g).float(),
    "all equal": lambda g: torch.zeros(5000),
    "infinite": lambda g: _either(g, 0.5, -torch.inf),
    "not a number": lambda g: _either(g, 0.3, torch.nan),
    "the sample misleads": lambda g: torch.arange(5000).remainder(20).eq(0) * 100.0 + torch.rand(5000, generator=g),
    "double": lambda g: torch.randn(5000, generator=g, dtype=torch.float64).square() * 1e-300,
}


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(deadline=None, max_examples=25)
@given(k=st.integers(0, 5001), seed=st.integers(0, 3))
def test_it_is_that_of_a_stable_sort(kind: str, k: int, seed: int) -> None:
    values = KINDS[kind](torch.Generator().manual_seed(seed))
    before = (top.FEW, top.SAMPLE)
    try:
        top.FEW, top.SAMPLE = 0, 250
        mask = top_k(values, k)
    finally:
        top.FEW, top.SAMPLE = before
    assert int(mask.sum()) == min(k, 5000)
    assert torch.equal(mask, _sorted(values, k))


def _weights() -> Players:
    torch.manual_seed(0)
    return players(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)), torch.randn(2, 6), "weight")


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0.05, 1.0), seed=st.integers(0, 50), resource=st.sampled_from(["groups", "params", "bytes"]))
def test_single_weights_are_chosen_as_the_queue_would(share: float, seed: int, resource: str) -> None:
    """The short way for players of equal cost, and the long one. Some priorities starve a layer: its minimum holds."""
    found = _weights()
    generator = torch.Generator().manual_seed(seed)
    priority = torch.randint(0, 6, (found.count,), generator=generator).float()
    priority[54:] -= 5.0 * (seed % 2)
    dense = found.amount(resource)
    low = found.resource(resource).amount(found.minimum)
    targets = {resource: low + share * (dense - low)}
    short = fit_budget(found, priority, targets)
    held, by_queue._alike = by_queue._alike, lambda *_: None
    try:
        assert torch.equal(short, fit_budget(found, priority, targets))
    finally:
        by_queue._alike = held
    assert found.amount(resource, short) <= targets[resource] * (1 + 1e-9)
