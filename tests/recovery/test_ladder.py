"""The ladder: where each rung begins, what is kept, where it ends."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from torch import nn

from secateurs.recovery import LADDER, Recovery, Removal, Rung, climb
from secateurs.recovery.ladder import Tried


class Add(Recovery):
    """To the only number of the network."""

    summary = source = cost = ""

    def __init__(self, much: float) -> None:
        self.much = much
        self.name = f"add{much:g}"  # type: ignore[misc]

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable) -> nn.Module:
        out = nn.Linear(1, 1)
        out.weight.data.copy_(model.weight + self.much)
        return out


def value(model: nn.Module) -> float:
    return model.weight.item()


def climbed(rungs: list[Rung], target: float) -> tuple[float, list[tuple[str, float, bool]]]:
    start = nn.Linear(1, 1)
    start.weight.data.zero_()
    best, tried = climb(start, Removal(start), [], value, target, rungs)
    assert value(start) == 0.0 and all(isinstance(t, Tried) and t.seconds >= 0 for t in tried)
    return value(best), [(t.name, t.value, t.kept) for t in tried]


def test_every_rung_begins_at_the_cut_and_only_training_goes_on_from_the_best() -> None:
    rungs = [
        Rung((Add(2),)), Rung((Add(-1),)), Rung((Add(1), Add(0.5))), Rung((Add(4),), goes_on=True),
        Rung((Add(-2),), goes_on=True), Rung((Add(1),), goes_on=True),
    ]  # fmt: skip
    assert climbed(rungs, 100) == (
        7.0,
        [
            ("none", 0.0, True), ("add2", 2.0, True), ("add-1", -1.0, False), ("add1+add0.5", 1.5, False),
            ("add4", 6.0, True), ("add-2", 4.0, False), ("add1", 7.0, True),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("target, count", [(-1, 1), (0, 1), (1, 2), (2, 2), (2.5, 3), (9, 3)])
def test_the_first_rung_that_is_good_enough_ends_it(target: float, count: int) -> None:
    assert len(climbed([Rung((Add(2),)), Rung((Add(3),))], target)[1]) == count


def test_of_equally_good_rungs_the_first_is_kept() -> None:
    assert [kept for _, _, kept in climbed([Rung((Add(2),)), Rung((Add(1), Add(1)))], 9)[1]] == [True, True, False]


def test_the_ladder_trains_last() -> None:
    going = [rung.goes_on for rung in LADDER]
    assert going == sorted(going) and len({rung.name for rung in LADDER}) == len(LADDER)
