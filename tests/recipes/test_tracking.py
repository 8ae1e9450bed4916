"""Trackers hear of runs, read back from what they wrote; and a run does not depend on them."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from secateurs.compare import How, asked, compare
from secateurs.errors import MissingExtraError, RunInterrupted, UnknownNameError
from secateurs.recipes import RunConfig, Tracking, prune, read_names
from secateurs.recipes.tracking import NAMES, Told, end_values, title
from secateurs.records import Record
from secateurs.spec import Budget
from secateurs.training import Trainer

from .test_resume import without_timings

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

    assert (folder / "mlflow.db").exists()
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
        return out, prune(config(), out, progress=False, track=ALL)


def test_a_tracked_run_has_the_same_record(tracked: tuple[Path, Record], tmp_path: Path) -> None:
    plain = prune(config(), tmp_path / "plain", progress=False)
    ours, theirs = (without_timings(record.model_dump(mode="json")) for record in (tracked[1], plain))
    assert ours == theirs
    assert not (tmp_path / "plain" / "tracking").exists(), "off by default"


def test_a_record_counts_no_time_and_no_memory_of_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.tracking import TensorBoardTracker

    start, log = TensorBoardTracker.start, TensorBoardTracker.log

    def slow_start(self: Any) -> None:
        self.ballast = b"x" * 300_000_000
        time.sleep(1)
        start(self)

    def slow_log(self: Any, *given: Any, **named: Any) -> None:
        time.sleep(0.2)
        log(self, *given, **named)

    monkeypatch.setattr(TensorBoardTracker, "start", slow_start)
    monkeypatch.setattr(TensorBoardTracker, "log", slow_log)
    record = prune(config(), tmp_path / "run", progress=False, track="tensorboard")
    seconds = record.train.seconds
    assert seconds.dense_equivalent + seconds.game + seconds.recovery < 1 < 0.2 * len(record.history)
    assert record.peak_memory is None or record.peak_memory < 200_000_000


def test_tensorboard_shows_history_and_end(tracked: tuple[Path, Record]) -> None:
    out, record = tracked
    shown = scalars(out / "tracking" / title(config()))
    said = [(p.step, p.accuracy) for p in record.history if p.accuracy is not None]
    assert [step for step, _ in shown["validation/accuracy"]] == [step for step, _ in said]
    assert [v for _, v in shown["validation/accuracy"]] == pytest.approx([a for _, a in said])
    prices = [(p.step, p.price["macs"]) for p in record.history if p.price]
    assert [v for _, v in shown["price/macs"]] == pytest.approx([v for _, v in prices])
    assert shown["pruned/accuracy"] == [(record.train.steps["total"], pytest.approx(record.pruned.accuracy))]
    assert len(shown["validation/loss"]) == 4, "one an epoch"
    assert shown["budget/macs"][0][1] == pytest.approx(record.targets["macs"])


def test_tensorboard_has_one_name_for_a_run_and_its_settings(tracked: tuple[Path, Record]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    folder = tracked[0] / "tracking"
    assert {path.parent.name for path in folder.rglob("events.out.*")} == {title(config())}
    read = EventAccumulator(str(folder / title(config())))
    read.Reload()
    data = HParamsPluginData.FromString(read.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    told = data.session_start_info.hparams
    assert told["method"].string_value == "equilibrium" and told["lr"].number_value == 0.002


def test_the_loss_is_told_as_it_is_read(tmp_path: Path) -> None:
    given = config(method="taylor", epochs=12)
    prune(given, tmp_path / "run", progress=False, track="tensorboard")
    shown = scalars(tmp_path / "run" / "tracking" / title(given))["recent_loss"]
    assert [step for step, _ in shown] == [49, 99] and shown[0][1] > shown[1][1] > 0


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


def stopped_after(epoch: int, how: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings do ``how`` at the end of an epoch."""
    end = Trainer._end_epoch

    def stopping(self: Trainer, at: int) -> dict[str, float]:
        found = end(self, at)
        if at == epoch:
            how()
        return found

    monkeypatch.setattr(Trainer, "_end_epoch", stopping)


def fail() -> None:
    raise ValueError("something of the user's")


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(1, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)
        with pytest.raises(RunInterrupted):
            prune(config(), out, progress=False, track=ALL)
    _, (run,) = mlflow_runs(out / "tracking", "secateurs")
    assert run.info.status == "KILLED"
    record = prune(config(), out, resume=True, progress=False, track=ALL)
    client, (run,) = mlflow_runs(out / "tracking", "secateurs")
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "sparsity")]
    assert steps == [p.step for p in record.history] and run.info.status == "FINISHED"
    shown = scalars(out / "tracking" / title(config()))["sparsity"]
    assert [step for step, _ in shown] == steps
    parts = [path.name for path in (out / "tracking" / "wandb").glob("offline-run-*/run-*.wandb")]
    assert len(parts) == 2 and len(set(parts)) == 1, "two parts of one run"


def test_what_was_told_before_a_kill_is_not_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint of a killed process lies before what it told last."""
    import secateurs.training.trainer as module

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        save = module.save_if_due
        patch.setattr(module, "save_if_due", lambda trainer: save(trainer) if trainer.step == 10 else None)
        stopped_after(2, fail, patch)
        with pytest.raises(ValueError, match="of the user's"):
            prune(config(), out, progress=False, track=("tensorboard", "mlflow"))
    assert (out / "checkpoint.safetensors").exists()
    client, (run,) = mlflow_runs(out / "tracking", "secateurs")
    assert run.info.status == "FAILED"
    record = prune(config(), out, resume=True, progress=False, track=("tensorboard", "mlflow"))
    told = [m.step for m in client.get_metric_history(run.info.run_id, "sparsity")]
    assert told == [p.step for p in record.history]
    assert [step for step, _ in scalars(out / "tracking" / title(config()))["sparsity"]] == told


def test_a_run_that_failed_gives_its_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after(0, fail, monkeypatch)
    with pytest.raises(ValueError, match="of the user's"):
        prune(config(), tmp_path / "run", progress=False, track=ALL)
    assert not (tmp_path / "run").exists()


def test_mlflow_is_left_as_it_was(tmp_path: Path) -> None:
    """Two runs of one process, each with its database; and one in place of another."""
    import mlflow

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="tracker")
        for seed, force in ((0, False), (1, False), (1, True)):
            out = tmp_path / str(seed)
            prune(config(seed=seed, epochs=2), out, progress=False, force=force, track="mlflow")
            _, (run,) = mlflow_runs(out / "tracking", "secateurs")
            assert run.data.params["seed"] == str(seed) and "pruned/accuracy" in run.data.metrics
    assert not mlflow.is_tracking_uri_set() and mlflow.active_run() is None
    assert not {"MLFLOW_TRACKING_URI", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"} & set(os.environ)


def test_a_run_of_the_callers_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    import wandb

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mine.db'}")
    own = wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    with mlflow.start_run() as run:
        prune(config(epochs=2), tmp_path / "run", progress=False, track=("mlflow", "wandb"))
        assert mlflow.active_run().info.run_id == run.info.run_id and wandb.run is own
        own.log({"still": 1})
        assert "method" not in own.config
    own.finish()
    client = mlflow.MlflowClient()
    assert "pruned/accuracy" not in client.get_run(run.info.run_id).data.metrics
    (theirs,) = [e for e in client.search_experiments() if e.name == "secateurs"]
    (ours,) = client.search_runs([theirs.experiment_id])
    assert "pruned/accuracy" in ours.data.metrics and ours.info.status == "FINISHED"
    assert str(tmp_path / "run") not in theirs.artifact_location, "where files go is for the store to say"
    (kept,) = (tmp_path / "run" / "tracking" / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"mlp-digits" in kept.read_bytes(), "its settings"


@pytest.mark.parametrize("moment", ["start", "store_init_configuration", "log", "finish"])
def test_a_tracker_that_fails_loses_nothing(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.tracking import MLflowTracker

    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the server")

    monkeypatch.setattr(MLflowTracker, moment, refuse)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"tracker mlflow failed .*no route to the server") as said:
        record = prune(config(), out, progress=False, track=("mlflow", "tensorboard"))
    assert len([w for w in said if "mlflow failed" in str(w.message)]) == 1, "said once"
    assert record.pruned.accuracy is not None
    shown = scalars(out / "tracking" / title(config()))
    assert len(shown["sparsity"]) == len(record.history), "the other one hears everything"
    import mlflow

    assert moment == "finish" or mlflow.active_run() is None
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing beside it, in MLflow's own place"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{out / 'tracking' / 'mlflow.db'}")
    while mlflow.active_run() is not None:
        mlflow.end_run()


def test_without_a_login_wandb_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.warns(UserWarning, match="kept offline"), Told(Tracking(("wandb",), tmp_path), config(), tmp_path) as t:
        t.moment(1, 1, {"loss": 1.0})
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_wrong_and_missing_trackers_are_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mlflow'"):
        prune(config(), tmp_path / "a", track=("mlfow",))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"secateurs\[track\]"):
        prune(config(), tmp_path / "a", track=("wandb",))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "alembic", None)
        with pytest.raises(MissingExtraError, match=r"'alembic' is needed here"):
            prune(config(), tmp_path / "a", track=("mlflow",))
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        Tracking(("mlflow",)).require()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(MissingExtraError, match=r"'tensorboard' is needed here"):
            prune(config(), tmp_path / "a", track=("tensorboard",))
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
    assert NAMES == ALL
    assert Tracking.of("tensorboard,wandb").names == ("tensorboard", "wandb")
