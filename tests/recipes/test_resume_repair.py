"""A run that is killed just before, at and after the repairs of its cut continues to the record of one that was not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from secateurs.storage import load_tree

from .child import secateurs
from .test_resume import assert_same, read

ARGV = [
    "prune", "--model", "zoo:mlp-digits", "--data", "digits", "--budget", "params=0.1", "--method", "magnitude",
    "--epochs", "2", "--batch-size", "64", "--seed", "3", "--reference", "none", "--set",
    "recovery_batches=4", "--json",
]  # fmt: skip
KILL, ASK = signal.SIGKILL, signal.SIGINT


@pytest.mark.parametrize(
    ("more", "ends"),
    [
        (["--recovery", "auto", "--set", "tolerance=0"], False),
        (["--recovery", "auto", "--set", "tolerance=0.99", "--granularity", "weight"], True),
        (["--recovery", "reconstruct,batchnorm", "--granularity", "weight"], False),
    ],
    ids=["climbed", "ended", "chain"],
)
def test_killed_around_the_repairs(more: list[str], ends: bool, tmp_path: Path) -> None:
    argv = [*ARGV, *more]
    code, text = secateurs([*argv, "--out", str(tmp_path / "whole")], tmp_path)
    assert code == 0, text
    whole = read(tmp_path / "whole")
    cut = whole["train"]["steps"]["training"]
    assert ends == (whole["train"]["steps"]["total"] == cut)
    out, resume = tmp_path / "run", []
    # The signal comes within a step: at the cut's, the repairs are done and in no checkpoint yet.
    around = [(cut - 1, ASK)] if ends else [(cut - 1, ASK), (cut, KILL), (cut, ASK), (cut + 9, KILL)]
    for step, number in around:
        code, text = secateurs([*argv, "--out", str(out), *resume], tmp_path, blow=("magnitude", step, number))
        assert code == (-KILL if number == KILL else 130), text
        tree = load_tree(out / "checkpoint.safetensors")
        assert tree["step"] <= step + 1 and not tree["ended"]
        resume = ["--resume"]
    code, text = secateurs([*argv, "--out", str(out), *resume], tmp_path)
    assert code == 0, text
    assert_same(out, tmp_path / "whole")
