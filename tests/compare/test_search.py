"""A search: what it proposes, that it goes on where it was stopped, and that it chooses on validation data alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secateurs.cli.app import app
from secateurs.compare import How, Search, asked, compare
from secateurs.compare.request import Asked, Found
from secateurs.compare.schedule import DENSE, Cell, Schedule
from secateurs.compare.search import STUDIES, TRIED, Study, tried
from secateurs.compare.space import space
from secateurs.errors import MissingExtraError, RunError
from secateurs.records import Comparison, Record
from secateurs.spec import Budget

QUIET = How(progress=False, threads=1)
BUDGET = Budget(macs=0.3)
TRIALS = 5
ARGUMENTS = [
    "compare", "--model", "zoo:mlp-digits", "--data", "digits", "--methods", "taylor,snip", "--budgets", "macs=0.3",
    "--search", "--trials", str(TRIALS), "--seeds", "2", "--epochs", "2", "--threads", "1",
]  # fmt: skip


def wanted(**given: Any) -> Asked:
    base: dict[str, Any] = {"model": "zoo:mlp-digits", "data": "digits", "methods": ("taylor", "snip"), "epochs": 2}
    base |= {"budgets": (BUDGET,), "seeds": (0, 1), "search": Search(trials=TRIALS), "scratch": ("taylor", "snip")}
    return asked(**{**base, **given})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    folder = tmp_path_factory.mktemp("searched") / "c"
    return compare(wanted(), folder, QUIET), folder


def test_defaults_are_tried_first_and_the_best_is_chosen(done: tuple[Comparison, Path]) -> None:
    found, _ = done
    rows = sorted(found.tried, key=lambda row: row.number)
    assert [row.number for row in rows] == list(range(TRIALS))
    assert [row.method for row in rows[:3]] == ["taylor", "snip", "magnitude"]
    assert "random" not in {row.method for row in rows}, "a control is no choice"
    assert rows[0].options == {"lr": 1e-3, "recovery_lr": 5e-3, "cut": 0.5}
    assert "cut" not in rows[1].options, "snip cuts before training"
    (best,) = [row for row in rows if row.chosen]
    assert best.validation == max(row.validation for row in rows if row.validation is not None)
    assert found.tried == sorted(found.tried, key=lambda row: -(row.validation or 0))


def test_what_was_chosen_is_compared_beside_its_controls(done: tuple[Comparison, Path]) -> None:
    found, folder = done
    (best,) = [row for row in found.tried if row.chosen]
    (block,) = found.blocks
    assert {row.method for row in block.rows} == {best.method, f"scratch:{best.method}", "magnitude", "random"}
    assert found.dense is not None and found.missing == 0 and not found.failures
    (row,) = [row for row in block.rows if row.method == best.method]
    assert row.options == best.options and row.figures["accuracy"].n == 2
    compared = {run.hash for run in found.runs}
    assert best.hash in compared, "the trial itself is the run of the first seed"
    for trial in found.tried:
        record = Record.read(folder / "runs" / trial.hash)
        assert record.validation == trial.validation
        assert (record.pruned.accuracy is not None) == (trial.hash in compared), "trials do not read the test set"


def test_the_same_search_again_tries_nothing_and_a_longer_one_goes_on(done: tuple[Comparison, Path]) -> None:
    found, folder = done
    times = {path.name: (path / "record.json").stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    again = compare(wanted(), folder, QUIET)
    assert again.tried == found.tried and again.blocks == found.blocks
    assert times == {path.name: (path / "record.json").stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    more = compare(wanted(search=Search(trials=TRIALS + 2)), folder, QUIET)
    assert len(more.tried) == TRIALS + 2
    kept = {row.number: row for row in more.tried}
    assert all(kept[row.number].options == row.options for row in found.tried)


def test_other_methods_or_no_search_do_not_fit_in(done: tuple[Comparison, Path]) -> None:
    _, folder = done
    with pytest.raises(RunError, match="--methods"):
        compare(wanted(methods=("taylor", "fisher"), scratch=()), folder, QUIET)
    with pytest.raises(RunError, match=r"--search, and this one has no --search"):
        compare(wanted(search=None), folder, QUIET)


def test_killed_in_the_middle_it_ends_as_if_undisturbed(done: tuple[Comparison, Path], tmp_path: Path) -> None:
    undisturbed = sorted((row for row in done[0].tried), key=lambda row: row.number)
    folder, kills = tmp_path / "c", 0
    command = [sys.executable, "-m", "secateurs", *ARGUMENTS, "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for ended in (1, 3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        late = time.monotonic() + 200
        while len(tried(folder)) < ended and process.poll() is None and time.monotonic() < late:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills
    result = CliRunner().invoke(app, [*ARGUMENTS, "--json", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    rows = sorted((row for row in tried(folder)), key=lambda row: row.number)
    assert [(r.number, r.hash, r.validation) for r in rows] == [
        (r.number, r.hash, r.validation) for r in undisturbed if r.number < TRIALS
    ]


def test_a_trial_that_was_proposed_and_never_told_is_proposed_again(tmp_path: Path) -> None:
    import optuna

    request = wanted()
    axes = space(request)
    url = f"sqlite:///{tmp_path / STUDIES}"
    first = Study(request, BUDGET, axes, optuna.storages.RDBStorage(url))
    _, number, job = next(first.proposals())
    _, again, same = next(Study(request, BUDGET, axes, optuna.storages.RDBStorage(url)).proposals())
    assert (number, job.key) == (again, same.key)
    bare = Study(request, BUDGET, axes, optuna.storages.RDBStorage(url))
    lost = bare._study.ask()  # killed before it was told anything
    numbers = [n for _, n, _ in (p for p, _ in zip(bare.proposals(), range(2)))]
    assert numbers == [number, lost.number]


def test_side_by_side(tmp_path: Path) -> None:
    found = compare(wanted(seeds=(0,)), tmp_path / "c", How(jobs=2, threads=1, progress=False))
    assert sorted(row.number for row in found.tried) == list(range(TRIALS)) and found.missing == 0


def test_failures_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = compare(
        wanted(methods=("bn-scale", "taylor"), scratch=(), search=Search(trials=3), seeds=(0,)), tmp_path / "c", QUIET
    )
    failed = [row for row in found.tried if row.error]
    assert [row.method for row in failed] == ["bn-scale"] and "BatchNorm" in failed[0].error
    assert found.tried[-1] == failed[0] and not failed[0].chosen


def test_where_nothing_can_be_tried_the_reason_is_told(tmp_path: Path) -> None:
    request = wanted(methods=("bn-scale",), against="bn-scale", scratch=(), search=Search(trials=1), seeds=(0,))
    with pytest.raises(RunError, match=r"macs=0\.3 could be carried out.*BatchNorm"):
        compare(request, tmp_path / "c", QUIET)


def test_controls_train_as_usual_or_as_the_choice_does() -> None:
    chosen = {"lr": 0.002, "recovery_lr": 0.01, "cut": 0.3}
    request = wanted().model_copy(update={"found": (Found(method="taylor", budget=BUDGET, options=chosen),)})
    shared = ({}, {"lr": 0.002, "recovery_lr": 0.01})
    schedule = Schedule(request, {})
    assert request.contenders(BUDGET) == ("taylor", "magnitude", "random") and request.sources(BUDGET) == ("taylor",)
    assert schedule.points(Cell("taylor", BUDGET)) == (chosen,)
    assert schedule.points(Cell("random", BUDGET)) == shared
    assert schedule.points(DENSE) == ({}, {"lr": 0.002}), "it recovers from nothing"
    assert schedule.points(Cell("random", Budget(macs=0.1))) == ({},)


def test_the_space_leaves_out_what_is_given_and_takes_what_is_listed() -> None:
    axes = space(wanted(options={"lr": 0.01}, search=Search(values={"cut": (0.2, 0.6), "power": (1.0, 2.0)}),
                        methods=("taylor", "gradual", "snip")))  # fmt: skip
    assert "lr" not in axes["taylor"] and axes["taylor"]["cut"].choices == (0.2, 0.6)
    assert axes["gradual"]["power"].choices == (1.0, 2.0) and "power" not in axes["snip"]
    with pytest.raises(RunError, match=r"no option|option 'travell'.*travel"):
        space(wanted(methods=("equilibrium",), search=Search(values={"travell": (1.0,)})))


def test_the_command_prints_what_it_tried(done: tuple[Comparison, Path], tmp_path: Path) -> None:
    _, folder = done
    page = tmp_path / "c.md"
    trials = str(max(TRIALS, len(tried(folder))))
    arguments = [trials if a == str(TRIALS) else a for a in ARGUMENTS]
    result = CliRunner().invoke(app, [*arguments, "--out", str(folder), "--markdown", str(page)])
    assert result.exit_code == 0, result.output
    assert "what the search tried" in result.output and "proposed by Optuna" in page.read_text()
    assert "## What the search tried" in page.read_text()
    assert "What the search tried" in (folder / "comparison.html").read_text()
    assert len(json.loads((folder / TRIED).read_text())) == int(trials)


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="search"):
        compare(wanted(), tmp_path / "c", QUIET)
    assert not (tmp_path / "c").exists(), "said before anything is written"


def test_a_study_with_other_choices_is_not_gone_on_with(tmp_path: Path) -> None:
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / STUDIES}")
    request = wanted()
    axes = space(request)
    next(Study(request, BUDGET, axes, storage).proposals())
    fewer = {name: axes[name] for name in ("taylor", "magnitude")}
    with pytest.raises(RunError, match=r"begun with other choices .*another --out"):
        list(zip(Study(request, BUDGET, fewer, storage).proposals(), range(3)))


def test_trials_belong_to_a_search(tmp_path: Path) -> None:
    words = [word for word in ARGUMENTS if word != "--search"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "c")])
    assert result.exit_code != 0 and "--search" in str(result.exception or result.output)
