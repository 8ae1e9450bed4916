"""BatchNorm recalibration: statistics worked by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import secateurs
from secateurs.errors import DataError
from secateurs.recovery import recalibrate_batchnorm


def _labelled(*inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(x, torch.zeros(len(x), dtype=torch.long)) for x in inputs]


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(4 * 16, 5),
    )  # fmt: skip


def test_statistics_by_hand() -> None:
    """1, 3 and 2, 6, 8 in two batches: μ = 20/5 = 4, σ² = (9 + 1 + 4 + 4 + 16)/4 = 8.5, the order of batches aside."""
    norm = nn.BatchNorm1d(1).double()
    first, second = torch.tensor([[1.0], [3.0]]).double(), torch.tensor([[2.0], [6.0], [8.0]]).double()
    for batches in (_labelled(first, second), _labelled(second, first), _labelled(torch.cat([first, second]))):
        found = recalibrate_batchnorm(norm, batches)
        assert found.running_mean.item() == pytest.approx(4.0, abs=1e-14)
        assert found.running_var.item() == pytest.approx(8.5, abs=1e-14)


def test_one_batch_is_what_training_on_it_would_leave() -> None:
    net, x = _net().double(), torch.randn(6, 3, 8, 8).double()
    found = recalibrate_batchnorm(net, _labelled(x))
    net[3].p = 0.0
    for index in (1, 5):
        net[index].momentum = None
        net[index].reset_running_stats()
    net(x)
    for index in (1, 5):
        assert torch.allclose(found[index].running_mean, net[index].running_mean, rtol=1e-12)
        assert torch.allclose(found[index].running_var, net[index].running_var, rtol=1e-12)


def test_the_output_of_a_recalibrated_norm_is_normal() -> None:
    net = _net().double()
    batches = _labelled(*(5 + 3 * torch.randn(16, 3, 8, 8).double() for _ in range(4)))
    net = recalibrate_batchnorm(net, batches).eval()
    out = torch.cat([net[:2](x) for x, _ in batches]).transpose(0, 1).flatten(1)
    n = out.shape[1]
    assert out.mean(1).abs().max() < 1e-12
    assert torch.allclose(out.var(1), torch.ones(8).double(), rtol=2e-4) and n > 1000  # ε of the norm


def test_one_norm_in_two_places_counts_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x[:, :1]) + self.norm(x[:, 1:])

    found = recalibrate_batchnorm(Twice(), _labelled(torch.tensor([[1.0, 5.0], [3.0, 7.0]]).double()))
    assert found.norm.running_mean.item() == 4.0
    assert found.norm.running_var.item() == pytest.approx(20 / 3)  # 1, 3, 5, 7


def test_a_norm_that_no_batch_reaches_keeps_its_statistics() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    model = Aside()
    model.unused.running_mean.fill_(7.0)
    found = recalibrate_batchnorm(model, _labelled(torch.randn(4, 2)))
    assert found.unused.running_mean.tolist() == [7.0, 7.0] and found.used.running_mean.abs().min() > 0


def test_without_batch_norm_no_data_are_read() -> None:
    def never() -> Iterator[tuple[Tensor, Tensor]]:
        raise AssertionError("read")
        yield

    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    assert recalibrate_batchnorm(net, never()) is not net


def test_no_batch_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no batch"):
        recalibrate_batchnorm(_net(), [])


def test_a_shrunk_network_gets_its_function_s_scale_back() -> None:
    """Cutting half of the first layer halves what reaches the second; its norm then divides by the old deviation."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 3, bias=False), nn.BatchNorm2d(16), nn.Flatten(),
        nn.Linear(16 * 16, 5),
    )  # fmt: skip
    batches = _labelled(*torch.randn(4, 32, 3, 8, 8))
    net = recalibrate_batchnorm(net, batches).eval()
    found = secateurs.players(net, batches[0][0][:2])
    keep = torch.ones(len(found), dtype=torch.bool)
    keep[:16] = False
    small = secateurs.shrink(net, found.structure, found.atom_mask(keep)).model
    spread = lambda model: torch.cat([model[:4](x) for x, _ in batches]).var().item()  # noqa: E731
    assert spread(small) < 0.7
    assert spread(recalibrate_batchnorm(small, batches).eval()) == pytest.approx(1.0, abs=0.01)
