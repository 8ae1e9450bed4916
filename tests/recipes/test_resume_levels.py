"""A run of several levels that is killed anywhere, restarts included, continues to the record of one that was not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from secateurs.storage import load_tree

from .child import secateurs
from .test_resume import assert_same, read

ARGV = [
    "prune", "--model", "zoo:mlp-digits", "--data", "digits", "--budget", "params=0.3", "--method", "imp",
    "--epochs", "5", "--batch-size", "64", "--seed", "3", "--set", "levels=2", "--set", "rewind=5", "--json",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    code, text = secateurs([*ARGV, "--out", str(folder / "run")], folder)
    assert code == 0, text
    return folder / "run"


def test_killed_within_levels_and_at_their_ends(whole: Path, tmp_path: Path) -> None:
    steps = read(whole)["train"]["steps"]
    assert set(steps) == {"level 1", "level 2", "recovery", "total"}
    second = steps["level 1"]
    cut = second + steps["level 2"]
    out, resume = tmp_path / "run", []
    kill, ask = signal.SIGKILL, signal.SIGINT
    # The first step of a training comes after its restart: the mask is chosen, written, and in no checkpoint yet.
    for step, number in (
        (second - 1, ask),
        (second, kill),
        (second + 9, kill),
        (cut, kill),
        (cut, ask),
        (cut + 9, ask),
    ):
        code, text = secateurs([*ARGV, "--out", str(out), *resume], tmp_path, blow=("imp", step, number))
        assert code == (-signal.SIGKILL if number == kill else 130), text
        assert load_tree(out / "checkpoint.safetensors")["step"] <= step + 1
        resume = ["--resume"]
    code, text = secateurs([*ARGV, "--out", str(out), "--resume"], tmp_path)
    assert code == 0, text
    assert_same(out, whole)
    for name in ("level-01", "level-02"):
        ours, theirs = (load_tree(folder / f"{name}.safetensors") for folder in (out, whole))
        assert ours["kept"] == theirs["kept"] and bool((ours["mask"] == theirs["mask"]).all())
        assert all(bool((ours["weights"][k] == theirs["weights"][k]).all()) for k in theirs["weights"])
