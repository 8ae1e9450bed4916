"""Draws of determinantal processes have the law that enumeration gives; wrong samplers are found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from subsets import Subset, law, p_value, same_law
from torch import Tensor

from secateurs.maths import Determinantal
from secateurs.maths import determinantal as module
from secateurs.maths.projections import accepted_of_many, accepted_of_one, projection_mask

DRAWS = 20_000


def _features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _kernel(n: int = 6, seed: int = 0) -> Tensor:
    B = _features(n, n, seed)
    return B @ B.T / n + 0.05 * torch.eye(n, dtype=torch.float64)


def _drawn(masks: Tensor) -> list[Subset]:
    return [tuple(np.flatnonzero(row).tolist()) for row in masks.numpy()]


def _many(kernel: Tensor, k: int | None, seed: int = 0, draws: int = DRAWS) -> list[Subset]:
    """As many draws, as one batch of the same kernel."""
    held = Determinantal(kernel.expand(draws, *kernel.shape))
    return _drawn(held.mask(torch.Generator().manual_seed(seed), k))


@pytest.mark.parametrize("k", [None, 0, 1, 3, 5, 6])
def test_a_batch_draws_the_law(k: int | None) -> None:
    kernel = _kernel()
    assert p_value(_many(kernel, k), law(kernel.numpy(), k)) > 1e-3
    if k is not None:
        assert {len(s) for s in _many(kernel, k, draws=100)} == {k}


@pytest.mark.parametrize("k", [None, 3])
def test_single_draws_have_the_law(k: int | None) -> None:
    kernel = _kernel(5, seed=1)
    held, g = Determinantal(kernel), torch.Generator().manual_seed(2)
    drawn = [tuple(held.sample(g, k).tolist()) for _ in range(800)]
    assert p_value(drawn, law(kernel.numpy(), k)) > 1e-3


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_a_round_takes_in_whom_going_one_by_one_would(candidates: int, d: int, seed: int) -> None:
    """Reference: one after another, accepted with (what is left when the accepted are projected out)/(its own norm). A
    round's are the first of these, in order, and at least one; some candidates come twice, some are alike."""
    g = torch.Generator().manual_seed(seed)
    items = torch.randn(candidates, d, generator=g, dtype=torch.float64)
    items += items[0] * torch.rand(candidates, 1, generator=g, dtype=torch.float64)
    rows = items[torch.randint(candidates, (candidates,), generator=g)]
    draws = torch.rand(candidates, generator=g, dtype=torch.float64)
    expected, basis = [], torch.zeros(0, d, dtype=torch.float64)
    for j, (row, draw) in enumerate(zip(rows, draws.tolist())):
        rest = row - (basis @ row) @ basis
        if float(rest @ rest) > max(draw, 1e-9) * float(row @ row):
            expected.append(j)
            basis = torch.cat([basis, (rest / rest.norm())[None]])
    gram = rows @ rows.T
    one = np.flatnonzero(accepted_of_one(gram.numpy(), draws.numpy())).tolist()
    many = accepted_of_many(gram.expand(3, -1, -1), draws.expand(3, -1))[1].nonzero().flatten().tolist()
    assert one == many == expected[: len(one)] and one[0] == 0


def test_rounds_of_many_candidates() -> None:
    """k = 7 of 9: candidates often come twice and fail in a round, singly drawn and in a batch."""
    V = torch.linalg.qr(_features(9, 7, 2)).Q.mT
    chances, g = law((V.mT @ V).numpy(), 7), torch.Generator().manual_seed(8)
    sizes = torch.tensor([7])
    alone = torch.cat([projection_mask(V[None].clone(), sizes, g) for _ in range(2000)])
    assert p_value(_drawn(alone), chances) > 1e-3
    together = projection_mask(V.repeat(DRAWS, 1, 1), sizes.repeat(DRAWS), g)
    assert p_value(_drawn(together), chances) > 1e-3


@pytest.mark.parametrize("k", [None, 2, 3])
def test_features_draw_the_law_of_their_kernel(k: int | None) -> None:
    B = _features(7, 3)
    held = Determinantal.of_features(B.expand(DRAWS, 7, 3))
    assert p_value(_drawn(held.mask(torch.Generator().manual_seed(3), k)), law((B @ B.T).numpy(), k)) > 1e-3


def test_every_member_of_a_batch_has_its_own_law_and_size() -> None:
    kernels = torch.stack([_kernel(5, s) * 10.0**s for s in range(3)])
    sizes = torch.tensor([1, 4, 2])
    held = Determinantal(kernels.repeat(5000, 1, 1))
    masks = held.mask(torch.Generator().manual_seed(4), sizes.repeat(5000)).view(5000, 3, 5)
    for i, (kernel, k) in enumerate(zip(kernels, sizes.tolist())):
        assert p_value(_drawn(masks[:, i]), law(kernel.numpy(), k)) > 1e-3


def test_eigenvalues_far_apart() -> None:
    """Between 1e-6 and 1e6; the law is a matter of single eigenvectors, and of numbers that span 24 decades."""
    Q = torch.linalg.qr(_features(5, 5, 7)).Q
    kernel = Q @ torch.diag(torch.tensor([1e-6, 1e-3, 1.0, 1e3, 1e6], dtype=torch.float64)) @ Q.T
    for k in (None, 2, 3):
        assert p_value(_many(kernel, k), law(kernel.numpy(), k)) > 1e-3


@pytest.mark.parametrize("dual", [False, True])
def test_beyond_the_rank_the_limit_of_the_regularised_kernel_is_drawn(dual: bool) -> None:
    """k = 4 of rank 2: the 4-DPP of L + δI for a small δ, by enumeration."""
    B = _features(6, 2, 5)
    L = B @ B.T
    held = Determinantal.of_features(B.expand(DRAWS, 6, 2)) if dual else Determinantal(L.expand(DRAWS, 6, 6))
    drawn = _drawn(held.mask(torch.Generator().manual_seed(6), 4, fill=True))
    assert p_value(drawn, law((L + 1e-5 * torch.eye(6)).numpy(), 4)) > 1e-3


def test_a_kernel_of_zeros_draws_nothing_or_fills_evenly() -> None:
    zero = torch.zeros(5, 5)
    assert {len(s) for s in _many(zero, None, draws=50)} == {0}
    masks = Determinantal(zero.expand(DRAWS, 5, 5)).mask(torch.Generator().manual_seed(0), 2, fill=True)
    assert p_value(_drawn(masks), law(np.eye(5), 2)) > 1e-3


class TestWrongSamplersAreFoundOut:
    """The same test, on samplers that are wrong in one step."""

    @staticmethod
    def _rejected(monkeypatch: pytest.MonkeyPatch, name: str, wrong, k: int | None = 3) -> None:
        kernel = _kernel()
        assert p_value(_many(kernel, k), law(kernel.numpy(), k)) > 1e-3
        monkeypatch.setattr(module, name, wrong)
        assert p_value(_many(kernel, k), law(kernel.numpy(), k)) < 1e-6

    def test_items_drawn_without_projecting_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wrong(basis: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
            items = torch.multinomial(basis.square().sum(1), int(sizes[0]), generator=generator)
            return torch.zeros(len(basis), basis.shape[2], dtype=torch.bool).scatter_(1, items, True)

        self._rejected(monkeypatch, "projection_mask", wrong)

    def test_eigenvectors_chosen_evenly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = module.choose
        self._rejected(monkeypatch, "choose", lambda logs, k, g: right(torch.zeros_like(logs), k, g))

    def test_the_largest_eigenvectors_always(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wrong(logs: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
            return logs >= logs.sort(1, descending=True).values.gather(1, k[:, None] - 1)

        self._rejected(monkeypatch, "choose", wrong)

    def test_a_step_of_one_hundredth(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test sees a law that is off by little: eigenvalues 15% too large."""
        right = module.choose
        ramp = torch.linspace(0, 0.3, 6, dtype=torch.float64)
        self._rejected(monkeypatch, "choose", lambda logs, k, g: right(logs + ramp, k, g))

    def test_independent_items_with_the_right_marginals(self) -> None:
        kernel = _kernel()
        chances = Determinantal(kernel).inclusion()
        draws = torch.rand(DRAWS, 6, generator=torch.Generator().manual_seed(0)) < chances
        assert p_value(_drawn(draws), law(kernel.numpy())) < 1e-6


def test_draws_agree_with_dppy() -> None:
    """Two samples of one size from one law (DPPy's GS sampler): chi-square of homogeneity over subsets, and that of a
    kernel that is another's."""
    finite = pytest.importorskip("dppy.finite_dpps")
    kernel, draws = _kernel(5, 3), 4000
    for k in (None, 3):
        theirs, random = finite.FiniteDPP("likelihood", L=kernel.numpy()), np.random.RandomState(0)
        for _ in range(draws):
            if k is None:
                theirs.sample_exact(random_state=random)
            else:
                theirs.sample_exact_k_dpp(size=k, random_state=random)
        them = [tuple(sorted(int(i) for i in s)) for s in theirs.list_of_samples]
        assert same_law(_many(kernel, k, draws=draws), them) > 1e-3
        assert same_law(_many(kernel * 1.5 if k is None else _kernel(5, 4), k, draws=draws), them) < 1e-6


def test_equal_generators_draw_equally() -> None:
    held = Determinantal(_kernel(8))
    first, again, other = (held.sample(torch.Generator().manual_seed(s), 4) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.long and torch.equal(first, first.sort().values)
