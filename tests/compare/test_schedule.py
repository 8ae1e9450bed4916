"""The order of runs: dependencies hold, nothing is run twice, and a choice looks at validation alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.compare.request import Asked, asked
from secateurs.compare.schedule import DENSE, Cell, Job, Outcome, Schedule
from secateurs.spec import Budget

GRID = ({"lr": 1e-3, "recovery_lr": 1e-3}, {"lr": 5e-3, "recovery_lr": 5e-3})


def wanted(**given: Any) -> Asked:
    base: dict[str, Any] = {
        "model": "zoo:mlp-digits",
        "data": "digits",
        "methods": ("taylor",),
        "budgets": (Budget(macs=0.5), Budget(macs=0.25)),
        "seeds": (0, 1, 2),
        "grid": GRID,
        "scratch": ("taylor",),
    }
    return asked(**{**base, **given})


def carried_out(schedule: Schedule, ended: dict[str, Outcome], score: Any = lambda job: 0.5) -> list[Job]:
    """Run everything, a single job at a time, and look at the rules as they come."""
    order: list[Job] = []
    while jobs := schedule.ready():
        job = jobs[0]
        before = ended.get(job.key)
        assert before is None or (job.test and not before.tested), "nothing is run twice"
        if job.test and job.label != "dense":
            assert ended[job.dense].tested
        if "of" in job.config.options:
            assert ended[job.config.options["of"]].tested
        ended[job.key] = Outcome(score(job), tested=job.test)
        order.append(job)
    return order


def test_a_whole_sweep() -> None:
    ended: dict[str, Outcome] = {}
    schedule = Schedule(wanted(), ended)
    left = schedule.left()
    order = carried_out(schedule, ended)
    # Four labels at two budgets: two trials, one of which is completed, and two more seeds; the dense network alike.
    labels = {"taylor", "magnitude", "random", "scratch:taylor"}
    assert {j.label for j in order} == labels | {"dense"}
    assert len({j.key for j in order}) == (4 * 2 + 1) * (2 + 2)
    tested = [j for j in order if j.test]
    assert len(tested) == (4 * 2 + 1) * 3
    assert len(order) == left and schedule.left() == 0
    assert all(j.config.seed == 0 for j in order if not j.test), "the grid is tried at the first seed alone"


def test_the_best_on_validation_is_run_and_of_equals_the_first() -> None:
    ended: dict[str, Outcome] = {}
    schedule = Schedule(wanted(), ended)
    carried_out(schedule, ended, lambda job: 0.9 if job.config.options.get("lr") == 5e-3 else 0.8)
    assert schedule.choice(Cell("taylor", Budget(macs=0.5))) == GRID[1]
    ended.clear()
    carried_out(schedule, ended)
    assert schedule.choice(Cell("taylor", Budget(macs=0.5))) == GRID[0]


def test_the_dense_network_does_not_recover() -> None:
    schedule = Schedule(wanted(grid=({"recovery_lr": 1e-3}, {"recovery_lr": 5e-3})), {})
    assert len(schedule.trials(DENSE)) == 1 and len(schedule.trials(Cell("taylor", Budget(macs=0.5)))) == 2


def test_a_trial_that_failed_is_not_chosen_and_a_cell_that_failed_stops_nothing_else() -> None:
    ended: dict[str, Outcome] = {}
    schedule = Schedule(wanted(), ended)
    while jobs := schedule.ready():
        job = jobs[0]
        worse = job.config.options.get("lr") == 1e-3 and job.label == "taylor"
        hopeless = job.label == "magnitude"
        ended[job.key] = Outcome(error="no") if worse or hopeless else Outcome(0.5, tested=job.test)
    assert schedule.choice(Cell("taylor", Budget(macs=0.5))) == GRID[1]
    assert schedule.choice(Cell("magnitude", Budget(macs=0.5))) is None
    assert schedule.left() == 0
    assert len(schedule.jobs_of(Cell("random", Budget(macs=0.5)))) == 3


def test_without_a_dense_network_the_others_run() -> None:
    ended: dict[str, Outcome] = {}
    schedule = Schedule(wanted(), ended)
    for job in schedule.trials(DENSE):
        ended[job.key] = Outcome(error="no")
    tested = []
    while jobs := schedule.ready():
        job = jobs[0]
        tested += [job] if job.test else []
        ended[job.key] = Outcome(0.5, tested=job.test)
    assert len(tested) == 4 * 2 * 3 and all(j.dense == "" for j in tested)


def test_scratch_waits_for_its_source_seed_by_seed() -> None:
    ended: dict[str, Outcome] = {}
    schedule = Schedule(wanted(grid=({},)), ended)
    cell = Cell("scratch", Budget(macs=0.5), Cell("taylor", Budget(macs=0.5)))
    assert schedule.jobs_of(cell) == []
    for seed in (0, 1):
        ended[schedule.jobs_of(DENSE)[seed].key] = Outcome(0.5, tested=True)
    source = schedule.jobs_of(Cell("taylor", Budget(macs=0.5)))
    assert len(source) == 2
    ended[source[1].key] = Outcome(0.5, tested=True)
    (job,) = schedule.jobs_of(cell)
    assert job.config.seed == 1 and job.config.options["of"] == source[1].key and job.label == "scratch:taylor"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_the_order_and_the_failures_it_ends(data: st.DataObject) -> None:
    """Jobs end in any order, some fail, the sweep is asked anew at any time: it comes to its end."""
    ended: dict[str, Outcome] = {}
    request = wanted(seeds=(0, 1), budgets=(Budget(macs=0.5),))
    schedule = Schedule(request, ended)
    fails = data.draw(
        st.sets(st.sampled_from(["taylor", "magnitude", "random", "dense", "scratch:taylor"]), max_size=2)
    )
    for _ in range(100):
        if data.draw(st.booleans()):
            schedule = Schedule(request, ended)  # killed, and asked again
        jobs = schedule.ready()
        if not jobs:
            break
        job = data.draw(st.sampled_from(jobs))
        failed = job.label in fails and job.config.options.get("lr") == 1e-3
        ended[job.key] = Outcome(error="no") if failed else Outcome(0.5, tested=job.test)
    else:
        pytest.fail("it does not end")
    assert schedule.left() == 0


def test_asking_for_more_adds_and_leaves_the_rest() -> None:
    ended: dict[str, Outcome] = {}
    carried_out(Schedule(wanted(), ended), ended)
    more = Schedule(wanted(methods=("taylor", "snip"), seeds=(0, 1, 2, 3)), ended)
    added = {(j.label, j.config.seed) for j in carried_out(more, ended)}
    assert {seed for label, seed in added if label != "snip"} == {3}
    assert {seed for label, seed in added if label == "snip"} == {0, 1, 2, 3}
