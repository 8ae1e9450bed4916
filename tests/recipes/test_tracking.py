"""Trackers hear of runs, read back from what they wrote; and a run does not depend on them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from secateurs.compare import How, asked, compare
from secateurs.errors import MissingExtraError, RunInterrupted, UnknownNameError
from secateurs.recipes import RunConfig, Tracking, prune, read_names
from secateurs.recipes.tracking import NAMES, Told, end_values, title
from secateurs.records import HistoryPoint, Record
from secateurs.spec import Budget
from secateurs.training import Trainer

ALL = ("tensorboard", "mlflow", "wandb")


def config(**given: Any) -> RunConfig:
    base: dict[str, Any] = {"model": "zoo:mlp-digits", "data": "digits", "budget": Budget(macs=0.3), "epochs": 4}
    return RunConfig(**{**base, "reference": "none", "options": {"lr": 0.002}, **given})


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def mlflow_runs(folder: Path, experiment: str) -> tuple[Any, list[Any]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return client, list(client.search_runs([found.experiment_id]))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        out = tmp_path_factory.mktemp("tracked") / "run"
        return out, prune(config(), out, progress=False, tracking=Tracking(ALL, out / "tracking"))


def test_a_tracked_run_has_the_same_record(tracked: tuple[Path, Record], tmp_path: Path) -> None:
    plain = prune(config(), tmp_path / "plain", progress=False)
    assert plain.pruned.accuracy == tracked[1].pruned.accuracy and plain.history == tracked[1].history
    assert plain.config_hash == tracked[1].config_hash
    assert not (tmp_path / "plain" / "tracking").exists(), "off by default"


def test_tensorboard_shows_history_and_end(tracked: tuple[Path, Record]) -> None:
    out, record = tracked
    shown = scalars(out / "tracking" / title(config()))
    said = [(p.step, p.accuracy) for p in record.history if p.accuracy is not None]
    assert [step for step, _ in shown["validation/accuracy"]] == [step for step, _ in said]
    assert [v for _, v in shown["validation/accuracy"]] == pytest.approx([a for _, a in said])
    prices = [(p.step, p.price["macs"]) for p in record.history if p.price]
    assert [v for _, v in shown["price/macs"]] == pytest.approx([v for _, v in prices])
    assert shown["pruned/accuracy"] == [(record.train.steps["total"], pytest.approx(record.pruned.accuracy))]


def test_mlflow_keeps_settings_history_and_end(tracked: tuple[Path, Record]) -> None:
    out, record = tracked
    client, (run,) = mlflow_runs(out / "tracking", "secateurs")
    assert run.info.run_name == title(config()) and run.info.status == "FINISHED"
    assert run.data.params["method"] == "equilibrium" and run.data.params["lr"] == "0.002"
    assert run.data.params["budget"] == "macs=0.3"
    for name, value in end_values(record).items():
        assert run.data.metrics[name] == pytest.approx(value)
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "sparsity")]
    assert steps == [p.step for p in record.history]


def test_wandb_keeps_a_run_offline(tracked: tuple[Path, Record]) -> None:
    (kept,) = (tracked[0] / "tracking" / "wandb").glob("offline-run-*/run-*.wandb")
    text = kept.read_bytes()
    assert b"validation/accuracy" in text and title(config()).encode() in text and b"pruned/macs" in text


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    tracking = Tracking(("tensorboard", "mlflow"), out / "tracking")
    with monkeypatch.context() as patch:
        update = Trainer._end_epoch

        def stopping(self: Trainer, epoch: int) -> dict[str, float]:
            found = update(self, epoch)
            if epoch == 1:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGTERM)
            return found

        patch.setattr(Trainer, "_end_epoch", stopping)
        with pytest.raises(RunInterrupted):
            prune(config(), out, progress=False, tracking=tracking)
    record = prune(config(), out, resume=True, progress=False, tracking=tracking)
    client, (run,) = mlflow_runs(out / "tracking", "secateurs")
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "sparsity")]
    assert steps == [p.step for p in record.history] and run.info.status == "FINISHED"
    shown = scalars(out / "tracking" / title(config()))["sparsity"]
    assert [step for step, _ in shown] == steps


@pytest.mark.parametrize("moment", ["start", "log", "finish"])
def test_a_tracker_that_fails_loses_nothing(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.tracking import MLflowTracker

    def fail(self: Any, *_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the server")

    monkeypatch.setattr(MLflowTracker, moment, fail)
    out = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"tracker mlflow failed .*no route to the server") as said:
        record = prune(config(), out, progress=False, tracking=Tracking(("mlflow", "tensorboard"), out / "tracking"))
    assert len([w for w in said if "mlflow failed" in str(w.message)]) == 1, "said once"
    assert record.pruned.accuracy is not None
    shown = scalars(out / "tracking" / title(config()))
    assert len(shown["sparsity"]) == len(record.history), "the other one hears everything"


def test_without_a_login_wandb_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    point = HistoryPoint(step=1, epoch=0.1, phase="training", sparsity=0.0, mean_participation=1.0, active=3)
    with pytest.warns(UserWarning, match="kept offline"), Told(Tracking(("wandb",), tmp_path), config(), tmp_path) as t:
        t.point(point)
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_wrong_and_missing_trackers_are_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mlflow'"):
        prune(config(), tmp_path / "a", tracking=Tracking(("mlfow",)))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"secateurs\[track\]"):
        prune(config(), tmp_path / "a", tracking=Tracking(("wandb",)))
    request = asked(model="zoo:mlp-digits", data="digits", methods=("taylor",), budgets=(Budget(macs=0.3),))
    with pytest.raises(MissingExtraError, match=r"secateurs\[track\]"):
        compare(request, tmp_path / "c", How(track=("wandb",), progress=False))
    assert not list(tmp_path.iterdir())


def test_a_comparison_is_tracked_in_one_place(tmp_path: Path) -> None:
    """Two processes at once; a trial that is chosen is told of again, with what the test set said."""
    grid = ({"lr": 1e-3}, {"lr": 5e-3})
    request = asked(
        model="zoo:mlp-digits", data="digits", methods=("taylor",), budgets=(Budget(macs=0.3),), seeds=(0,), grid=grid,
        epochs=2,
    )  # fmt: skip
    folder = tmp_path / "c"
    found = compare(request, folder, How(jobs=2, threads=1, track=("tensorboard", "mlflow"), progress=False))
    _, runs = mlflow_runs(folder / "tracking", "c")
    made = {path.name for path in (folder / "runs").iterdir()}
    assert {run.data.params["hash"] for run in runs} == made and len(runs) == len(made)
    told = {run.data.params["hash"]: run.data.metrics.get("pruned/accuracy") for run in runs}
    assert {h: a for h, a in told.items() if a is not None} == {r.hash: pytest.approx(r.accuracy) for r in found.runs}
    names = {path.name for path in (folder / "tracking").iterdir() if path.is_dir()} - {"mlflow"}
    assert len(names) == len(made)


def test_names_as_written() -> None:
    assert read_names(["tensorboard, wandb", "wandb"]) == ("tensorboard", "wandb")
    assert tuple(NAMES) == ALL
