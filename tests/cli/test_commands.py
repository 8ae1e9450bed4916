"""The command line as a user meets it: what is on standard output, exit codes, and errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secateurs.cli import main
from secateurs.records import Record

COMMANDS = ("prune", "inspect", "bench", "export", "report", "methods", "recoveries", "reproduce")
MODEL = """
from torch import nn
def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point; what reaches the file descriptors is what counts."""

    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["secateurs", *argv])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "mine.py"
    path.write_text(MODEL)
    return f"{path}:build"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: str) -> Path:
    from secateurs import Budget, RunConfig, prune
    from secateurs.report import write

    out = tmp_path_factory.mktemp("cli") / "run"
    prune(RunConfig(model=model, data="digits", budget=Budget(macs=0.4), epochs=2), out, progress=False)
    write(out)
    return out


def pruning(model: str, out: Path, *more: str) -> list[str]:
    return [
        "prune", "--model", model, "--data", "digits", "--epochs", "1", "--out", str(out), "--reference", "none", *more,
    ]  # fmt: skip


def test_prune_json_is_the_record_alone(run: Run, model: str, tmp_path: Path) -> None:
    code, out, _ = run(*pruning(model, tmp_path / "run", "--budget", "groups=0.5,macs=0.9", "--json"))
    assert code == 0
    record = Record.model_validate_json(out)
    assert record == Record.read(tmp_path / "run") and record.groups_kept == 12
    assert (tmp_path / "run" / "report.html").exists() and (tmp_path / "run" / "model.onnx").exists()


def test_prune_ends_with_one_table(run: Run, model: str, tmp_path: Path) -> None:
    argv = pruning(model, tmp_path / "run", "--budget", "groups=0.5", "--method", "random", "--reference", "train")
    code, out, _ = run(*argv)
    assert code == 0
    for word in ("dense", "pruned", "test accuracy", "groups", "parameters", "MACs", "file size", "latency"):
        assert word in out
    assert "report.html" in out and out.count("┏") == 1


def test_prune_shows_repairs(run: Run, model: str, tmp_path: Path) -> None:
    argv = pruning(model, tmp_path / "run", "--budget", "groups=0.5", "--method", "random")
    code, out, err = run(*argv, "--recovery", "bias", "--recovery", "scale,batchnorm")
    assert code == 0, err
    for text in ("just before the cut", "as the cut left it", "bias + scale + batchnorm", "finetune", "kept"):
        assert text in out
    record = Record.read(tmp_path / "run")
    assert record.config["options"]["recovery"] == ["bias", "scale,batchnorm"]
    code, _, err = run(*argv, "--force", "--recovery", "bias", "--set", "recovery=auto")
    assert code == 1 and "--recovery and --set recovery= say the same thing" in err


def test_every_commands_json(run: Run, finished: Path, model: str, tmp_path: Path) -> None:
    target = tmp_path / "x.onnx"
    found: dict[str, Any] = {}
    for name, argv in {
        "inspect": ["inspect", "--model", model, "--data", "digits"],
        "bench": ["bench", str(finished)],
        "bench-onnx": ["bench", str(finished), "--onnx", "--batch", "3"],
        "export": ["export", str(finished), "--onnx", str(target)],
        "report": ["report", str(finished)],
        "methods": ["methods"],
        "recoveries": ["recoveries"],
    }.items():
        code, out, err = run(*argv, "--json")
        assert code == 0, (name, err)
        found[name] = json.loads(out)
        code, plain, err = run(*argv)
        assert code == 0 and plain.strip() and "Traceback" not in err, name
    assert [layer["players"] for layer in found["inspect"]["layers"]] == [24]
    assert found["inspect"]["totals"]["params"] == 64 * 24 + 24 + 240 + 10 and found["inspect"]["frozen"]
    assert found["bench"]["threads"] == found["bench"]["batch"] == 1 and found["bench"]["speedup"] > 0
    assert (
        found["bench"]["dense"]["q25_ms"] <= found["bench"]["dense"]["median_ms"] <= found["bench"]["dense"]["q75_ms"]
    )
    assert found["bench-onnx"]["batch"] == 3 and found["bench-onnx"]["engine"] == "ONNX Runtime"
    assert target.stat().st_size == found["export"]["bytes"] and found["export"]["max_abs_difference"] < 1e-4
    assert found["report"]["groups_total"] == 24
    assert {m["name"] for m in found["methods"]} >= {"equilibrium", "magnitude", "taylor", "random"}
    assert all("lr" in m["options"] for m in found["methods"])
    assert {r["name"] for r in found["recoveries"]} >= {"batchnorm", "reweight", "reconstruct"}
    assert all(set(r) == {"name", "summary", "source", "cost"} for r in found["recoveries"])


def test_inspect_takes_a_shape(run: Run) -> None:
    code, out, _ = run("inspect", "--model", "zoo:lenet5", "--data", "1x28x28", "--json")
    assert code == 0 and [x["players"] for x in json.loads(out)["layers"]] == [20, 50, 500]


def test_help_of_every_command_has_an_example(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0 and all(name in out for name in COMMANDS)
    for name in COMMANDS:
        code, out, _ = run(name, "--help")
        assert code == 0 and "Example" in out and f"secateurs {name}" in out and "--json" in out, name


def test_help_is_quick_and_needs_no_torch() -> None:
    script = (
        "import sys; sys.argv=['secateurs','prune','--help']\n"
        "from secateurs.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, timeout=60)


BAD: list[tuple[list[str], list[str]]] = [
    (["--method", "equilibrum"], ["'equilibrum'", "did you mean 'equilibrium'"]),
    (["--recovery", "reweigh"], ["'reweigh'", "did you mean 'reweight'"]),
    (["--recovery", "auto", "--recovery", "bias"], ["auto,bias", "give it alone"]),
    (["--method", "imp", "--recovery", "bias"], ["recovery=bias", "restart='rewind'", "restart=keep"]),
    (["--model", "zoo:mlp-512"], ["'zoo:mlp-512'", "zoo:mlp-512-256"]),
    (["--model", "nowhere.py:build"], ["nowhere.py"]),
    (["--data", "digit"], ["'digit'", "digits"]),
    (["--data", "mnist:nowhere"], ["nowhere"]),
    (["--budget", "macs"], ["'macs'", "="]),
    (["--budget", "mac=0.4"], ["'mac'", "'macs'"]),
    (["--budget", "macs=0"], ["macs=0", "positive"]),
    (["--budget", "macs=-1"], ["macs=-1", "positive"]),
    (["--budget", "macs=1.5"], ["macs=1.5", "at most 1"]),
    (["--budget", "macs=1e12"], ["above the dense"]),
    (["--budget", "macs=much"], ["'much'", "macs=40M"]),
    (["--budget", "macs=150%"], ["macs=150%", "at most 1"]),
    (["--budget", "latency=2"], ["a latency needs a unit, such as latency=2.5ms"]),
    (["--budget", "latency=1ns"], ["latency=1ns", "unknown unit 'ns'", "known: ms, us"]),
    (["--budget", "params=0.001"], ["params=0.001", "smallest reachable"]),
    (["--set", "travel"], ["'travel'", "NAME=VALUE"]),
    (["--set", "travl=1"], ["'travl'", "'travel'"]),
    (["--set", "travel=far"], ["travel='far'"]),
    (["--set", "travel=-1"], ["travel=-1"]),
    (["--set", "rent=convex"], ["rent='convex'", "concave"]),
    (["--granularity", "neuron"], ["'neuron'", "channel"]),
    (["--granularity", "weight+channel"], ["'weight'"]),
    (["--reference", "some"], ["--reference", "'some'"]),
    (["--mixed-precision", "fp4"], ["'fp4'", "bf16"]),
    (["--resume"], ["--resume", "no run to continue"]),
]


@pytest.mark.parametrize(("more", "said"), BAD, ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "")
def test_bad_input(run: Run, model: str, tmp_path: Path, more: list[str], said: list[str]) -> None:
    argv = pruning(model, tmp_path / "run", *more)
    if "--budget" not in more:
        argv += ["--budget", "macs=0.5"]
    code, out, err = run(*argv)
    assert code == 1 and out == "" and "Traceback" not in err, err
    assert err.startswith("error:") and all(text in err for text in said), err
    assert not (tmp_path / "run").exists()


def test_usage_errors_have_their_own_code(run: Run) -> None:
    assert run("prune", "--model", "zoo:lenet5")[0] == 2
    assert run("prun")[0] == 2
    given = ["--model", "a", "--data", "b", "--out", "c", "--budget", "macs=1"]
    assert run("prune", "--epochs", "0", *given)[0] == 2
    for argv in (["prune", *given], ["bench", "a"], ["reproduce", "game", "--data", "digits"]):
        code, _, err = run(*argv, "--threads", "0")
        assert code == 2 and "--threads" in err and "Traceback" not in err, err


def test_runs_that_are_not_there_or_damaged(run: Run, finished: Path, tmp_path: Path) -> None:
    for argv in (["bench", "nowhere"], ["export", "nowhere", "--onnx", str(tmp_path / "x")], ["report", "nowhere"]):
        code, out, err = run(*argv)
        assert code == 1 and out == "" and "nowhere" in err and "Traceback" not in err, err
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "record.json").write_text('{"method": 3}')
    for command in ("report", "bench"):
        code, _, err = run(command, str(broken))
        assert code == 1 and "not a Secateurs record" in err
    (broken / "record.json").write_text("{")
    code, _, err = run("report", str(broken))
    assert code == 1 and "record: Invalid JSON" in err, err
    code, _, err = run("export", str(finished), "--onnx", "/proc/nowhere/x.onnx")
    assert code == 1 and "Traceback" not in err and "x.onnx" in err, err
    code, _, err = run("reproduce", "gane", "--data", "digits")
    assert code == 1 and "'gane'" in err and "game" in err
    code, _, err = run("reproduce", "game", "--quick")
    assert code == 1 and "'game' needs data; give --data mnist:DIR" in err and "Traceback" not in err
    code, _, err = run("reproduce", "magnitude", "--data", "digits")
    assert code == 1 and "leave --data out" in err


def test_markup_in_the_users_own_text_is_shown_as_it_is(run: Run, model: str, tmp_path: Path) -> None:
    _, _, err = run(*pruning(model, tmp_path / "run", "--budget", "macs=0.5", "--method", "[bold]x[/bold]"))
    assert "[bold]x[/bold]" in err


def test_an_occupied_folder_and_force(run: Run, model: str, tmp_path: Path) -> None:
    argv = pruning(model, tmp_path / "run", "--budget", "groups=0.5", "--method", "magnitude")
    assert run(*argv, "--json")[0] == 0
    code, out, err = run(*argv)
    assert code == 1 and out == "" and "a finished run; --force replaces it" in err and "--resume" not in err
    assert f"secateurs report {tmp_path / 'run'}" in err
    code, out, err = run(*argv, "--resume", "--json")
    assert code == 0 and json.loads(out)["method"] == "magnitude" and "finished already: nothing was run" in err
    assert run(*argv, "--force", "--json", "--threads", "1")[0] == 0
    assert torch.get_num_threads() == 1


def test_a_run_whose_factory_was_edited(run: Run, tmp_path: Path) -> None:
    mine, out, target = tmp_path / "mine.py", tmp_path / "run", tmp_path / "x.onnx"
    mine.write_text(MODEL)
    assert run(*pruning(f"{mine}:build", out, "--budget", "macs=0.5", "--method", "random", "--json"))[0] == 0
    mine.write_text(MODEL + "# a remark\n")
    for argv in (["bench", str(out)], ["export", str(out), "--onnx", str(target)]):
        code, _, err = run(*argv)
        assert code == 1 and "has changed since" in err and "--trust-changed-factory" in err, err
        code, _, err = run(*argv, "--trust-changed-factory")
        assert code == 0, err
    assert target.exists()


def test_trackers_are_asked_for_by_name(run: Run, model: str, tmp_path: Path) -> None:
    asked = ["--model", model, "--data", "digits", "--epochs", "2"]
    once = ["prune", *asked, "--budget", "macs=0.4", "--reference", "none", "--method", "taylor"]
    several = ["compare", *asked, "--budgets", "macs=0.4", "--methods", "taylor", "--seeds", "1", "--scratch", "none"]
    for command in (once, several):
        code, out, err = run(*command, "--out", str(tmp_path / "x"), "--track", "tensorbord")
        assert code == 1 and not out and "did you mean 'tensorboard'?" in err
        assert not (tmp_path / "x").exists()
    for command, name in ((once, "a"), ([*several, "--no-tune"], "b")):
        code, _, err = run(*command, "--out", str(tmp_path / name), "--track", "tensorboard")
        assert code == 0, err
    assert next(path.name for path in (tmp_path / "a" / "tracking").iterdir()).startswith("taylor-macs=0.4-seed0-")
    shown = {path.name.partition("-")[0] for path in (tmp_path / "b" / "tracking").iterdir()}
    assert shown == {"dense", "magnitude", "random", "taylor"}
    assert not list((tmp_path / "b" / "runs").glob("*/tracking")), "one place for all"


def test_a_run_that_kept_nothing_leaves_nothing(run: Run, model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = pruning(model, out, "--budget", "macs=0.5", "--method", "random")
    code, _, err = run(*argv, "--set", "lr=1e38")
    assert code == 1 and "no checkpoint had been written yet" in err and not out.exists()
    assert run(*argv, "--json")[0] == 0  # the corrected command needs neither --force nor --resume


def test_python_dash_m(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "secateurs", "report", str(tmp_path / "no")],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode == 1 and done.stderr.startswith("error:") and "Traceback" not in done.stderr
