"""Blocks through whole runs: the flagship and one-shot methods, resuming, artifacts, ONNX and the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import residual_model
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from secateurs import Budget, Record, RunConfig, artifact, prune
from secateurs.cli.app import app
from secateurs.measure import count_macs, count_params
from secateurs.partition import Players, players
from secateurs.recipes import flagship
from secateurs.storage import load_tree
from secateurs.structure import shrink
from secateurs.zoo import build_model

from .child import secateurs

MODEL = f"{residual_model.__file__}:build"
X = torch.randn(2, 1, 8, 8)


def found(model: nn.Module) -> Players:
    return players(model.eval(), X, granularity="block")


def config(**given: Any) -> RunConfig:
    budget = Budget(**given.pop("budget", {"macs": 0.6}))
    base = {"data": "digits", "epochs": 6, "reference": "none", "granularity": "block", "model": MODEL}
    return RunConfig(**{**base, **given, "budget": budget})


def check(record: Record, folder: Path) -> nn.Module:
    assert [(row.name, row.kind, row.total) for row in record.layers] == [("3", "block", 3), ("5", "block", 2)]
    assert record.pruned.macs is not None and record.pruned.macs <= record.targets["macs"] < record.dense.macs
    network = artifact.load(folder / "artifact")
    left = [sum(type(m) is not nn.Identity for m in network[n]) for n in (3, 5)]  # type: ignore[union-attr, index]
    assert left == [record.layers[0].kept, record.layers[1].kept + 1]
    assert count_params(network) == record.pruned.params and count_macs(network, X[:1]) == record.pruned.macs
    assert (folder / "model.onnx").exists()
    return network


def test_the_flagship_prunes_blocks_and_compacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    compact = flagship.Participating.compact

    def watched(self: Any, keep: Tensor) -> None:
        compact(self, keep)
        sizes.append(self.players.count)

    monkeypatch.setattr(flagship, "PATIENCE", 3)
    monkeypatch.setattr(flagship, "LOOK_EVERY", 2)
    monkeypatch.setattr(flagship.Participating, "compact", watched)
    record = prune(config(epochs=12), tmp_path, progress=False)
    assert sizes  # some left before the cut
    check(record, tmp_path)


@pytest.mark.parametrize("method", ["magnitude", "taylor", "random"])
def test_every_method_prunes_blocks(method: str, tmp_path: Path) -> None:
    check(prune(config(method=method, epochs=2), tmp_path, progress=False), tmp_path)


def test_all_blocks_may_go(tmp_path: Path) -> None:
    p = found(residual_model.build())
    least = p.resource("params").amount(np.zeros(2))
    budget = {"params": (least + 1) / p.amount("params"), "macs": 0.9}
    record = prune(config(epochs=3, budget=budget), tmp_path, progress=False)
    assert [row.kept for row in record.layers] == [0, 0] and record.pruned.params == round(least)
    check(record, tmp_path)


def test_an_interrupted_run_resumes_to_the_same_network(tmp_path: Path) -> None:
    """Stopped in the market with a block already gone, and in recovery."""
    argv = ["prune", "--model", MODEL, "--data", "digits", "--granularity", "block", "--budget", "macs=0.6"]
    argv += ["--epochs", "12", "--reference", "none", "--json"]
    code, text = secateurs([*argv, "--out", str(tmp_path / "whole")], tmp_path)
    assert code == 0, text
    steps = json.loads((tmp_path / "whole" / "record.json").read_text())["train"]["steps"]
    cut = steps["warmup"] + steps["market"]
    out, resume, gone = tmp_path / "run", [], False
    for step in (cut - 2, steps["total"] - 2):
        code, text = secateurs([*argv, "--out", str(out), *resume], tmp_path, blow=("equilibrium", step, signal.SIGINT))
        assert code == 130, text
        tree = load_tree(out / "checkpoint.safetensors")
        gone |= step < cut and not bool(tree["optimizer"]["alive"].all())
        resume = ["--resume"]
    code, text = secateurs([*argv, "--out", str(out), *resume], tmp_path)
    assert code == 0 and gone, text
    one, two = (artifact.load(tmp_path / n / "artifact").state_dict() for n in ("whole", "run"))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("route", ["factory", "program"])
def test_an_artifact_brings_a_network_with_blocks_gone_back(route: str, tmp_path: Path) -> None:
    arguments = {"classes": 10, "input_shape": (1, 8, 8)}
    p = found(build_model(MODEL, **arguments))
    shrunk = shrink(p.model, p.structure, p.atom_mask(torch.tensor([True, False, False, False, True])))
    given: dict[str, Any] = {"factory": None}
    if route == "factory":
        given = {"factory": MODEL, "factory_kwargs": arguments}
    folder = artifact.save(shrunk.model, tmp_path / "a", surgery=shrunk.surgery, example_inputs=X, **given)
    back = artifact.load(folder)
    assert count_params(back) == count_params(shrunk.model) < count_params(p.model)
    torch.testing.assert_close(back(X), shrunk.model(X), rtol=1e-5, atol=1e-5)


def test_the_command_line_lists_blocks_and_what_is_none() -> None:
    argv = ["inspect", "--model", MODEL, "--data", "1x8x8", "--granularity", "block"]
    said = CliRunner().invoke(app, [*argv, "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.output)
    assert [row["tied_to"] for row in told["layers"]] == [["3.0", "3.1", "3.2"], ["5.1", "5.2"]]
    assert [(f["where"], f["size"]) for f in told["frozen"]] == [("5.0", 1)]
    assert "3.0, 3.1" in CliRunner().invoke(app, argv).output
