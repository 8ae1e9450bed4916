"""The masked Hessian against dense algebra, on networks small enough to write it down."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from secateurs.partition import players
from secateurs.signals import Signals
from secateurs.theory.curvature import MaskedHessian, landscape, spectrum


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def tiny(seed: int = 0):
    """A tanh network in float64, its weight players, data, and the dense Hessian over gated weights by autograd."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    x, y = torch.randn(10, 4).double(), torch.arange(10) % 3
    found = players(model, x[:2], "weight")
    return model, found, [(x[:4], y[:4]), (x[4:], y[4:])]


def dense_hessian(model, found, batches) -> torch.Tensor:
    names = found.gates.names
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    sizes = [p.numel() for p in found.gates.parameters]

    def loss(flat):
        parts = {n: v.view(p.shape) for n, v, p in zip(names, flat.split(sizes), found.gates.parameters)}
        return nn.functional.cross_entropy(functional_call(model, parts, (x,)), y)

    return torch.autograd.functional.hessian(loss, torch.cat([p.detach().flatten() for p in found.gates.parameters]))


@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=21, max_size=21))
@settings(max_examples=15, deadline=None)
def test_products_and_spectra_are_the_dense_ones_and_interlace(seed, mask):
    model, found, batches = tiny(seed)
    keep = torch.tensor(mask)
    H = dense_hessian(model, found, batches)
    signals = Signals(found, batches)
    whole = spectrum(MaskedHessian(signals))
    values = torch.linalg.eigvalsh(H)
    assert (whole.smallest, whole.largest) == pytest.approx((float(values[0]), float(values[-1])), abs=1e-9)
    if not keep.any():
        with pytest.raises(ValueError, match="keeps no weight"):
            spectrum(MaskedHessian(signals, keep))
        return
    sub = H[keep][:, keep]
    hessian = MaskedHessian(signals, keep)
    assert torch.allclose(hessian.matrix(), sub, atol=1e-10)
    inside = torch.linalg.eigvalsh(sub)
    for found_ends in (spectrum(hessian), spectrum(hessian, dense=0)):
        ends_ = (found_ends.smallest, found_ends.largest)
        assert ends_ == pytest.approx((float(inside[0]), float(inside[-1])), abs=1e-6)
        assert whole.smallest - 1e-8 <= found_ends.smallest <= found_ends.largest <= whole.largest + 1e-8
    # Interlacing bounds every eigenvalue, so at most as many negative ones go as weights do.
    gone = int((~keep).sum())
    exact = spectrum(hessian)
    assert whole.negative - gone <= exact.negative <= whole.negative
    assert exact.depth == pytest.approx(float(inside[inside < -1e-12].abs().sum()), abs=1e-9)
    v = torch.randn(21, dtype=torch.float64) * ~keep  # lives on pruned weights alone
    P = torch.diag(keep.double())
    assert float(v @ P @ H @ P @ v) == 0.0


class Saddle(nn.Module):
    """ŷ = u·v·x: at u = v = 0 neither weight can learn from the loss alone."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Linear(1, 1, bias=False)
        self.v = nn.Linear(1, 1, bias=False)

    def forward(self, x):
        return self.v(self.u(x))


def test_a_saddle_becomes_a_minimum():
    model = Saddle().double()
    x = torch.ones(1, 1, dtype=torch.float64)
    found = players(model, x, "weight")
    for p in model.parameters():
        p.data.zero_()

    def loss(net, x, y):  # ½(uv − 1)² + ½·0.1(u² + v²): H = [[0.1, −1], [−1, 0.1]] at the origin
        decay = sum(p.square().sum() for p in net.parameters())
        return 0.5 * (net(x) - y).square().mean() + 0.05 * decay

    start = {"origin": copy.deepcopy(model.state_dict())}
    masks = {"dense": None, "u alone": torch.tensor([True, False])}
    dense, alone = landscape(found, [(x, x)], start, masks, loss=loss)
    assert (dense.spectrum.smallest, dense.spectrum.largest) == pytest.approx((-0.9, 1.1))
    assert (dense.spectrum.negative, dense.spectrum.depth) == (1, pytest.approx(0.9))
    assert dense.spectrum.condition is None
    assert (alone.spectrum.smallest, alone.spectrum.largest, alone.spectrum.negative) == (0.1, 0.1, 0)
    assert alone.spectrum.condition == pytest.approx(1.0)
    assert dense.loss == alone.loss == 0.5


def test_the_table_masks_the_point_too_and_puts_the_model_back():
    model, found, batches = tiny(3)
    before = copy.deepcopy(model.state_dict())
    other = {k: v + 0.3 for k, v in before.items()}
    keep = torch.arange(21) % 3 != 0
    masked, in_place = (
        landscape(found, batches, {"a": before, "b": other}, {"half": keep}, in_place=where) for where in (False, True)
    )
    assert [(r.checkpoint, r.mask) for r in masked] == [("a", "half"), ("b", "half")]
    for state, at_masked, at_dense in zip((before, other), masked, in_place):
        model.load_state_dict(state)
        values = torch.linalg.eigvalsh(dense_hessian(model, found, batches)[keep][:, keep])
        assert at_dense.spectrum.largest == pytest.approx(float(values[-1]))
        held = [p.data for p in found.gates.parameters]
        found.gates.scaled(held, keep.to(held[0]), out=held)
        values = torch.linalg.eigvalsh(dense_hessian(model, found, batches)[keep][:, keep])
        assert at_masked.spectrum.largest == pytest.approx(float(values[-1]))
        assert at_masked.spectrum.largest != pytest.approx(at_dense.spectrum.largest)
        x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
        with torch.no_grad():
            assert at_masked.loss == pytest.approx(float(nn.functional.cross_entropy(model(x), y)))
    model.load_state_dict(before)
    landscape(found, batches, {"b": other}, {"half": keep})
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
