"""Whole comparisons on digits: complete, repeatable, continued after kills, and judged by their records."""

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
from secateurs.compare import How, asked, compare, summed_up
from secateurs.compare.carry import Place
from secateurs.compare.pool import Processes
from secateurs.compare.workers import share
from secateurs.errors import DataError, RunError, UnknownNameError
from secateurs.records import CLOCKS, Comparison, Record
from secateurs.spec import Budget

QUIET = How(progress=False, threads=1)


def wanted(**given: Any) -> Any:
    base = {"model": "zoo:mlp-digits", "data": "digits", "methods": ("taylor",), "budgets": (Budget(macs=0.3),)}
    return asked(
        **{**base, "seeds": (0, 1), "epochs": 2, "grid": ({"lr": 1e-3}, {"lr": 5e-3}), "scratch": ("taylor",), **given}
    )


def told(found: Comparison) -> dict[str, Any]:
    """What does not depend on clocks."""
    runs = [run.model_dump(exclude={*CLOCKS, "command"}) for run in found.runs]
    rows = [(r.method, r.figures.get("accuracy"), r.against, r.best) for b in found.blocks for r in b.rows]
    return {"runs": runs, "rows": rows, "sentences": [b.sentence for b in found.blocks]}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    folder = tmp_path_factory.mktemp("compared") / "c"
    return compare(wanted(), folder, QUIET), folder


def test_a_comparison_is_whole(done: tuple[Comparison, Path]) -> None:
    found, folder = done
    assert found.missing == 0 and not found.failures
    (block,) = found.blocks
    assert {r.method for r in block.rows} == {"taylor", "magnitude", "random", "scratch:taylor"}
    assert all(r.figures["accuracy"].n == 2 for r in block.rows) and found.dense is not None
    assert block.rows == sorted(block.rows, key=lambda r: -r.figures["accuracy"].mean)
    for row in block.rows:
        assert (row.against is None) == (row.method == "magnitude")
        assert {"macs", "params", "latency", "latency_ms", "worst_drop", "agreement", "kl", "membership_auc"} <= set(
            row.figures
        )
        assert row.figures["macs"].mean <= 0.3 * found.dense.figures["macs"].mean
    assert set(block.flipped) == {r.method for r in block.rows}
    assert len(block.exemplars) <= 24 and all(e.dense != e.pruned for e in block.exemplars)
    assert all(e.picture.startswith("data:image/png") for e in block.exemplars)
    steps = {Record.read(folder / run.folder).train.steps["total"] for run in found.runs}
    assert steps == {found.steps}, "equal steps for all"


def test_the_figures_are_those_of_the_records(done: tuple[Comparison, Path]) -> None:
    found, folder = done
    for run in found.runs:
        record = Record.read(folder / run.folder)
        assert record.config_hash == run.hash and record.pruned.accuracy == run.accuracy
        assert record.pruned.macs == run.macs and record.validation == run.validation
        if run.method != "dense":
            dense = next(r for r in found.runs if r.method == "dense" and r.seed == run.seed)
            assert record.dense.accuracy == dense.accuracy and record.fidelity is not None
    trials = [f for f in (folder / "runs").iterdir() if f.name not in {r.hash for r in found.runs}]
    assert trials and all(Record.read(f).pruned.accuracy is None for f in trials), "trials do not read the test set"
    for row in found.blocks[0].rows:
        seeds = [r for r in found.runs if r.method == row.method]
        chosen = [r for r in seeds if r.seed == 0]
        same = [t for t in trials if Record.read(t).method == row.method]
        assert all((Record.read(t).validation or 0) <= (chosen[0].validation or 0) for t in same)


def test_nothing_is_run_twice_and_more_is_added(done: tuple[Comparison, Path]) -> None:
    found, folder = done
    before = {f: f.stat().st_mtime_ns for f in (folder / "runs").glob("*/record.json")}
    assert compare(wanted(), folder, QUIET) == found
    more = compare(wanted(budgets=(Budget(macs=0.6),), scratch=()), folder, QUIET)
    assert [b.budget for b in more.blocks] == ["macs=0.3", "macs=0.6"]
    assert {f: f.stat().st_mtime_ns for f in before} == before
    assert told(more)["rows"][: len(told(found)["rows"])] == told(found)["rows"]
    assert summed_up(folder) == more


def test_processes_give_what_one_gives(done: tuple[Comparison, Path], tmp_path: Path) -> None:
    """Side by side, and with one of them killed in the middle of a run."""
    first = [b for b in done[0].blocks if b.budget == "macs=0.3"]
    place = Place(tmp_path / "c", 1)
    killed: list[int] = []

    class Killing(Processes):
        def submit(self, job: Any) -> None:
            super().submit(job)
            if not killed and job.test and job.label == "taylor":
                worker = next(w for w in self._workers if w.job is job)
                time.sleep(0.1)
                killed.append(worker.process.pid)
                os.kill(worker.process.pid, signal.SIGKILL)

    from secateurs.compare import sweep

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "make_pool", lambda place, jobs, ray: Killing(place, jobs))
        found = compare(wanted(), place.folder, How(jobs=2, threads=1, progress=False))
    assert killed and not found.failures
    ours, theirs = told(found), told(done[0])
    assert ours["sentences"] == theirs["sentences"][: len(first)]
    assert ours["rows"] == theirs["rows"][: len(ours["rows"])]


def test_failures_are_listed_and_stay(tmp_path: Path) -> None:
    """bn-scale has nothing to look at in this network; the others go on."""
    request = wanted(methods=("bn-scale",), scratch=(), seeds=(0,), grid=({},))
    found = compare(request, tmp_path / "c", QUIET)
    (failure,) = found.failures
    assert failure.method == "bn-scale" and "BatchNorm" in failure.error
    assert next(r for r in found.blocks[0].rows if r.method == "bn-scale").failed == 1
    assert found.missing == 0 and len(found.runs) == 3
    path = tmp_path / "c" / "failures" / f"{failure.hash}.json"
    stamp = path.stat().st_mtime_ns
    compare(request, tmp_path / "c", QUIET)
    assert path.stat().st_mtime_ns == stamp, "not tried again unasked"
    left = tmp_path / "c" / "runs" / failure.hash
    left.mkdir(exist_ok=True)
    (left / "checkpoint.safetensors").write_bytes(b"of another release")
    compare(request, tmp_path / "c", How(progress=False, threads=1, retry=True))
    assert path.stat().st_mtime_ns != stamp and not (left / "checkpoint.safetensors").exists()


def test_a_process_that_always_dies_is_given_up(tmp_path: Path) -> None:
    model = tmp_path / "dying.py"
    model.write_text(
        "import os\nimport torch\nfrom torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.a, self.b = nn.Linear(64, 8), nn.Linear(8, 10)\n"
        "    def forward(self, x):\n        if torch.is_grad_enabled() and self.training and os.environ.get('DIE'):\n"
        "            os.kill(os.getpid(), 9)\n        return self.b(self.a(x.flatten(1)).relu())\n\n"
        "def build():\n    return Net()\n"
    )
    request = wanted(model=f"{model}:build", scratch=(), seeds=(0,), grid=({},))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIE", "1")
        found = compare(request, tmp_path / "c", How(jobs=2, threads=1, progress=False))
    assert found.failures and all("SIGKILL, 3 times" in f.error for f in found.failures) and not found.runs
    found = compare(request, tmp_path / "c", How(jobs=1, threads=1, progress=False, retry=True))
    assert not found.failures and len(found.runs) == 4


def test_wrong_input_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data 'digit'"):
        compare(wanted(data="digit"), tmp_path / "c", QUIET)
    with pytest.raises(UnknownNameError, match="did you mean"):
        compare(wanted(model="zoo:mlp-digit"), tmp_path / "c", QUIET)
    assert not (tmp_path / "c").exists()
    with pytest.raises(RunError, match="no comparison in"):
        summed_up(tmp_path)


def test_the_command(done: tuple[Comparison, Path], tmp_path: Path) -> None:
    folder = done[1]
    args = ["compare", "--out", str(folder), "--threads", "1", "--markdown", str(tmp_path / "page.md")]
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "taylor" in result.stdout and "half of the 95% interval" in result.stdout
    assert (folder / "comparison.html").exists() and (tmp_path / "page.md").exists()
    found = summed_up(folder)
    for run in found.runs:
        page = (folder / run.folder / "report.html").read_text(encoding="utf-8")
        assert 'src="../../plotly.js"' in page and len(page) < 1_000_000
    assert (folder / "plotly.js").exists()
    as_json = CliRunner().invoke(app, [*args[:3], "--json"], catch_exceptions=False)
    assert Comparison.model_validate_json(as_json.stdout).runs == found.runs


WHOLE = ["--model", "zoo:mlp-digits", "--data", "digits", "--methods", "taylor", "--budgets", "macs=0.5"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model", "zoo:mlp-digits"], "holds no comparison to go on with"),
        (["--model", "m", "--data", "digits", "--budgets", "macs=0.5"], "--methods names none"),
        (["--model", "m", "--data", "digits", "--methods", "taylor", "--seeds", "x"], "write how many"),
        (["--model", "m", "--data", "digits", "--methods", "taylor", "--seeds", "0"], "at least one"),
        (["--model", "m", "--data", "digits", "--methods", "taylor", "--grid", "lr"], "NAME=VALUE,VALUE"),
        (["--model", "zoo:mlp-digits", "--data", "digits", "--methods", "taylor"], "at least one budget"),
        ([*WHOLE, "--markdown", "page"], "ends in .md"),
        ([*WHOLE, "--budgets", "macs=0.00001"], "cannot be reached; the smallest reachable here is"),
        ([*WHOLE, "--drop", "macs=0.5"], "holds no comparison to take anything out of"),
        ([*WHOLE, "--no-tune", "--grid", "lr=1,2"], "leave one of them out"),
        ([*WHOLE, "--set", "cut=high"], "option cut='high' of method 'taylor'"),
        ([*WHOLE, "--granularity", "channels"], "--granularity channels"),
    ],
)
def test_commands_that_cannot_be(args: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", "--out", str(tmp_path / "c"), *args])
    assert result.exit_code != 0 and said in str(result.exception)
    assert not (tmp_path / "c").exists()


def test_a_folder_grows_and_shrinks_by_what_is_named(tmp_path: Path) -> None:
    """bn-scale has nothing to look at in this network: alone at a budget it is no result, and it can be taken out."""
    folder = tmp_path / "c"
    start = [*WHOLE[:4], "--methods", "bn-scale", "--against", "bn-scale", "--scratch", "none", "--no-tune"]
    start += ["--budgets", "macs=0.3", "--seeds", "1", "--epochs", "1", "--threads", "1", "--out", str(folder)]
    result = CliRunner().invoke(app, ["compare", *start])
    assert isinstance(result.exception, RunError) and "no method has a finished run at macs=0.3" in str(
        result.exception
    )
    assert (folder / "comparison.html").exists(), "what failed is told"

    def more(*words: str) -> Comparison:
        done = CliRunner().invoke(app, ["compare", "--out", str(folder), "--threads", "1", "--json", *words])
        return Comparison.model_validate_json(done.stdout)

    grown = more("--methods", "taylor", "--seeds", "2")
    assert grown.methods == ["bn-scale", "random", "taylor"] and grown.seeds == [0, 1] and grown.epochs == 1
    assert len(grown.runs) == 6 and len(grown.failures) == 2
    again = more("--budgets", "macs=0.5", "--drop", "macs=0.3", "--drop", "seed=1")
    assert [b.budget for b in again.blocks] == ["macs=0.5"] and again.seeds == [0]
    assert len(again.runs) == 3 and len(again.failures) == 1
    refused = CliRunner().invoke(app, ["compare", "--out", str(folder), "--epochs", "2"])
    assert "--epochs 1, and this one has --epochs 2" in str(refused.exception)


def test_a_record_that_was_broken_is_made_again(tmp_path: Path) -> None:
    request = wanted(seeds=(0,), grid=({},), scratch=(), epochs=1)
    found = compare(request, tmp_path / "c", QUIET)
    path = tmp_path / "c" / found.runs[1].folder / "record.json"
    whole = path.read_text(encoding="utf-8")
    for broken in (whole[:100], "{}"):
        path.write_text(broken, encoding="utf-8")
        again = compare(request, tmp_path / "c", QUIET)
        assert not again.failures and told(again) == told(found)
    failures = tmp_path / "c" / "failures"
    failures.mkdir(exist_ok=True)
    for broken in ("", "[]", "{}", '{"error": "e"}'):
        (failures / f"{found.runs[1].hash}.json").write_text(broken, encoding="utf-8")
        (tmp_path / "c" / "answers.json").write_text(broken, encoding="utf-8")
        assert told(compare(request, tmp_path / "c", QUIET)) == told(found)


def test_latencies_are_compared_within_a_round(done: tuple[Comparison, Path]) -> None:
    found, folder = done
    for run in found.runs:
        record = Record.read(folder / run.folder)
        if run.method == "dense":
            assert run.latency == 1.0
        else:
            assert record.pruned.latency_ms is not None and record.dense.latency_ms is not None
            assert run.latency == record.pruned.latency_ms / record.dense.latency_ms


def test_killed_at_any_moment_nothing_finished_is_lost(tmp_path: Path) -> None:
    """The small version of benchmarks.compare_kills."""
    folder = tmp_path / "c"
    code = [sys.executable, "-m", "secateurs", "compare", "--model", "zoo:mlp-digits", "--data", "digits"]
    code += ["--methods", "taylor", "--budgets", "macs=0.3", "--seeds", "2", "--epochs", "3", "--no-tune"]
    code += ["--jobs", "2", "--threads", "1", "--out", str(folder)]
    finished: dict[str, str] = {}
    for wait in (4.0, 5.5):
        process = subprocess.Popen(code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.kill()
        process.wait()
        now = {p.parent.name: p.read_text(encoding="utf-8") for p in folder.glob("runs/*/record.json")}
        for name, text in finished.items():
            before, after = (json.loads(t)["pruned"]["accuracy"] for t in (text, now[name]))
            assert before in (None, after)
        finished = now
    result = subprocess.run(code, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    found = summed_up(folder)
    assert found.missing == 0 and not found.failures and len(found.runs) == 10
    undisturbed = compare(wanted(epochs=3, grid=({},)), tmp_path / "d", QUIET)
    assert told(found)["rows"] == told(undisturbed)["rows"]


def test_threads_are_shared() -> None:
    assert share(1) >= share(2) >= 1 and share(10_000) == 1
