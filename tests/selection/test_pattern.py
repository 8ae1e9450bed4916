"""N:M patterns: exactly n of every m along the input, against a loop; budgets that a pattern cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs import Budget, RunConfig, prune
from secateurs.artifact import load
from secateurs.criteria import Magnitude
from secateurs.errors import BudgetError, RunError, StructureError
from secateurs.partition import players
from secateurs.recipes.oneshot import OneShotOptions, OneShotRun
from secateurs.recipes.options import read_options
from secateurs.selection import parse_pattern, pattern_mask, unpatterned


def _net() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2), nn.Flatten(),
        nn.Linear(96, 12), nn.ReLU(), nn.Linear(12, 3),
    ), torch.randn(2, 3, 6, 6)  # fmt: skip


@given(st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 4), (4, 8), (5, 6)]), st.integers(0, 999), st.booleans())
@settings(max_examples=25, deadline=None)
def test_against_a_loop(pattern: tuple[int, int], seed: int, ties: bool) -> None:
    n, m = pattern
    model, x = _net()
    found = players(model, x, "weight")
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(3, (found.count,), generator=g).float() if ties else torch.randn(found.count, generator=g)
    keep, dense = pattern_mask(found, scores, n, m), unpatterned(found, m)
    for layer in found.layers:
        weight = model.get_parameter(layer.name)
        axis = 0 if layer.name == "4.weight" else 1  # a transposed convolution has its inputs first
        mine = keep[layer.start : layer.stop].view(weight.shape).movedim(axis, -1).reshape(-1, weight.shape[axis])
        worth = scores[layer.start : layer.stop].view(weight.shape).movedim(axis, -1).reshape(mine.shape)
        assert (layer.name in dense) == (weight.shape[axis] % m > 0)
        if layer.name in dense:
            assert bool(mine.all())
            continue
        for row, values in zip(mine, worth):
            for start in range(0, len(row), m):
                order = sorted(range(m), key=lambda i: (-float(values[start + i]), i))
                assert torch.nonzero(row[start : start + m]).flatten().tolist() == sorted(order[:n])


def test_by_hand() -> None:
    """Rows of two runs: of (1, 2, 3, 4) the last two; of four that are equal the first two; NaN goes first."""
    model = nn.Sequential(nn.Linear(8, 1), nn.ReLU(), nn.Linear(1, 2))
    found = players(model, torch.randn(2, 8), "weight")
    scores = torch.tensor([1.0, 2, 3, 4, 5, 5, 5, 5, 0, 0])
    assert pattern_mask(found, scores, 2, 4).int().tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 1, 1]
    scores[3] = torch.nan
    assert pattern_mask(found, scores, 2, 4).int().tolist()[:4] == [0, 1, 1, 0]
    assert unpatterned(found, 4) == ["2.weight"]


def test_reading_patterns() -> None:
    assert parse_pattern("2:4") == (2, 4) and parse_pattern(" 1 : 16 ") == (1, 16)
    for text in ("2", "4:2", "0:4", "4:4", "a:b", "2:4:8", "-1:4", ""):
        with pytest.raises(ValueError, match="write n:m"):
            parse_pattern(text)
    with pytest.raises(RunError, match=r"pattern='4:2'.*write n:m"):
        read_options(OneShotOptions, "magnitude", {"pattern": "4:2"})


def test_a_budget_that_the_pattern_does_not_hold_is_refused_before_training() -> None:
    """conv 3×3×8: dense; 4·8·2·2/2 + 4·6·2·2/2 + 96·12/2 + 12·3/2 stay, of 216 + 128 + 96 + 1152 + 36."""
    model, x = _net()
    found = players(model, x, "weight")
    options = OneShotOptions(pattern="2:4")
    left = 216 + (128 + 96 + 1152 + 36) // 2
    with pytest.warns(UserWarning, match=r"2:4 leaves 0\.weight dense"):
        run = OneShotRun(Magnitude(), found, Budget(groups=left), options, 10)
    assert int(run.select(torch.rand(found.count)).sum()) == left
    with pytest.raises(BudgetError, match=rf"2:4 leaves {left}"):
        OneShotRun(Magnitude(), found, Budget(groups=left - 1), options, 10)
    with pytest.raises(StructureError, match="granularity='weight'"):
        OneShotRun(Magnitude(), players(model, x), Budget(groups=0.9), options, 10)


@pytest.mark.parametrize("method", ["magnitude", "obs"])
def test_a_run_keeps_the_pattern_through_recovery(method: str, tmp_path: Path) -> None:
    config = RunConfig(
        model="zoo:mlp-digits", data="digits", method=method, granularity="weight", epochs=2, reference="none",
        budget=Budget(groups=0.5), options={"pattern": "2:4"},
    )  # fmt: skip
    record = prune(config, tmp_path / "run", progress=False)
    assert record.groups_kept * 2 == record.groups_total
    network = load(tmp_path / "run" / "artifact")
    for layer in (network.fc1, network.fc2, network.out):
        runs = (layer.weight != 0).view(-1, 4).sum(1)
        assert bool((runs == 2).all())
