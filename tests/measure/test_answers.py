"""What answers tell, against explicit loops over pairs, bins and classes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.errors import RunError
from secateurs.measure import (
    agreement,
    calibration_error,
    class_accuracy,
    divergence,
    fidelity,
    losses,
    membership,
    read_predictions,
    write_predictions,
)


def drawn(n: int = 60, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dense, pruned = (3 * torch.randn(n, classes, generator=generator) for _ in range(2))
    return dense, pruned, torch.randint(classes, (n,), generator=generator)


def test_accuracy_by_class() -> None:
    logits = torch.tensor([[2.0, 1], [0, 1], [0, 1], [3, 1]])
    assert class_accuracy(logits, torch.tensor([0, 0, 1, 1]), 3) == [0.5, 0.5, None]


def test_calibration_by_hand() -> None:
    """Two bins: confidences 0.6, 0.6 (one right) and 0.9, 0.9 (both right): ½·|0.5 − 0.6| + ½·|1 − 0.9|."""
    rows = [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]]
    labels = torch.tensor([0, 1, 0, 0])
    assert calibration_error(torch.tensor(rows).log(), labels, bins=2) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_against_a_loop(seed: int) -> None:
    logits, _, labels = drawn(n=47, seed=seed)
    sure = sorted(
        (float(max(p := row.double().softmax(0))), float(int(p.argmax()) == int(y))) for row, y in zip(logits, labels)
    )
    total, start = 0.0, 0
    for bin_ in range(15):
        size = 47 // 15 + (bin_ < 47 % 15)
        part = sure[start : start + size]
        start += size
        total += size / 47 * abs(sum(r for _, r in part) / size - sum(c for c, _ in part) / size)
    assert calibration_error(logits, labels) == pytest.approx(total, abs=1e-12)


def test_fidelity_against_loops() -> None:
    dense, pruned, labels = drawn()
    a, b, y = dense.argmax(1).tolist(), pruned.argmax(1).tolist(), labels.tolist()
    found = fidelity(dense, pruned, labels, 4)
    assert found.agreement == sum(i == j for i, j in zip(a, b)) / 60 == agreement(dense, pruned)
    assert found.flipped == sum(i == k != j for i, j, k in zip(a, b, y))
    assert found.gained == sum(j == k != i for i, j, k in zip(a, b, y))
    kl = 0.0
    for p, q in zip(dense.double().softmax(1).tolist(), pruned.double().softmax(1).tolist()):
        kl += sum(s * math.log(s / t) for s, t in zip(p, q)) / 60
    assert found.kl == pytest.approx(kl, rel=1e-9) and divergence(dense, dense) == pytest.approx(0, abs=1e-12)
    drops = []
    for c in range(4):
        own = [i for i in range(60) if y[i] == c]
        drops.append(sum((a[i] == c) - (b[i] == c) for i in own) / len(own))
    assert found.worst_drop == pytest.approx(max(drops)) and found.worst_drop_class == drops.index(max(drops))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_membership_against_all_pairs(members: list[int], others: list[int]) -> None:
    """Small integers: ties are common."""
    auc, (low, high) = membership(torch.tensor(members).float(), torch.tensor(others).float())
    pairs = sum((m < o) + 0.5 * (m == o) for m in members for o in others) / (len(members) * len(others))
    assert auc == pytest.approx(pairs, abs=1e-12) and 0 <= low <= auc <= high <= 1


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Losses N(0,1) and N(0.5,1): AUC = Φ(0.5/√2). 95% ± 2.2 points is three standard errors of 900 draws."""
    truth = 0.5 * (1 + math.erf(0.5 / math.sqrt(2) / math.sqrt(2)))
    generator, hits = torch.Generator().manual_seed(0), 0
    for _ in range(900):
        low, high = membership(torch.randn(60, generator=generator), 0.5 + torch.randn(80, generator=generator))[1]
        hits += low <= truth <= high
    assert abs(hits / 900 - 0.95) < 0.022


def test_membership_of_nothing() -> None:
    with pytest.raises(ValueError, match="empty"):
        membership(torch.tensor([]), torch.tensor([1.0]))


def test_losses_are_cross_entropies() -> None:
    logits, _, labels = drawn()
    mine = [-math.log(float(row.double().softmax(0)[y])) for row, y in zip(logits, labels)]
    assert torch.allclose(losses(logits, labels), torch.tensor(mine, dtype=torch.float64), atol=1e-9)


def test_answers_are_kept(tmp_path: object) -> None:
    dense, pruned, labels = drawn()
    write_predictions(str(tmp_path), {"dense": dense, "pruned": pruned}, labels)
    found = read_predictions(str(tmp_path))
    assert torch.equal(found["pruned"], pruned) and torch.equal(found["labels"], labels)


def test_answers_that_are_not_there_or_damaged(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(RunError, match="its test set was not read"):
        read_predictions(str(tmp_path))
    (Path(str(tmp_path)) / "predictions.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="is damaged"):
        read_predictions(str(tmp_path))
