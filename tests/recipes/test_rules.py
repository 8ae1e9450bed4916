"""Every rule of participation as a run, and that one killed anywhere is the one that was not."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from secateurs import Budget, RunConfig, prune
from secateurs.artifact import load
from secateurs.dynamics import DYNAMICS
from secateurs.errors import RunError, SecateursError
from secateurs.recipes.options import read_options
from secateurs.recipes.registry import find_method
from secateurs.storage import load_tree

from .child import secateurs
from .test_resume import assert_same, read


def config(name: str, granularity: str = "channel", **given: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "model": "zoo:mlp-digits", "data": "digits", "epochs": 2, "batch_size": 128, "reference": "none",
        "method": name, "granularity": granularity, "budget": Budget(params=0.3),
    }  # fmt: skip
    return RunConfig(**{**defaults, **given})


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("name", sorted(DYNAMICS))
def test_every_rule_runs_to_its_budget(name: str, granularity: str, tmp_path: Path) -> None:
    record = prune(config(name, granularity), tmp_path / "run", progress=False)
    assert record.pruned.accuracy is not None and record.pruned.accuracy > 0.2
    held = load_tree(tmp_path / "run" / "cut.safetensors")["weights"]
    if granularity == "channel":
        assert record.pruned.params <= 0.3 * record.dense.params
    else:  # weights that left are zero at the cut and at the end
        kept = sum(int(w.count_nonzero()) for w in held.values())
        final = sum(int(w.count_nonzero()) for w in load(tmp_path / "run" / "artifact").state_dict().values())
        assert kept <= 0.3 * record.dense.params and final <= 0.3 * record.dense.params
    assert record.history[-1].step == record.train.steps["total"]


def test_a_rule_is_told_its_own_settings_and_no_other() -> None:
    method = find_method("rigl")
    options = read_options(method.options, "rigl", {"fraction": 0.5, "every": 3, "cut": 0.8})
    assert (options.fraction, options.every, options.cut) == (0.5, 3, 0.8)
    with pytest.raises(RunError, match=r"method 'rigl' has no option 'horizon'"):
        read_options(method.options, "rigl", {"horizon": 3})
    with pytest.raises(SecateursError, match=r"allocation 'uniforme'.*'uniform'"):
        read_options(method.options, "rigl", {"allocation": "uniforme"})


@pytest.mark.parametrize(("name", "cut"), [("rigl", "0.75"), ("equilibrium", "0.55")])
def test_a_warmup_beyond_the_cut_is_refused(name: str, cut: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"warmup=0\.8 of the run leaves no step for {name} before the cut at {cut};"):
        prune(config(name, options={"warmup": 0.8}), tmp_path / "run", progress=False)


@pytest.mark.parametrize("name", ["rigl", "imp"])
def test_the_dense_reference_is_learnt_from_after_the_cut(name: str, tmp_path: Path) -> None:
    """And only there: until the cut both are the same run."""
    both = []
    for distill in (0.0, 0.9):
        given = config(name, reference="given", options={"distill": distill})
        both.append(prune(given, tmp_path / str(distill), progress=False))
    assert both[0].cut.loss == both[1].cut.loss and both[0].pruned.loss != both[1].pruned.loss
    with pytest.raises(RunError, match=r"distill=0.5 learns from the dense reference, and reference 'none'"):
        prune(config(name, options={"distill": 0.5}), tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()


def test_runs_of_other_seeds_draw_otherwise(tmp_path: Path) -> None:
    """The same mask before the first step would mean that draws do not depend on the run's seed."""
    kept = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"run{len(kept)}"
        kept.append(prune(config("set", seed=seed, options={"fraction": 1e-9}), folder, progress=False).players.kept)
    assert kept[0] == kept[1] != kept[2]


def test_a_weight_that_is_grown_just_before_the_cut_goes_on_to_learn(tmp_path: Path) -> None:
    """It is zero at the cut, and one of those that were kept: what is held at zero afterwards are the others."""
    options = {"every": 1, "fraction": 0.3}
    record = prune(config("set", "weight", options=options), tmp_path / "run", progress=False)
    at_cut = load_tree(tmp_path / "run" / "cut.safetensors")["weights"]
    weights = [name for name, w in at_cut.items() if w.dim() > 1]
    final = load(tmp_path / "run" / "artifact").state_dict()
    counted = [sum(int(tree[n].count_nonzero()) for n in weights) for tree in (at_cut, final)]
    assert counted[0] < 0.95 * record.groups_kept
    assert 0.95 * record.groups_kept < counted[1] <= record.groups_kept  # some see no gradient: dark pixels


RESUMED = {
    "rigl-weight": ["--method", "rigl", "--granularity", "weight", "--budget", "params=0.2", "--set", "every=3"],
    "gradual-channel": [
        "--method",
        "gradual",
        "--granularity",
        "channel",
        "--budget",
        "params=0.3",
        "--set",
        "every=4",
    ],
    "l0-channel": ["--method", "l0", "--granularity", "channel", "--budget", "params=0.3"],
}


@pytest.mark.parametrize("case", sorted(RESUMED))
def test_killed_before_and_after_the_cut(case: str, tmp_path: Path) -> None:
    """Two of these go on after the cut with the optimizer that they had, one starts a recovery."""
    name = case.split("-")[0]
    argv = [
        "prune", "--model", "zoo:mlp-digits", "--data", "digits", "--epochs", "5", "--batch-size", "64", "--seed", "3",
        "--reference", "none", "--json", *RESUMED[case],
    ]  # fmt: skip
    code, text = secateurs([*argv, "--out", str(tmp_path / "whole")], tmp_path)
    assert code == 0, text
    steps = read(tmp_path / "whole")["train"]["steps"]
    cut, total = steps["training"], steps["total"]
    assert 10 < cut < total - 10
    draw, out, resume, after = random.Random(case), tmp_path / "run", [], 0
    places = [draw.randrange(8, cut - 4), cut - 1, draw.randrange(cut + 8, total - 1), total - 1]
    for step, number in zip(places, [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGINT]):
        code, text = secateurs([*argv, "--out", str(out), *resume], tmp_path, blow=(name, step, number))
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130), text
        after += int(load_tree(out / "checkpoint.safetensors")["step"]) > cut
        resume = ["--resume"]
    assert after >= 1
    code, text = secateurs([*argv, "--out", str(out), "--resume"], tmp_path)
    assert code == 0, text
    assert_same(out, tmp_path / "whole")
    assert json.loads(text)["groups_kept"] == read(out)["groups_kept"]
