"""Limits through whole runs: from the words of a command line to the record, for the flagship and one-shot methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from secateurs import Budget, Record, RunConfig, prune
from secateurs.artifact import load
from secateurs.cli.app import app
from secateurs.errors import BudgetError, RunError, SecateursError, StructureError
from secateurs.partition import Players, players
from secateurs.recipes import TrainOptions, flagship
from secateurs.recipes import latency as latency_module
from secateurs.recipes.latency import macs_for, uniform_copy, without_latency

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


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("method", ["magnitude", "taylor", "random"])
def test_one_shot_methods_keep_multiples(method: str, uniform: bool, model_file: str, tmp_path: Path) -> None:
    options = {"round_to": 4, "maximum_ratio": 0.6, "tie": ["3,7"], "uniform": uniform, "calibration": 2}
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


def clockwork(model: nn.Module, inputs: Any, threads: int = 1) -> float:
    """A device that computes in blocks of 16 outputs, a microsecond each."""
    return sum(-(-m.out_features // 16) * m.in_features for m in model.modules() if isinstance(m, nn.Linear)) / 1000


def test_latency_is_traded_at_rounded_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "milliseconds", clockwork)
    p = found(5, 64, 64, 3)
    p.native = 16
    TrainOptions().restrain(p, Budget(latency=0.1))
    for fraction in (0.0, 0.1, 0.3, 0.7, 1.0):
        small = uniform_copy(p, fraction)
        assert all(m.out_features % 16 == 0 for m in small if isinstance(m, nn.Linear) and m.out_features != 3)
    dense = clockwork(p.model, None)
    macs = macs_for(p, 0.5 * dense, None)
    assert p.resource("macs").amount(p.minimum) < macs < p.amount("macs")
    assert p.auto == 16


def test_auto_gives_way_to_a_latency_and_a_number_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "milliseconds", clockwork)
    p = found(5, 64, 64, 3)
    p.native = 16
    limit_ms = 1.05 * clockwork(uniform_copy(p.limit(round_to=4), 0.0), None)
    options, budget = TrainOptions(), Budget(latency=limit_ms)
    options.restrain(p, budget)
    traded = without_latency(budget, p, None)
    assert p.auto == 16  # what gives way follows from the MACs, also when a run is resumed
    p.require_reachable(traded.targets({"macs": p.amount("macs")}))
    assert p.auto == 4
    with pytest.raises(BudgetError, match=r"a smaller round_to lets layers be narrower"):
        without_latency(budget, TrainOptions(round_to=16).restrain(p, budget), None)
    with pytest.raises(BudgetError, match=r"on this device$"):
        without_latency(Budget(latency=1e-6), TrainOptions(round_to="auto").restrain(p, budget), None)


def test_a_run_to_a_latency_records_the_multiple(
    model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is said to be fast as its parameters are few, so the budget asks for less than 8 allows."""

    def time(model: nn.Module, inputs: Any, threads: int = 1) -> float:
        return sum(p.numel() for p in model.parameters()) / 1000

    monkeypatch.setattr(latency_module, "milliseconds", time)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    for method in ("magnitude", "equilibrium"):
        record = prune(
            config(model_file, method=method, epochs=2, budget={"latency": 1.3}), tmp_path / method, progress=False
        )
        multiples = {row.multiple for row in record.layers}
        assert multiples in ({4}, {2}, {1})
        assert all(row.kept % row.multiple == 0 or row.kept == row.total for row in record.layers)
        assert time(load(tmp_path / method / "artifact"), None) <= 1.3
        again = prune(
            config(model_file, method=method, epochs=2, budget={"latency": 1.3}),
            tmp_path / method,
            resume=True,
            progress=False,
        )
        assert again.layers == record.layers
