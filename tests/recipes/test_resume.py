"""A run that is killed or interrupted anywhere continues to the record of one that was not."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from secateurs.artifact import load
from secateurs.storage import load_tree

from .child import secateurs

ARGV = [
    "prune", "--model", "zoo:mlp-digits", "--data", "digits", "--budget", "macs=0.15", "--budget", "params=0.3",
    "--epochs", "6", "--batch-size", "64", "--seed", "3", "--set", "distill=0.3", "--json",
]  # fmt: skip
DENSE, GAME = "dense reference", "equilibrium"


def without_timings(record: dict[str, Any]) -> dict[str, Any]:
    out = json.loads(json.dumps(record))
    for block in ("dense", "gated", "cut", "pruned"):
        for name in ("latency_ms", "latency_spread_ms"):
            out[block].pop(name)
    out["train"].pop("seconds")
    for row in out["recovery"]:
        row.pop("seconds")
    for name in ("created", "peak_memory", "joules"):
        out.pop(name)
    out["notes"] = [n for n in out["notes"] if "faster on this device" not in n]
    return out


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "record.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    code, text = secateurs([*ARGV, "--out", str(folder / "run")], folder)
    assert code == 0, text
    return folder / "run"


def assert_same(out: Path, whole: Path) -> None:
    assert without_timings(read(out)) == without_timings(read(whole))
    ours, theirs = load(out / "artifact").state_dict(), load(whole / "artifact").state_dict()
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}


def chain(whole: Path, seed: int) -> list[tuple[str, int, int]]:
    """(training, step, signal): where one run is stopped, again and again."""
    draw = random.Random(seed)
    steps = read(whole)["train"]["steps"]
    warm, cut, total = steps["warmup"], steps["warmup"] + steps["market"], steps["total"]
    kill, ask = signal.SIGKILL, signal.SIGINT
    return [
        (DENSE, draw.randrange(1, 7), kill),  # before any checkpoint
        (DENSE, draw.randrange(20, total), draw.choice([kill, ask])),
        (GAME, draw.randrange(warm + 1, cut // 2), kill),
        (GAME, cut - draw.randrange(1, 4), draw.choice([kill, ask])),  # players have been cut out by now
        (GAME, draw.randrange(cut, total - 1), kill),
        (GAME, total - 1, ask),
    ]


@pytest.mark.parametrize("seed", [0])
def test_killed_and_interrupted_again_and_again(seed: int, whole: Path, tmp_path: Path) -> None:
    out, resume, compacted = tmp_path / "run", [], False
    for label, step, number in chain(whole, seed):
        code, text = secateurs([*ARGV, "--out", str(out), *resume], tmp_path, blow=(label, step, number))
        assert not (out / "record.json").exists()
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL, text
        else:
            assert code == 130 and "Traceback" not in text
            assert f"step {step + 1} of" in text and str(out) in text and "--resume" in text
        if label == GAME:
            tree = load_tree(out / "checkpoint.safetensors")
            assert tree["step"] <= step + 1
            alive = tree["optimizer"].get("alive")
            compacted |= alive is not None and int(alive.sum()) < alive.numel()
        resume = ["--resume"]
    assert compacted
    code, text = secateurs([*ARGV, "--out", str(out)], tmp_path)
    assert code == 1 and "--resume" in text and "unfinished" in text
    code, text = secateurs([*ARGV, "--out", str(out), "--resume"], tmp_path)
    assert code == 0, text
    assert_same(out, whole)


def test_a_finished_run_is_returned_and_another_is_refused(whole: Path, tmp_path: Path) -> None:
    before = (whole / "record.json").read_text()
    code, text = secateurs([*ARGV, "--out", str(whole), "--resume"], tmp_path)
    assert code == 0 and json.loads(text) == json.loads(before)
    assert (whole / "record.json").read_text() == before
    code, text = secateurs([*ARGV, "--out", str(whole)], tmp_path)
    assert code == 1 and "finished run" in text and "--force" in text
    other = [a if a != "3" else "4" for a in ARGV]
    code, text = secateurs([*other, "--out", str(whole), "--resume"], tmp_path)
    assert code == 1 and "another run" in text and "seed: 3 there, 4 now" in text
    assert (whole / "record.json").read_text() == before
