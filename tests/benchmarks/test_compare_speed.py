"""The benchmark of sweeps, small: all ways make the same runs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.compare_speed import commanded, plainly, request, told
from secateurs.compare import How, compare
from secateurs.records import Record


def figures(folder: Path) -> dict[str, float | None]:
    return {run.name: Record.read(run).pruned.accuracy for run in (folder / "runs").iterdir()}


def test_all_ways_make_the_same_runs(tmp_path: Path) -> None:
    wanted = request(2, seeds=1)
    plainly(wanted, tmp_path / "calls")
    compare(wanted, tmp_path / "sweep", How(threads=1, progress=False))
    commanded(wanted, 2)(tmp_path / "jobs")
    made = figures(tmp_path / "calls")
    assert len(made) == 4 and None not in made.values()
    assert made == figures(tmp_path / "sweep") == figures(tmp_path / "jobs")


def test_what_it_prints() -> None:
    lines = told({"calls": [10.0], "sweep": [10.2], "--jobs 1": [20.0], "--jobs 2": [11.0]})
    assert "+2.0%" in lines[-2] and "0.55" in lines[-1]
