"""Least squares from moments against torch.linalg.lstsq on the rows themselves, and numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateurs.maths.least_squares import Moments, solve


def rows(seed: int, groups: int = 2, count: int = 40, inputs: int = 5, outputs: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    x = torch.randn(groups, count, inputs, dtype=torch.float64) + 2.0
    return x, torch.randn(groups, count, outputs, dtype=torch.float64) + x[..., :1]


def moments(x: Tensor, y: Tensor) -> Moments:
    out = Moments(len(x), x.shape[2], y.shape[2])
    for part, other in zip(x.split(7, 1), y.split(7, 1)):
        out.add(part, other)
    return out


def error(x: Tensor, y: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    return (y - x @ weight.mT - shift.unsqueeze(1)).square().sum(1)


def test_by_hand() -> None:
    """x = 1, 2, 3 and y = 2, 4, 9: without b, W = Σxy/Σx² = 37/14; with b, W = 7/2 and b = 5 − 7 = −2. At λ = 1 the
    scatter counts twice: W = 37/28, and 7/4 with b = 5 − 7/2 = 3/2."""
    m = moments(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[2.0], [4.0], [9.0]]]))
    for ridge, weight, with_shift, shift in ((1e-14, 37 / 14, 3.5, -2.0), (1.0, 37 / 28, 1.75, 1.5)):
        assert solve(m, ridge)[0].item() == pytest.approx(weight, rel=1e-12)
        found = solve(m, ridge, intercept=True)
        assert (found[0].item(), found[1].item()) == (pytest.approx(with_shift), pytest.approx(shift))


@pytest.mark.parametrize("intercept", [False, True])
def test_the_answer_is_lstsq_s(intercept: bool) -> None:
    x, y = rows(0)
    weight, shift = solve(moments(x, y), 1e-13, intercept=intercept)
    wide = torch.cat([x, torch.ones_like(x[..., :1])], 2) if intercept else x
    expected = torch.linalg.lstsq(wide, y).solution
    assert torch.allclose(weight, expected[:, :5].mT, atol=1e-10)
    assert torch.allclose(shift, expected[:, 5] if intercept else torch.zeros(2, 3).double(), atol=1e-10)


@pytest.mark.parametrize("intercept", [False, True])
def test_rows_with_places_of_their_own(intercept: bool) -> None:
    """Each against lstsq on its places; one row has none, one has all, and they are solved in several pieces."""
    x, y = rows(1, inputs=6, outputs=9)
    keep = torch.rand(2, 9, 6) > 0.4
    keep[0, 0], keep[1, 3] = False, True
    weight, shift = solve(moments(x, y), 1e-13, intercept=intercept, keep=keep)
    assert not weight[~keep].any()
    for g in range(2):
        for o in range(9):
            wide = x[g][:, keep[g, o]]
            wide = torch.cat([wide, torch.ones(len(wide), 1).double()], 1) if intercept else wide
            expected = torch.linalg.lstsq(wide, y[g, :, o : o + 1]).solution.flatten()
            count = int(keep[g, o].sum())
            assert torch.allclose(weight[g, o, keep[g, o]], expected[:count], atol=1e-9)
            if intercept:
                assert shift[g, o].item() == pytest.approx(expected[count].item(), abs=1e-9)


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(2, outputs=9)
    keep = torch.rand(2, 9, 5) > 0.5
    whole = solve(moments(x, y), 1e-3, keep=keep)[0]
    monkeypatch.setattr("secateurs.maths.least_squares.PIECE", 40)
    assert torch.allclose(solve(moments(x, y), 1e-3, keep=keep)[0], whole, rtol=1e-12)


def test_places_alike_for_all_rows() -> None:
    x, y = rows(3)
    keep = torch.tensor([True, False, True, True, False])
    shared = solve(moments(x, y), 1e-3, intercept=True, keep=keep)
    single = solve(moments(x, y), 1e-3, intercept=True, keep=keep.expand(2, 3, 5))
    assert all(torch.allclose(a, b, rtol=1e-11, atol=1e-12) for a, b in zip(shared, single))


def test_inputs_that_determine_each_other_share_the_weight() -> None:
    x, y = rows(4, groups=1, inputs=1, outputs=1)
    single = solve(moments(x, y), 1e-10)[0].item()
    weight = solve(moments(x.expand(-1, -1, 4), y), 1e-10, refine=2)[0]
    assert weight.flatten().tolist() == pytest.approx([single / 4] * 4, rel=1e-6)


def test_a_constant_input_gets_no_weight_beside_an_intercept() -> None:
    x, y = rows(5)
    x[..., 1] = 0.3
    x[..., 2] = 0.0
    weight, shift = solve(moments(x, y), 1e-10, intercept=True)
    assert not weight[:, :, 1:3].any() and weight.isfinite().all() and shift.isfinite().all()
    assert solve(moments(x, y), 1e-10)[0][:, :, 1].all()


def test_units_do_not_matter() -> None:
    x, y = rows(6)
    scale = torch.tensor([1e-4, 1.0, 1e3, 1.0, 1e5]).double()
    weight, shift = solve(moments(x, y), 0.1, intercept=True)
    other, same = solve(moments(x * scale, y), 0.1, intercept=True)
    assert torch.allclose(other * scale, weight, rtol=1e-8) and torch.allclose(same, shift, rtol=1e-8)


def test_mapped_and_split_are_those_of_the_rows() -> None:
    x, _ = rows(7)
    weight = torch.randn(2, 4, 5).double()
    found, expected = moments(x, x[..., :1]).mapped(weight), moments(x, x @ weight.mT)
    for name in ("x", "y", "xx", "xy", "yy"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), rtol=1e-10)
    inside, outside = torch.tensor([0, 3]), torch.tensor([1, 2, 4])
    found, expected = moments(x, x[..., :1]).split(inside, outside), moments(x[..., inside], x[..., outside])
    for name in ("x", "y", "xx", "xy", "yy"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1e-10, 1e-3, 1.0, 100.0]), st.booleans(),
    st.booleans(), st.integers(0, 2),
)  # fmt: skip
def test_the_error_never_rises(seed: int, count: int, ridge: float, intercept: bool, masked: bool, refine: int) -> None:
    """Whatever the penalty, the mask, the rank: Σ‖y − Wx − b‖² ≤ Σ‖y‖²."""
    x, y = rows(seed, count=count)
    x[..., 4] = x[..., 0] - x[..., 1]
    keep = torch.rand(2, 3, 5) > 0.5 if masked else None
    weight, shift = solve(moments(x, y), ridge, intercept=intercept, keep=keep, refine=refine)
    assert bool((error(x, y, weight, shift) <= y.square().sum(1) * (1 + 1e-9)).all())
