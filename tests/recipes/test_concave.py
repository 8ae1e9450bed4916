"""Concave masks as a method: rounds with rewinding, exact amounts, the same steps as magnitude, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secateurs.errors import RunError
from secateurs.maths import SCAD
from secateurs.partition import players
from secateurs.recipes import ConcaveRun, find_method, read_options
from secateurs.spec import Budget
from secateurs.structure import shrink
from secateurs.training import Trainer
from secateurs.zoo import Data, build_model, load_data


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def made(data: Data, name: str = "concave", granularity: str = "weight", epochs: int = 3, **options: Any) -> Any:
    """A run over the digits, its trainer, and the initial weights."""
    model = build_model("zoo:mlp-digits", classes=10, input_shape=data.input_shape, seed=1)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    row = find_method(name)
    budget = options.pop("budget", {"params": 0.1})
    out: Path | None = options.pop("out", None)
    found = players(model, data.example_inputs(2), granularity)
    given = read_options(row.options, name, {"levels": 2, **options})
    total = epochs * (len(data.train) // 64)
    run = row.run(found, Budget(**budget), given, total)
    trainer = Trainer(
        model, data, batch_size=64, seed=0, epochs=epochs, optimizer=run.optimizer, callbacks=[run], lr=run.rate,
        progress=False, evaluate_every=0, out=out,
    )  # fmt: skip
    return run, trainer, start


def held(run: ConcaveRun, start: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    """The initial weights under a mask."""
    gates = run.original.gates
    own = [start[n].clone() for n in gates.names]
    gates.scaled(own, mask.to(own[0]), out=own)
    return {**start, **dict(zip(gates.names, own))}


def test_rounds_rewind_to_the_initial_weights_and_masks_are_nested(digits: Data) -> None:
    run, trainer, start = made(digits)
    first, second = run.starts[1:3]
    name = run.players.gates.names[0]
    assert torch.equal(trainer.model.state_dict()[name], 0.5 * start[name])  # the mask begins at a half
    seen: list[Tensor] = []
    original = run.restart

    def watched(t: Trainer, level: int) -> None:
        original(t, level)
        seen.append(torch.tensor(level))
        for name, value in start.items():
            assert torch.equal(t.model.state_dict()[name], value), name

    run.restart = watched
    trainer.run(stop=first + 1)
    assert run.level == 1 and run.game is not None
    one = run.mask.clone()
    amount = run.original.amount("params", one)
    assert amount <= run.wanted(1)["params"] < amount + 1
    assert bool((run.game.s[~one] == 0).all())
    s, market = run.standing()
    assert torch.equal(s, run.game.s) and market["path"]["params"] < 1 and set(market["price"]) == {"params"}
    trainer.run(stop=second)
    assert bool((run.game.s[~one] == 0).all()) and float(run.game.s[one].max()) > 0.9
    trainer.run(stop=second + 1)
    assert len(seen) == 2 and run.game is None
    two = run.mask
    assert not bool((two & ~one).any())
    amount = run.original.amount("params", two)
    assert amount <= run.targets["params"] < amount + 1
    trainer.run()
    zeros = held(run, {k: torch.ones_like(v) for k, v in start.items()}, two)
    state = trainer.model.state_dict()
    assert all(bool((state[n][zeros[n] == 0] == 0).all()) for n in run.original.gates.names)
    assert sum(row.kept for row in run.layer_rows()) == int(two.sum())


def test_it_takes_the_steps_that_magnitude_takes(digits: Data) -> None:
    ours, theirs = (made(digits, name, epochs=4, levels=3)[0] for name in ("concave", "imp"))
    assert ours.starts == theirs.starts and ours.cut_step == theirs.cut_step
    assert [ours.wanted(i) for i in (1, 2, 3)] == [theirs.wanted(i) for i in (1, 2, 3)]
    assert [ours.rate(i) for i in range(ours.total)] == [theirs.rate(i) for i in range(ours.total)]


def test_weights_are_rewound_to_a_later_step_as_they_were_without_the_mask(digits: Data) -> None:
    run, trainer, _ = made(digits, rewind=5)
    trainer.run(stop=5)
    raw = [t.clone() for t in run.game.weights.raw]
    trainer.run(stop=6)
    kept = run.past["5"]
    assert all(torch.equal(kept[n], t) for n, t in zip(run.players.gates.names, raw))


def test_groups_are_cut_out_and_the_small_network_is_the_masked_one(digits: Data) -> None:
    run, trainer, _ = made(digits, granularity="channel", budget={"groups": 40})
    trainer.run(stop=run.cut_step + 1)
    assert int(run.outcome["kept"].sum()) == 40 and run.surgery is not None
    model = build_model("zoo:mlp-digits", classes=10, input_shape=digits.input_shape, seed=1)
    found = players(model, digits.example_inputs(2), "channel")
    small = shrink(model, found.structure, found.atom_mask(run.mask), example_inputs=found.example_inputs).model
    assert [p.shape for p in small.parameters()] == [p.shape for p in trainer.model.parameters()]
    assert run.rule(1).gauge == "norm"


def test_frozen_searches_leave_the_weights_alone(digits: Data) -> None:
    run, trainer, start = made(digits, frozen=True)
    trainer.run(stop=run.starts[1])
    assert all(torch.equal(t, start[n]) for n, t in zip(run.players.gates.names, run.game.weights.raw))
    assert float((run.game.s - 0.5).abs().max()) > 0.1
    trainer.run()
    gates = run.original.gates.names
    ticket = trainer.model.state_dict()
    assert not any(torch.equal(ticket[n], start[n] * (ticket[n] != 0)) for n in gates)  # which is trained like any


def test_a_settled_search_ends_and_the_ticket_gets_its_steps(digits: Data) -> None:
    run, trainer, _ = made(digits, settle=1.0, look=3, patience=2)  # any two looks are alike
    planned = list(run.starts)
    trainer.run()
    assert run.starts[1] == 9 and run.starts[2] == 18 and run.starts[3] == planned[3] == trainer.step
    assert run.cut_step == 18 and run.spans()["recovery"] == (18, planned[3])


def test_the_threshold_decides_how_many_stay(digits: Data) -> None:
    run, trainer, _ = made(digits, choice="threshold", alpha=0.9)
    trainer.run(stop=run.cut_step + 1)
    above = run.searched[1] >= 0.9
    assert int((run.mask & ~above).sum()) == 0 and int((above & ~run.mask).sum()) == 0
    with pytest.raises(RunError, match="choice=threshold keeps as many as the mask says"):
        options = read_options(find_method("concave").options, "concave", {"choice": "threshold"})
        ConcaveRun(run.original, Budget(latency=1.0), options, 10)


@pytest.mark.parametrize("where", ["first", "second", "ticket"])
def test_a_resumed_run_is_the_whole_one(digits: Data, tmp_path: Path, where: str) -> None:
    whole, trainer, _ = made(digits, settle=0.02, look=3)
    trainer.run()
    stop = {"first": 5, "second": whole.starts[1] + 4, "ticket": whole.starts[2] + 3}[where]
    _, before, _ = made(digits, settle=0.02, look=3, out=tmp_path)
    before.run(stop=stop)
    run, after, _ = made(digits, settle=0.02, look=3, out=tmp_path)
    after.load_checkpoint()
    after.run()
    assert run.starts == whole.starts and torch.equal(run.mask, whole.mask)
    ours, theirs = after.model.state_dict(), trainer.model.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_options_reach_the_mask(digits: Data) -> None:
    with pytest.raises(RunError, match="regulariser='l3'"):
        made(digits, regulariser="l3")
    rule = made(digits, regulariser="scad", knee=0.3, lam=2.0, m0=0.7, mask_rate=0.01, wait=0.2, descent=0.5)[0].rule(1)
    assert rule.rent == SCAD(0.3) and (rule.settings.lam, rule.settings.m0, rule.settings.eta) == (2.0, 0.7, 0.01)
    assert (rule.settings.warmup, rule.settings.horizon) == (4, 10)  # of 20 steps
