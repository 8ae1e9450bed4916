"""Limits through whole runs: from the words of a command line to the record, for the flagship and one-shot methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clockwork
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from secateurs import Budget, Equilibrium, MarketSettings, Record, RunConfig, prune
from secateurs.artifact import load
from secateurs.cli.app import app
from secateurs.errors import BudgetError, RunError, SecateursError, StructureError
from secateurs.partition import Players, players
from secateurs.recipes import TrainOptions, flagship
from secateurs.recipes import latency as latency_module
from secateurs.recipes.latency import Clock, not_faster, price, share, tighten
from secateurs.selection import fit_budget
from secateurs.structure import shrink
from secateurs.zoo import build_model

MODEL = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 14, 3, padding=1), nn.BatchNorm2d(14), nn.ReLU(),
        nn.Conv2d(14, 26, 3, padding=1), nn.BatchNorm2d(26), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(26, 26, 3, padding=1), nn.BatchNorm2d(26), nn.ReLU(), nn.AvgPool2d(4),
        nn.Flatten(), nn.Linear(26, 10))
"""
DENSE = {"0": 14, "3": 26, "7": 26}


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    path = tmp_path / "conv.py"
    path.write_text(MODEL)
    return f"{path}:build"


def config(model: str, **given: Any) -> RunConfig:
    budget = Budget(**given.pop("budget", {"macs": 0.2}))
    return RunConfig(**{"data": "digits", "epochs": 8, "reference": "none", **given, "model": model, "budget": budget})


def kept(record: Record) -> dict[str, int]:
    return {row.name: row.kept for row in record.layers}


@pytest.mark.parametrize("tie", [(), "3,7"])
def test_the_flagship_keeps_multiples_and_recovers(
    tie: Any, model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    compact = flagship.Participating.compact

    def watched(self: Any, keep: torch.Tensor) -> None:
        compact(self, keep)
        sizes.append([layer.size for layer in self.players.layers])

    monkeypatch.setattr(flagship, "PATIENCE", 3)
    monkeypatch.setattr(flagship, "LOOK_EVERY", 2)
    monkeypatch.setattr(flagship.Participating, "compact", watched)
    options = {"round_to": 4, "tie": tie, "limit": ["0:minimum=5"]}
    record = prune(config(model_file, epochs=20, options=options), tmp_path / "run", progress=False)
    assert sizes or tie  # it was compacted during training, to numbers that are allowed
    for found in sizes:
        assert all(n % 4 == 0 or n == dense for n, dense in zip(found, DENSE.values()))
        assert not tie or found[1] == found[2]
    widths = kept(record)
    assert widths["3"] < 26 and widths["0"] in (8, 12, 14) and (not tie or widths["3"] == widths["7"])
    assert all(n % 4 == 0 or n == DENSE[name] for name, n in widths.items())
    assert [(row.minimum, row.multiple) for row in record.layers] == [(8, 4), (4, 4), (4, 4)]
    assert record.pruned.macs is not None and record.pruned.macs <= record.targets["macs"]
    network = load(tmp_path / "run" / "artifact")
    assert [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)] == list(widths.values())
    for module in network.modules():  # whoever filled a layer up takes part
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight.abs() > 1e-4).all())
    assert record.pruned.accuracy is not None and record.pruned.accuracy > 0.9


@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize("method", ["magnitude", "taylor", "random"])
def test_one_shot_methods_keep_multiples(method: str, allocation: str, model_file: str, tmp_path: Path) -> None:
    options = {"round_to": 4, "maximum_ratio": 0.6, "tie": ["3,7"], "allocation": allocation, "calibration": 2}
    given = config(model_file, method=method, epochs=1, budget={"macs": 0.4}, options=options)
    record = prune(given, tmp_path / "run", progress=False)
    widths = kept(record)
    assert all(n % 4 == 0 or n == DENSE[name] for name, n in widths.items()) and widths["3"] == widths["7"]
    assert all(n >= 0.4 * DENSE[name] for name, n in widths.items())
    assert record.pruned.macs is not None and record.pruned.macs <= record.targets["macs"]


def test_what_is_ignored_is_left_alone(model_file: str, tmp_path: Path) -> None:
    record = prune(
        config(model_file, method="random", epochs=1, options={"ignore": "3"}), tmp_path / "run", progress=False
    )
    assert set(kept(record)) == {"0", "7"}
    assert [m.out_channels for m in load(tmp_path / "run" / "artifact").modules() if isinstance(m, nn.Conv2d)][1] == 26


def test_from_the_command_line(model_file: str, tmp_path: Path) -> None:
    words = ["prune", "--model", model_file, "--data", "digits", "--budget", "macs=0.7", "--method", "magnitude"]
    words += ["--epochs", "1", "--reference", "none", "--set", "round_to=2", "--json", "--out", str(tmp_path / "run")]
    words += ["--limit", "0:minimum=7,round_to=4", "--limit", "7:maximum_ratio=0.2", "--ignore", "3"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    rows = json.loads(result.stdout)["layers"]
    assert [(row["name"], row["minimum"], row["multiple"]) for row in rows] == [("0", 8, 4), ("7", 22, 2)]
    assert json.loads(result.stdout)["config"]["options"] == {
        "round_to": 2,
        "limit": ["0:minimum=7,round_to=4", "7:maximum_ratio=0.2"],
        "ignore": ["3"],
    }
    with pytest.raises(RunError, match="--tie and --set tie= say the same thing"):
        CliRunner().invoke(app, [*words, "--set", "tie=0", "--tie", "0,3"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"limit": "9.*:minimum=2"}, StructureError, "no layer matches '9.*'"),
        ({"limit": "0:minimal=2"}, StructureError, "write PATTERN:NAME=VALUE"),
        ({"ignore": ["conv"]}, StructureError, "nothing is called 'conv'"),
        ({"tie": "0,3"}, StructureError, "0 (14), 3 (26)"),
        ({"round_to": 0}, RunError, "round_to=0"),
        ({"round_to": "most"}, RunError, "round_to='most'"),
        ({"maximum_ratio": 1.2}, RunError, "maximum_ratio=1.2"),
        ({"round_to": 16}, BudgetError, "round_to=8 would do"),
    ],
)
def test_bad_limits_are_said_before_anything_is_written(
    options: dict[str, Any], error: type[SecateursError], said: str, model_file: str, tmp_path: Path
) -> None:
    for method in ("equilibrium", "magnitude"):
        with pytest.raises(error) as caught:
            prune(config(model_file, method=method, options=options), tmp_path / "run", progress=False)
        assert said in str(caught.value) and not (tmp_path / "run").exists()


# -- what is rounded by default -------------------------------------------------------------------------------------


def found(*widths: int) -> Players:
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return players(nn.Sequential(*layers[:-1]), torch.randn(2, widths[0]))


@pytest.mark.parametrize(
    ("budget", "options", "multiple"),
    [
        ({"macs": 0.5}, {}, 1),
        ({"latency": 1.0}, {}, 16),
        ({"latency": 1.0, "params": 0.5}, {}, 16),
        ({"latency": 1.0}, {"round_to": 1}, 1),
        ({"latency": 1.0}, {"round_to": 4}, 4),
        ({"params": 0.5}, {"round_to": "auto"}, 16),
    ],
)
def test_widths_are_rounded_for_the_device_where_latency_counts(
    budget: dict[str, float], options: dict[str, Any], multiple: int
) -> None:
    p = found(5, 64, 64, 3)
    p.native = 16
    TrainOptions(**options).restrain(p, Budget(**budget))
    assert [layer.multiple for layer in p.layers] == [multiple, multiple]


def test_latency_is_a_resource_at_rounded_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork.install(monkeypatch)
    p, x = found(5, 64, 64, 3), torch.randn(1, 5)
    p.native = 16
    TrainOptions().restrain(p, Budget(latency=0.1))
    dense = clockwork.milliseconds(p.model, x)
    price(p, 0.99 * dense, x)
    assert p.amount("latency") == pytest.approx(dense)
    for counts in ((16, 16), (32, 48), (48, 16), (64, 32)):
        keep = torch.zeros(p.count, dtype=torch.bool)
        for layer, count in zip(p.layers, counts):
            keep[layer.start : layer.start + count] = True
        small = shrink(p.model, p.structure, p.atom_mask(keep)).model
        assert p.amount("latency", keep) == pytest.approx(clockwork.milliseconds(small, x))
    kept = fit_budget(p, torch.rand(p.count, generator=torch.Generator().manual_seed(0)), {"latency": 0.6 * dense})
    assert 0.3 * dense < p.amount("latency", kept) <= 0.6 * dense
    assert all(int(kept[layer.start : layer.stop].sum()) % 16 == 0 for layer in p.layers)


def test_auto_gives_way_to_a_latency_and_a_number_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork.install(monkeypatch)
    x = torch.randn(1, 5)
    p = found(5, 64, 64, 3)
    p.native = 16
    price(p.limit(round_to=4), 0.99 * clockwork.milliseconds(p.model, x), x)
    limit_ms = 1.05 * p.resource("latency").amount(p.minimum)

    def asked(**options: Any) -> Players:
        other = found(5, 64, 64, 3)
        other.native = 16
        return TrainOptions(**options).restrain(other, Budget(latency=limit_ms))

    other = asked()
    known = price(other, limit_ms, x)
    assert other.auto == 8
    resumed = asked()
    assert price(resumed, limit_ms, x, json.loads(json.dumps(known))) == known and resumed.auto == 8
    assert resumed.amount("latency") == other.amount("latency")
    with pytest.raises(
        BudgetError, match=r"ms, which cannot be reached.*rounded to a multiple of 16; round_to=\d would"
    ):
        price(asked(round_to=16), limit_ms, x)
    with pytest.raises(BudgetError, match=r"smallest reachable here is 0.00\d+ ms"):
        price(asked(), 1e-6, x)
    with pytest.raises(BudgetError, match="already takes"):
        price(asked(), 1e6, x)


@pytest.mark.parametrize("method", ["magnitude", "equilibrium"])
def test_a_run_to_a_latency_takes_that_long(
    method: str, model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clockwork.install(monkeypatch)
    x = torch.zeros(1, 1, 8, 8)
    dense = clockwork.milliseconds(build_model(model_file), x)
    wanted = config(model_file, method=method, epochs=4, budget={"latency": 0.55 * dense}, options={"round_to": 1})
    record = prune(wanted, tmp_path / "run", progress=False)
    taken = clockwork.milliseconds(load(tmp_path / "run" / "artifact"), x)
    # Sixteen outputs at a time: what lies nearest below may be further than five percent.
    assert 0.75 * 0.55 * dense <= taken <= 0.55 * dense
    assert record.targets == {"latency": 0.55 * dense}
    if method == "equilibrium":
        assert record.history[-1].step == record.train.steps["total"]
        assert any(point.price.get("latency", 0) > 0 for point in record.history)
    again = prune(wanted, tmp_path / "run", resume=True, progress=False)
    assert again.layers == record.layers


@pytest.mark.parametrize(
    ("curve", "limit"),
    [
        (lambda target: 0.7 * target, 1.0),  # the table says too much
        (lambda target: 1.6 * target, 1.0),  # too little
        (lambda target: 0.4 + 0.9 * target, 1.0),
        (lambda target: 1.2 * round(target * 40) / 40, 1.0),  # in steps
    ],
)
def test_tightening_ends_just_below_the_limit(
    curve: Callable[[float], float], limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_module, "share", lambda model, dense, inputs: model)
    targets = {"latency": limit}
    tighten(targets, lambda: curve(targets["latency"]), Clock(limit, None, nn.Identity(), 1.0))  # type: ignore[arg-type,return-value]
    assert 0.95 * limit <= curve(targets["latency"]) <= limit


def test_tightening_ends_at_the_fastest_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "share", lambda model, dense, inputs: model)
    targets = {"latency": 1.0}

    def build() -> Any:
        if targets["latency"] < 0.2:
            raise BudgetError("too little")
        return 1.5 + targets["latency"]

    with pytest.warns(UserWarning, match=r"latency=1ms: the fastest of the cuts that were tried takes 1\.\d+ ms"):
        tighten(targets, build, Clock(1.0, None, nn.Identity(), 1.0))
    assert 0.2 <= targets["latency"] < 0.4


def test_others_on_the_machine_slow_both() -> None:
    fast, slow = nn.Linear(8, 8), nn.Sequential(*[nn.Linear(8, 8) for _ in range(40)])
    x = torch.randn(1, 8)
    assert 0.2 < share(slow, slow, x) < 5 and share(fast, slow, x) < 0.3  # others may be at work


def test_a_network_that_is_not_faster_is_called_so() -> None:
    class Tall(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.thin = nn.Linear(512, 512), nn.Linear(512, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.thin(self.wide(x).relu())

    x = torch.randn(1, 512)
    assert not_faster(2.0, 1.0, Tall(), x) is None
    said = not_faster(1.0, 0.97, Tall(), x)
    assert said is not None
    assert said.startswith("the pruned network is not faster on this device: 0.97 against 1 ms. Its time goes to ")
    assert all(name in said for name in ("wide", "thin", "Tall", "between operators"))


def test_a_latency_in_a_loop_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork.install(monkeypatch)
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)), *data()
    limit = 0.5 * clockwork.milliseconds(model, x[:1])
    optimizer = Equilibrium(
        players(model, x[:2]), budget=Budget(latency=limit), market=MarketSettings(warmup=2, horizon=30)
    ).wrap(torch.optim.Adam(model.parameters(), lr=1e-2))
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    taken = clockwork.milliseconds(optimizer.harvest(), x[:1])
    assert 0.7 * limit <= taken <= limit


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(64, 8)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()
