"""A run that is examined later becomes the run that was examined at once; controls are runs like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from secateurs import Budget, Record, RunConfig, load, load_data, prune
from secateurs.errors import RunError
from secateurs.measure import read_predictions
from secateurs.recipes import After, hold_against, read_test, time_against
from secateurs.recipes import examination as examination_module

LATER = After(test=False, onnx=False, latency=False)


def config(**given: Any) -> RunConfig:
    base = {"model": "zoo:mlp-digits", "data": "digits", "budget": Budget(macs=0.3), "epochs": 2, "method": "taylor"}
    return RunConfig(**{**base, **given})


def figures(record: Record) -> dict[str, Any]:
    """What does not depend on clocks."""
    found = record.model_dump(exclude={"created", "train", "peak_memory", "joules", "files", "notes", "history"})
    for network in ("dense", "gated", "cut", "pruned"):
        for name in ("latency_ms", "latency_spread_ms"):
            found[network].pop(name)
    return found


def test_later_is_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = prune(config(), tmp_path / "once", progress=False, after=After(onnx=False))
    opened = []
    real = examination_module.load_data
    monkeypatch.setattr(examination_module, "load_data", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
    trial = prune(config(), tmp_path / "later", progress=False, after=LATER)
    assert trial.pruned.accuracy is None and trial.fidelity is None and not opened
    assert trial.validation == at_once.validation and trial.validation is not None
    assert not (tmp_path / "later" / "predictions.safetensors").exists()
    assert prune(config(), tmp_path / "later", resume=True, progress=False, after=LATER).pruned.accuracy is None
    later = read_test(tmp_path / "later")
    assert figures(later) == figures(at_once)
    assert [data.test_reads for data in opened] == [1]
    assert read_test(tmp_path / "later").pruned == later.pruned and len(opened) == 1, "read once"


def test_resuming_a_run_that_was_not_examined_examines_it(tmp_path: Path) -> None:
    prune(config(reference="none"), tmp_path / "run", progress=False, after=LATER)
    record = prune(config(reference="none"), tmp_path / "run", resume=True, progress=False)
    assert record.pruned.accuracy is not None and record.dense.accuracy is None and record.fidelity is None


def test_what_the_answers_tell_is_in_the_record(tmp_path: Path) -> None:
    record = prune(config(), tmp_path / "run", progress=False, after=After(onnx=False, latency=False))
    found = read_predictions(tmp_path / "run")
    labels, right = found["labels"], found["pruned"].argmax(1) == found["labels"]
    assert record.pruned.accuracy == pytest.approx(float(right.double().mean()))
    assert record.pruned.class_accuracy == pytest.approx([float(right[labels == c].double().mean()) for c in range(10)])
    network, data = load(tmp_path / "run" / "artifact").eval(), load_data("digits", validation=0.0833, seed=0)
    with torch.no_grad():
        again = torch.cat([network(x) for x, _ in data.test.batches(512, epoch=None)])
    assert torch.allclose(again, found["pruned"], atol=1e-5)
    low, high = record.pruned.membership_interval or (0, 0)
    assert low <= (record.pruned.membership_auc or 0) <= high and record.dense.membership_auc is not None
    assert record.fidelity is not None and 0.3 < record.fidelity.agreement <= 1
    assert record.peak_memory is None or record.peak_memory >= 0


def test_the_dense_control_and_what_is_held_against_it(tmp_path: Path) -> None:
    whole = config(method="dense", budget=Budget(groups=1.0), reference="none")
    after = After(onnx=False, latency=False)
    dense = prune(whole, tmp_path / "dense", progress=False, after=after)
    assert dense.groups_kept == dense.groups_total and dense.pruned.params == dense.dense.params
    both = prune(config(), tmp_path / "both", progress=False, after=after)
    assert dense.pruned.accuracy == both.dense.accuracy, "the reference of a run, trained for the same steps"
    prune(config(reference="none"), tmp_path / "alone", progress=False, after=after)
    record = hold_against(tmp_path / "alone", tmp_path / "dense")
    assert record.fidelity == both.fidelity and record.dense.accuracy == both.dense.accuracy
    assert Record.read(tmp_path / "alone").pruned.latency_ms is None
    runs = [tmp_path / "alone", tmp_path / "dense"]
    time_against(runs, tmp_path / "dense")
    timed, itself = map(Record.read, runs)
    assert timed.pruned.latency_ms and timed.dense.latency_ms == itself.pruned.latency_ms
    time_against(runs, tmp_path / "dense")
    assert list(map(Record.read, runs)) == [timed, itself], "measured once"


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_from_scratch(granularity: str, tmp_path: Path) -> None:
    """The same shape or mask, fresh weights, the same steps."""
    after = After(onnx=False, latency=False)
    given = {"granularity": granularity, "reference": "none", "budget": Budget(groups=0.3)}
    found = prune(config(**given), tmp_path / "found", progress=False, after=after)
    again = prune(
        config(**given, method="scratch", options={"of": "found"}), tmp_path / "again", progress=False, after=after
    )
    assert [r.kept for r in again.layers] == [r.kept for r in found.layers]
    assert again.train.steps["total"] == found.train.steps["total"]
    a, b = (load(tmp_path / name / "artifact").state_dict() for name in ("found", "again"))
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    if granularity == "weight":
        assert torch.equal(a["fc1.weight"] == 0, b["fc1.weight"] == 0)
    cut, gated = (Record.read(tmp_path / "again").__getattribute__(n) for n in ("cut", "gated"))
    assert cut.accuracy < 0.4 and gated.accuracy < 0.4, "nothing had been learned"
    # By path too, and from elsewhere.
    path = str(tmp_path / "found")
    elsewhere = config(**given, method="scratch", options={"of": path})
    assert prune(elsewhere, tmp_path / "x" / "y", progress=False, after=after).pruned.accuracy == again.pruned.accuracy


def test_from_scratch_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="needs of="):
        prune(config(method="scratch"), tmp_path / "a", progress=False)
    with pytest.raises(RunError, match="no finished run lies there"):
        prune(config(method="scratch", reference="none", options={"of": "nowhere"}), tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()
    prune(config(reference="none"), tmp_path / "b", progress=False, after=LATER)
    other = config(
        method="scratch", reference="none", granularity="weight", budget=Budget(groups=0.3), options={"of": "b"}
    )
    with pytest.raises(RunError, match="this model has"):
        prune(other, tmp_path / "c", progress=False)
