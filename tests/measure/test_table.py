"""The latency table: operators at other widths, what they add up to, and that a prediction is kept by a measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import residual_model
import torch
from torch import nn

import secateurs
from secateurs.measure import breakdown, latency_table
from secateurs.measure.operators import Timing, Timings, cache_file, quietest
from secateurs.partition import players
from secateurs.structure.calls import Operand, calls, leaves
from secateurs.structure.types import Table


class Clockwork(Timings):
    """A device on which an operator takes a microsecond for every 1,000 numbers it is given, in rows of eight."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.run: list[Any] = []

    def _measured(self, operator: Any, args: Any, kwargs: Any) -> Timing | None:
        self.run.append(operator)
        if super()._measured(operator, args, kwargs) is None:
            assert operator is torch.ops.aten.view.default  # the one here that has a size written down
            return None
        shapes = [leaf.shape for leaf in leaves((args, kwargs)) if isinstance(leaf, Operand)]
        taken = sum(prod(-(-size // 8) * 8 for size in shape) for shape in shapes) / 1e6
        return taken, taken, taken


class Net(nn.Module):
    """Grouped and depthwise convolutions, norms, attention and a sum: whose sizes follow one another."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.b = nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.c = nn.Conv2d(24, 16, 1)
        self.out = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.a(x)))
        x = x + self.c(torch.relu(self.b(self.deep(x))))
        return self.out(x.mean((2, 3)))


def priced(model: nn.Module, inputs: Any) -> tuple[Any, Clockwork]:
    found, clock = players(model, inputs), Clockwork()
    table = latency_table(model, found.structure, inputs, timings=clock, whole_ms=(2.0, 1.0))
    found.add_resource("latency", table.terms)
    return found, clock


def counted(model: nn.Module, inputs: Any) -> float:
    """What the clockwork says of a network itself."""
    return sum(ms for _, ms in breakdown(model, inputs, timings=Clockwork()))


def test_the_sum_of_operators_is_that_of_the_cut_network_at_grid_points() -> None:
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    found, clock = players(model, x), Clockwork()
    table = latency_table(model, found.structure, x, timings=clock, whole_ms=(1.0, 1.0))
    assert table.operators_ms[0] == pytest.approx(counted(model, x))
    found.add_resource("latency", table.terms)
    for share in (0.25, 0.5, 0.75, 1.0):
        keep = torch.zeros(found.count, dtype=torch.bool)
        for layer in found.layers:
            keep[layer.start : layer.start + round(share * layer.size)] = True
        small = secateurs.shrink(model, found.structure, found.atom_mask(keep)).model
        rest = found.amount("latency") - table.scale * counted(model, x)
        assert found.amount("latency", keep) == pytest.approx(table.scale * counted(small, x) + rest), share


def test_structure_and_players_agree_also_after_a_cut() -> None:
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    found, _ = priced(model, x)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        keep = torch.rand(found.count, generator=generator) < 0.7
        for layer in found.layers:
            keep[layer.start] = True
        assert found.structure.amount("latency", found.atom_mask(keep)) == pytest.approx(found.amount("latency", keep))
        left = found.structure.restrict(found.atom_mask(keep))
        assert left.amount("latency") == pytest.approx(found.amount("latency", keep))


def test_the_slope_is_that_of_the_amount() -> None:
    found, _ = priced(Net().eval(), torch.randn(2, 3, 8, 8))
    resource = found.resource("latency")
    generator = np.random.default_rng(0)
    for _ in range(20):
        mass = found.sizes * generator.uniform(0.2, 0.99, len(found.sizes))
        ahead = [resource.amount(mass + 1e-6 * row) for row in np.eye(len(mass))]
        behind = [resource.amount(mass - 1e-6 * row) for row in np.eye(len(mass))]
        slope = (np.array(ahead) - np.array(behind)) / 2e-6
        assert np.allclose(resource.marginal(mass), slope, rtol=1e-5, atol=1e-9)
        assert (resource.marginal(mass) >= 0).all()


def test_a_table_is_linear_between_its_points_and_flat_beyond() -> None:
    ids = np.arange(8), np.arange(8, 12)
    table = Table(
        ids, (np.array([2.0, 4.0, 8.0]), np.array([1.0, 4.0])), np.array([[1.0, 4.0], [3.0, 6.0], [3.0, 8.0]])
    )
    assert table.amount([2, 1]) == 1.0 and table.amount([8, 4]) == 8.0
    assert table.amount([3, 1]) == 2.0 and table.amount([3, 2.5]) == 3.5
    assert table.amount([1, 0]) == 1.0 and table.amount([9, 9]) == 8.0
    assert table.with_block(12).amount([8, 4, 0]) == 0.0 and table.with_block(12).amount([8, 4, 1]) == 8.0


def test_blocks_cost_what_lies_in_them() -> None:
    model, x = residual_model.build().eval(), torch.randn(2, 1, 8, 8)
    found = players(model, x, granularity="block")
    clock = Clockwork()
    table = latency_table(model, found.structure, x, timings=clock, whole_ms=(1.0, 1.0))
    found.add_resource("latency", table.terms)
    keep = torch.ones(found.count, dtype=torch.bool)
    keep[0] = False
    shallow = secateurs.shrink(model, found.structure, found.atom_mask(keep)).model
    gone = counted(model, x) - counted(shallow, x)
    assert gone > 0
    assert found.amount("latency") - found.amount("latency", keep) == pytest.approx(table.scale * gone)


def test_no_shape_is_timed_twice_and_a_file_keeps_them(tmp_path: Path) -> None:
    model, x = nn.Sequential(*[nn.Linear(16, 16) for _ in range(4)]).eval(), torch.randn(1, 16)
    found, clock = players(model, x), Clockwork()
    latency_table(model, found.structure, x, timings=clock, whole_ms=(1.0, 0.5))
    assert len(clock.run) == len(clock.known) == len(set(clock.known))
    clock.path = tmp_path / "known.json"
    clock.save()
    again = Timings(torch.device("cpu"), path=clock.path)
    again._measured = lambda *_: pytest.fail("this is known")  # type: ignore[assignment,method-assign]
    first = latency_table(model, found.structure, x, timings=clock, whole_ms=(1.0, 0.5))
    second = latency_table(model, found.structure, x, timings=again, whole_ms=(1.0, 0.5))
    assert first.operators_ms == second.operators_ms
    clock.path.write_text("{")
    assert Timings(torch.device("cpu"), path=clock.path).known == {}  # damaged: measured anew
    clock.path.write_text(json.dumps({"x": "y"}))
    assert Timings(torch.device("cpu"), path=clock.path).known == {}


def test_the_cache_is_where_it_is_told_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECATEURS_CACHE", str(tmp_path / "here"))
    assert cache_file(torch.device("cpu"), 2).is_relative_to(tmp_path / "here")
    assert cache_file(torch.device("cpu"), 2) != cache_file(torch.device("cpu"), 1)
    monkeypatch.delenv("SECATEURS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert cache_file(torch.device("cpu"), 1).is_relative_to(tmp_path / "there" / "secateurs")


def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Timings(torch.device("cpu"), path=tmp_path / "file" / "known.json").save()
    assert (tmp_path / "file").read_text() == ""


def test_a_busy_machine_is_waited_out() -> None:
    given = iter([(5.0, 3.0, 9.0), (4.0, 2.0, 8.0), (1.0, 1.0, 1.05), (0.5, 0.5, 0.5)])
    assert quietest(lambda: next(given)) == (1.0, 1.0, 1.05)
    always = iter([(5.0, 1.0, 9.0), (3.0, 1.0, 9.0), (4.0, 1.0, 9.0), (6.0, 1.0, 9.0), (1.0, 1.0, 9.0)])
    assert quietest(lambda: next(always)) == (3.0, 1.0, 9.0)  # it gives up after three more


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: nn.LSTM(6, 8, batch_first=True), torch.randn(2, 5, 6)),
        (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), torch.randn(2, 5, 16)),
        (
            lambda: nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(40, 3)),
            torch.zeros(2, 5, dtype=torch.long),
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.Conv2d(8, 4, 3)), torch.randn(2, 3, 8, 8)),
    ],
    ids=["lstm", "transformer", "embedding", "groupnorm"],
)
def test_operators_of_many_kinds_are_timed(make: Callable[[], nn.Module], inputs: torch.Tensor) -> None:
    model = make().eval()
    structure = secateurs.trace(model, inputs)
    table = latency_table(model, structure, inputs, timings=Timings(torch.device("cpu")), whole_ms=(1.0, 0.9))
    structure.terms["latency"] = table.terms
    half = torch.arange(structure.atoms) % 2 == 0
    for family in structure.families:
        half[family.atoms[0]] = True
    assert 0 < structure.amount("latency", half) <= structure.amount("latency")


def test_calls_say_which_axes_they_follow() -> None:
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    found = calls(model, secateurs.trace(model, x), x)
    grouped = next(call for call in found if call.path == "b" and "convolution" in str(call.operator))
    assert [len(atoms) for atoms in grouped.atoms] == [4, 6]  # each has one in every group
    args, _ = grouped.resized({grouped.atoms[0].tobytes(): 3, grouped.atoms[1].tobytes(): 1})
    assert (args[0].shape[1], args[1].shape[:2], args[8]) == (12, (4, 3), 4)
    plain = calls(model, None, x)
    assert [c.operator for c in plain] == [c.operator for c in found]
    assert all(not call.atoms for call in plain)
