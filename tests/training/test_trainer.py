"""The loop against a plain one, its callbacks, clocks, losses and rates."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateurs.errors import DivergenceError, RunError
from secateurs.training import Callback, Trainer, cosine, drops, evaluate
from secateurs.training.clock import Clock

from .conftest import Small, make_model


def train(data: Small, model: nn.Module | None = None, **options: Any) -> Trainer:
    given = {"batch_size": 16, "seed": 0, "epochs": 3, "progress": False} | options
    trainer = Trainer(model or make_model(), data, **given)
    trainer.run()
    return trainer


def test_it_does_what_a_plain_loop_does(data: Small) -> None:
    model, plain = make_model(dropout=0.0), make_model(dropout=0.0)
    rate = cosine(36, warmup=4)
    sgd = lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)  # noqa: E731
    trainer = train(data, model, optimizer=sgd, lr=rate, clip=0.5)
    optimizer, losses = sgd(plain), []
    for step in range(36):
        x, y = list(data.train.batches(16, epoch=step // 12, seed=0, drop_last=True))[step % 12]
        optimizer.param_groups[0]["lr"] = 0.1 * rate(step)
        loss = F.cross_entropy(plain(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    for a, b in zip(model.state_dict().values(), plain.state_dict().values()):
        assert torch.equal(a, b)
    assert [h["step"] for h in trainer.history] == [12, 24, 36]
    for epoch, metrics in enumerate(trainer.history):
        assert metrics["loss"] == pytest.approx(sum(losses[12 * epoch : 12 * epoch + 12]) / 12, abs=1e-12)
    assert trainer.history[-1]["accuracy"] == evaluate(plain, data.validation).accuracy


def test_it_learns(data: Small) -> None:
    trainer = train(data, make_model(0.0), epochs=30, optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-2))
    assert trainer.history[-1]["accuracy"] > 0.85 > trainer.history[0]["accuracy"]


class Spy(Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.losses: list[tuple[int, float]] = []

    def on_start(self, trainer: Trainer) -> None:
        self.seen.append("start")

    def before_step(self, trainer: Trainer) -> None:
        assert all(p.grad is None for p in trainer.model.parameters())
        self.seen.append(f"before {trainer.step}")

    def before_update(self, trainer: Trainer) -> None:
        assert all(p.grad is not None for p in trainer.model.parameters())
        self.seen.append(f"between {trainer.step}")

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        self.seen.append(f"after {trainer.step}")
        if loss is not None:
            self.losses.append((trainer.step, loss))

    def on_epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        self.seen.append(f"epoch {metrics['epoch']:g} {trainer.step} {trainer.epoch:g}")


def test_callbacks_are_called_in_order_and_see_the_losses(data: Small) -> None:
    spy = Spy()
    trainer = train(data, batch_size=100, epochs=2, callbacks=[spy], log_every=2)
    steps = [[f"{w} {i}" for w in ("before", "between", "after")] for i in range(4)]
    expected = ["start", *steps[0], *steps[1], "epoch 1 2 1", *steps[2], *steps[3], "epoch 2 4 2"]
    assert spy.seen == expected
    assert [step for step, _ in spy.losses] == [1, 3]
    assert [loss for _, loss in spy.losses] == [h["loss"] for h in trainer.history]


def test_a_run_may_be_done_in_parts(data: Small) -> None:
    whole, parts = train(data), Trainer(make_model(), data, batch_size=16, seed=0, epochs=3, progress=False)
    for stop in (5, 12, 31, None):
        parts.run(stop=stop)
    assert whole.history == parts.history
    for a, b in zip(whole.model.state_dict().values(), parts.model.state_dict().values()):
        assert torch.equal(a, b)


def test_seconds_go_to_the_phase_that_a_callback_sets(data: Small) -> None:
    class Phases(Callback):
        def before_step(self, trainer: Trainer) -> None:
            trainer.phase = "market" if trainer.step >= 12 else "warmup"
            with trainer.timed("game"):
                sum(range(1000))

    trainer = train(data, callbacks=[Phases()], label="warmup")
    seconds = trainer.seconds
    assert set(seconds) == {"warmup", "market", "game", "evaluation"}
    assert all(value > 0 for value in seconds.values()) and seconds["market"] > seconds["game"]
    assert trainer.seconds == seconds  # stopped


def test_the_clock_runs_one_name_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 3.0, 7.0, 15.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = Clock()
    clock.switch("a")
    with clock.timed("b"):
        pass
    clock.switch(None)
    assert clock.seconds == {"a": 1.0 + 4.0, "b": 2.0}


def test_the_loss_may_be_replaced_in_mid_run(data: Small) -> None:
    class Freeze(Callback):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.step == 12:
                self.weights = trainer.model[0].weight.clone()  # type: ignore[index]
                trainer.loss = lambda model, x, y: 0.0 * F.cross_entropy(model(x), y)

    freeze = Freeze()
    trainer = train(data, callbacks=[freeze], optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.1))
    assert torch.equal(trainer.model[0].weight, freeze.weights)  # type: ignore[index]
    assert trainer.history[1]["loss"] == 0 < trainer.history[0]["loss"]


def test_the_model_may_shrink_in_mid_run(data: Small) -> None:
    class Shrink(Callback):
        def after_step(self, trainer: Trainer, loss: float | None) -> None:
            if trainer.step == 7:
                first, norm, last = (trainer.model[i] for i in (0, 1, 4))  # type: ignore[index]
                first.weight.data, first.bias.data = (
                    first.weight.data[:10].clone(),
                    first.bias.data[:10].clone(),
                )
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(norm, name).data = getattr(norm, name).data[:10].clone()
                norm.num_features = 10
                last.weight.data = last.weight.data[:, :10].clone()
                trainer.model_changed()

    trainer = train(data, callbacks=[Shrink()], optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.1))
    assert trainer.step == 36 and trainer.model[0].weight.shape == (10, 8)  # type: ignore[index]


# -- losses that are not finite -----------------------------------------------------------------------------


class Poison(Callback):
    def __init__(self, at: int, value: float = math.nan) -> None:
        self.at, self.value = at, value

    def before_step(self, trainer: Trainer) -> None:
        if trainer.step == self.at:
            trainer.model[4].bias.data.fill_(self.value)  # type: ignore[index]


@pytest.mark.parametrize(("at", "value"), [(17, math.nan), (30, math.inf)])
def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(
    data: Small, tmp_path: Any, at: int, value: float
) -> None:
    with pytest.raises(DivergenceError, match=f"became nan at step {at} of 36") as caught:
        train(data, callbacks=[Poison(at, value)], out=tmp_path, checkpoint_every=3, log_every=50)
    last = at - at % 3
    assert f"step {last}" in str(caught.value) and str(tmp_path) in str(caught.value)
    trainer = Trainer(make_model(), data, batch_size=16, seed=0, epochs=3, callbacks=[Poison(99)], out=tmp_path)
    assert trainer.load_checkpoint()["step"] == last
    trainer.run()  # and it can be continued from there
    assert math.isfinite(trainer.history[-1]["loss"])


def test_a_bad_loss_that_leaves_the_weights_finite_is_not_checkpointed_either(data: Small, tmp_path: Any) -> None:
    class BadLoss(Callback):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.step == 17:
                trainer.loss = lambda model, x, y: F.cross_entropy(model(x), y) + math.nan

    with pytest.raises(DivergenceError, match=r"at step 17 of 36; the last good checkpoint, step 15"):
        train(data, callbacks=[BadLoss()], out=tmp_path, checkpoint_every=3)


def test_divergence_without_a_checkpoint(data: Small, tmp_path: Any) -> None:
    with pytest.raises(DivergenceError, match="keeps no checkpoint"):
        train(data, callbacks=[Poison(2)])
    with pytest.raises(DivergenceError, match="no checkpoint had been written"):
        train(data, callbacks=[Poison(2)], out=tmp_path, checkpoint_every=None)


# -- settings -----------------------------------------------------------------------------------------------


def test_settings_that_cannot_be(data: Small) -> None:
    with pytest.raises(RunError, match="batch size 0"):
        train(data, batch_size=0)
    with pytest.raises(RunError, match="'int8'"):
        train(data, mixed_precision="int8")


def test_a_batch_larger_than_the_data_is_cut_down(data: Small) -> None:
    trainer = train(data, batch_size=1000, epochs=2)
    assert (trainer.batch_size, trainer.total_steps) == (200, 2)


def test_bfloat16(data: Small) -> None:
    seen = []

    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        output = model(x)
        seen.append(output.dtype)
        return F.cross_entropy(output, y)

    trainer = train(data, mixed_precision="bf16", loss=loss, epochs=1)
    assert set(seen) == {torch.bfloat16} and trainer.model[0].weight.dtype == torch.float32  # type: ignore[index]
    assert "forward" not in vars(trainer.model)  # not patched
    train(data, mixed_precision="no", epochs=1)  # the next training may use another


def test_rates() -> None:
    rate = cosine(12, warmup=2, final=0.1)
    assert [rate(s) for s in (0, 1, 2, 7, 12, 99)] == pytest.approx([0.5, 1.0, 1.0, 0.55, 0.1, 0.1])
    assert cosine(10, start=5)(3) == 1.0 and cosine(10, start=5)(15) == pytest.approx(0.0)
    assert [drops([2, 4])(s) for s in (1, 2, 5)] == pytest.approx([1, 0.1, 0.01])


def test_evaluation_counts_and_restores_each_modules_mode(data: Small) -> None:
    model = make_model(0.5).train()
    model[1].eval()  # the user froze it
    modes = [m.training for m in model.modules()]
    result = evaluate(model, data.validation, batch_size=7)
    assert [m.training for m in model.modules()] == modes
    model.eval()
    output = model(data.validation.x)
    assert result.correct == int((output.argmax(1) == data.validation.y).sum()) and result.n == 60
    assert result.accuracy == result.correct / 60
    assert result.loss == pytest.approx(F.cross_entropy(output, data.validation.y).item(), rel=1e-6)
