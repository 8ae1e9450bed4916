"""Least squares whose rows have places of their own, by what a row keeps and by what it lacks: one row at a time."""

from __future__ import annotations

import pytest
import torch

from secateurs.maths import least_squares
from secateurs.maths.least_squares import Moments, solve


def _problem(groups: int, outputs: int, inputs: int, least: float) -> tuple[torch.Tensor, ...]:
    """x, y, and a mask of which rows keep from ``least`` to all of their places."""
    generator = torch.Generator().manual_seed(inputs)
    x = torch.randn(groups, 90, inputs, generator=generator, dtype=torch.float64)
    y = torch.randn(groups, 90, outputs, generator=generator, dtype=torch.float64)
    share = least + (1 - least) * torch.linspace(0, 1, outputs, dtype=torch.float64)
    keep = torch.rand(groups, outputs, inputs, generator=generator, dtype=torch.float64) < share[:, None]
    keep[:, -1] = True
    return x, y, keep


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("least", [0.1, 0.7])
def test_rows_with_places_of_their_own(groups: int, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "PIECE", 500)  # several rows at a time, not all
    x, y, keep = _problem(groups, 150, 14, least)
    moments = Moments(groups, 14, 150)
    moments.add(x, y)
    lacking = least_squares._by_what_they_lack(keep.reshape(-1, 14).sum(1), groups, 14)
    assert lacking.any() and (least > 0.5 or not lacking.all())  # both ways are taken
    weight, shift = solve(moments, 1e-8, keep=keep, refine=2)
    assert not shift.any() and not weight[~keep].any()
    for g in range(groups):
        for o in range(150):
            places = keep[g, o].nonzero().flatten()
            expected = torch.linalg.lstsq(x[g][:, places], y[g][:, o, None]).solution.flatten()
            torch.testing.assert_close(weight[g, o, places], expected, rtol=1e-9, atol=1e-10)


def test_few_rows_are_not_worth_an_inverse() -> None:
    sizes = torch.full((3,), 90)
    assert not least_squares._by_what_they_lack(sizes, 1, 100).any()
    assert least_squares._by_what_they_lack(sizes.repeat(10), 1, 100).all()


def test_inputs_that_determine_each_other_give_the_same_fit_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, keep = _problem(1, 150, 14, 0.6)
    x[:, :, 3] = x[:, :, 4]
    moments = Moments(1, 14, 150)
    moments.add(x, y)
    found = solve(moments, 1e-8, keep=keep, refine=2)[0]
    monkeypatch.setattr(least_squares, "_by_what_they_lack", lambda sizes, *_: torch.zeros_like(sizes) > 0)
    other = solve(moments, 1e-8, keep=keep, refine=2)[0]
    assert not torch.equal(found, other)
    torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-7)
