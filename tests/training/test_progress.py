"""Progress without a terminal: lines, sparse ones, on standard error; with one: a bar whose label stands there once."""

from __future__ import annotations

import pytest

from secateurs.training import progress
from secateurs.training.progress import Progress


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def train(clock: Clock, seconds: float, *, label: str = "taylor", phase: str = "warmup", shown: bool = True) -> None:
    """Four epochs of ten steps, ``seconds`` a step."""
    bar = Progress(label, 40, epochs=4, shown=shown)
    for step in range(1, 41):
        clock.now += seconds
        bar.update(step, phase)
        if step % 10 == 0:
            bar.epoch_end(step, phase, 0.5 + step / 100)
    bar.close()


def test_a_line_an_epoch(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    train(clock, 2.0)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        "taylor, warm-up: epoch 1 of 4, validation accuracy 60.00%, 0:00:20 elapsed, about 0:01:00 left",
        "taylor, warm-up: epoch 2 of 4, validation accuracy 70.00%, 0:00:40 elapsed, about 0:00:40 left",
        "taylor, warm-up: epoch 3 of 4, validation accuracy 80.00%, 0:01:00 elapsed, about 0:00:20 left",
        "taylor, warm-up: epoch 4 of 4, validation accuracy 90.00%, 0:01:20 elapsed",
    ]


def test_short_runs_are_silent_and_quick_epochs_are_not_all_told(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    train(clock, 0.2)
    assert capsys.readouterr().err == ""
    train(clock, 2.0, shown=False)
    assert capsys.readouterr().err == ""
    train(clock, 0.6)
    assert [line.partition(",")[2][:20] for line in capsys.readouterr().err.splitlines()] == [
        " warm-up: epoch 2 of",
        " warm-up: epoch 4 of",
    ]


def test_a_long_epoch_is_told_within(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    train(clock, 25.0, label="dense reference", phase="dense reference")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "dense reference: epoch 0.30 of 4, 0:01:15 elapsed, about 0:15:25 left"
    assert "epoch 1 of 4, validation accuracy" in lines[3] and lines[4].startswith("dense reference: epoch 1.30 of 4,")


def test_on_a_terminal_a_label_is_shown_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    notes = []
    monkeypatch.setattr("rich.progress.Progress.update", lambda self, task, *, completed, note: notes.append(note))
    train(clock, 1.0, label="dense reference", phase="dense reference")
    assert set(notes) == {""}
    train(clock, 1.0)
    assert set(notes) == {"", "warm-up"}
    assert "elapsed" not in capsys.readouterr().err
