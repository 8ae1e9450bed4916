"""A run that was stopped, anywhere and anyhow, ends where an uninterrupted one does: bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from secateurs.errors import RunError, RunInterrupted
from secateurs.storage import load_tree, save_tree
from secateurs.training import Callback, Checkpoint, Trainer, cosine
from secateurs.training.checkpoint import FORMAT
from secateurs.training.stopping import StopRequest

from .conftest import Small, make_model


class Drift(Callback):
    """A callback with state, randomness and a taste for the weights: all that resuming may get wrong."""

    def __init__(self, die_at: int = -1, by: Any = None) -> None:
        self.level, self.die_at, self.by = torch.zeros(3), die_at, by
        self.losses: list[float] = []

    def before_step(self, trainer: Trainer) -> None:
        self.level += torch.rand(3)
        trainer.phase = "late" if trainer.step > 20 else "early"

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        with torch.no_grad():
            trainer.model[0].weight.mul_(1 + 1e-3 * self.level[0])  # type: ignore[index, operator]
        if loss is not None:
            self.losses.append(loss)
        if trainer.step == self.die_at:
            self.by()

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level, "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.level, self.losses = state["level"], list(state["losses"])


def make_trainer(data: Small, out: Path | None, drift: Drift | None = None, **options: Any) -> Trainer:
    given: dict[str, Any] = {"checkpoint_every": 7, "log_every": 5, "batch_size": 16, "epochs": 3, "seed": 4}
    return Trainer(
        make_model(),
        data,
        out=out,
        callbacks=[drift or Drift()],
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), 3e-3, amsgrad=True),
        lr=cosine(36, warmup=5),
        progress=False,
        **given | options,
    )


def final(trainer: Trainer) -> dict[str, Any]:
    """Everything that must be equal, flattened to what == can compare."""
    drift = trainer.callbacks[0]
    assert isinstance(drift, Drift)
    tensors = {**trainer.model.state_dict(), "level": drift.level}
    for i, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"{i}.{k}": v for k, v in state.items()}
    values = {k: v.tolist() for k, v in tensors.items()}
    return {**values, "history": trainer.history, "losses": drift.losses, "step": trainer.step}


class Killed(Exception):
    pass


def die() -> None:
    raise Killed


@pytest.mark.parametrize("step", [6, 7, 12, 23, 34])
def test_a_killed_run_continues_exactly(data: Small, tmp_path: Path, step: int) -> None:
    whole = make_trainer(data, None)
    whole.run()
    with pytest.raises(Killed):
        make_trainer(data, tmp_path, Drift(step, die), checkpoint_every=3).run()
    torch.manual_seed(step)  # another process would have another random state
    resumed = make_trainer(data, tmp_path, checkpoint_every=3)
    tree = resumed.load_checkpoint()
    assert 0 < tree["step"] <= step < 36
    resumed.run()
    assert final(resumed) == final(whole)
    assert set(resumed.seconds) == {"early", "late", "evaluation", "checkpoint", "training"}


def test_an_interrupted_run_saves_the_step_it_finished(data: Small, tmp_path: Path) -> None:
    whole = make_trainer(data, None)
    whole.run()
    before = signal.getsignal(signal.SIGINT)
    stopped = make_trainer(
        data, tmp_path, Drift(17, lambda: os.kill(os.getpid(), signal.SIGTERM)), checkpoint_every=None
    )
    with pytest.raises(RunInterrupted, match=r"step 18 of 36; saved in .* --resume"):
        stopped.run()
    assert signal.getsignal(signal.SIGINT) is before
    resumed = make_trainer(data, tmp_path, checkpoint_every=None)
    assert resumed.load_checkpoint()["step"] == 18
    resumed.run()
    assert final(resumed) == final(whole)


class Enough(Drift):
    """Ends the training before step 17, which is within an epoch."""

    def before_step(self, trainer: Trainer) -> None:
        super().before_step(trainer)
        if trainer.step == 17:
            trainer.end()


def test_a_training_that_was_ended_is_over(data: Small, tmp_path: Path) -> None:
    """The step before which it ends is not done. A checkpoint of before ends there again, one of after at once."""
    short = make_trainer(data, None)
    short.run(stop=17)
    ended = make_trainer(data, tmp_path, Enough())
    ended.run()
    assert ended.ended and ended.step == ended.total_steps == 17 and ended.epochs == 3
    assert final(ended)["0.weight"] == final(short)["0.weight"] and len(ended.history) == 1
    assert not short.ended and short.total_steps == 36
    level = ended.callbacks[0].level  # type: ignore[attr-defined]
    resumed = make_trainer(data, tmp_path, Enough())
    assert resumed.load_checkpoint()["step"] == 17 and resumed.ended and resumed.total_steps == 17
    resumed.run()
    assert final(resumed) == final(ended)
    assert torch.equal(resumed.callbacks[0].level, level)  # type: ignore[attr-defined]
    with pytest.raises(Killed):
        make_trainer(data, tmp_path / "again", Enough(15, die), checkpoint_every=7).run()
    late = make_trainer(data, tmp_path / "again", Enough())
    assert late.load_checkpoint()["step"] == 14
    late.run()
    assert final(late) == final(ended) and late.ended


def test_a_second_interrupt_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.received == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    with StopRequest(), pytest.raises(AssertionError):
        raise AssertionError


SCRIPT = """
import sys, json, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from training.conftest import make_data
from training.test_resume import make_trainer, final
from secateurs.errors import RunInterrupted
from secateurs.training import Callback
class Say(Callback):
    def after_step(self, trainer, loss):
        print(trainer.step, flush=True)
trainer = make_trainer(make_data(), sys.argv[2], epochs=400, checkpoint_every=None)
trainer.callbacks.append(Say())
if "--resume" in sys.argv:
    trainer.load_checkpoint()
try:
    trainer.run(stop=trainer.step + 30 if "--resume" in sys.argv else None)
except RunInterrupted as error:
    sys.exit(str(error))
print(json.dumps(final(trainer)))
"""


def test_ctrl_c_in_a_process_of_its_own(data: Small, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if int(line) == 40:
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        message = process.stderr.read()
    assert process.returncode == 1 and "--resume" in message and "Traceback" not in message
    step = load_tree(Checkpoint(tmp_path).path)["step"]
    assert 40 < step < 4800 and f"step {step} of 4800" in message
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    whole = make_trainer(data, None, epochs=400)
    whole.run(stop=step + 30)
    assert result == json.loads(json.dumps(final(whole)))


def test_killed_while_writing_leaves_the_previous_file_whole(tmp_path: Path) -> None:
    """Each tree is one number, everywhere; a mixture, or a file cut short, would show."""
    checkpoint = Checkpoint(tmp_path)
    seen = set()

    def written() -> int:
        return checkpoint.path.stat().st_mtime_ns if checkpoint.exists else 0

    for attempt in range(6):
        child = os.fork()
        if child == 0:
            for number in range(10**6):
                save_tree(checkpoint.path, {"format": FORMAT, "step": number, "model": torch.full((400_000,), number)})
        for _ in range(2 + attempt):  # as many whole files, however slow the machine; then somewhere within the next
            before = written()
            while written() == before:
                time.sleep(0.0005)
        time.sleep(0.0013 * attempt)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        tree = checkpoint.read()
        assert (tree["model"] == tree["step"]).all() and len(tree["model"]) == 400_000
        seen.add(tree["step"])
    assert len(seen) > 1
    assert not list(tmp_path.glob(".*.part"))  # what the killed left is swept up


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.write({"step": 1, "model": {"w": torch.ones(2), "n": torch.tensor(3)}})
    assert not checkpoint.write({"step": 2, "model": {"w": torch.tensor([1.0, float("inf")])}})
    assert checkpoint.read()["step"] == 1 and checkpoint.step == 1


def test_checkpoints_that_cannot_be_used(data: Small, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint"):
        make_trainer(data, tmp_path).load_checkpoint()
    with pytest.raises(RunError, match="out="):
        make_trainer(data, None).load_checkpoint()
    make_trainer(data, tmp_path).run(stop=3)
    with pytest.raises(RunError, match="its seed is 4, this run's is 5"):
        make_trainer(data, tmp_path, seed=5).load_checkpoint()
    with pytest.raises(RunError, match="callbacks"):
        Trainer(make_model(), data, batch_size=16, seed=4, epochs=3, out=tmp_path).load_checkpoint()
    other = Trainer(torch.nn.Linear(8, 4), data, batch_size=16, seed=4, epochs=3, out=tmp_path, callbacks=[Drift()])
    with pytest.raises(RunError, match="does not fit this model"):
        other.load_checkpoint()
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=r"damaged.*--force"):
        make_trainer(data, tmp_path).load_checkpoint()
    path.unlink()
    save_tree(path, {"format": 99, "step": 1})
    with pytest.raises(RunError, match="another version"):
        make_trainer(data, tmp_path).load_checkpoint()


def test_a_folder_that_cannot_be_written(data: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        make_trainer(data, tmp_path / "file").run(stop=8)


def test_shapes_that_changed_are_restored_by_the_callback_that_changed_them(data: Small, tmp_path: Path) -> None:
    class Narrow(Drift):
        def cut(self, trainer: Trainer) -> None:
            layer = trainer.model[4]  # type: ignore[index]
            layer.weight.data = layer.weight.data.clone()
            norm, first = trainer.model[1], trainer.model[0]  # type: ignore[index]
            first.weight.data, first.bias.data = first.weight.data[:9].clone(), first.bias.data[:9].clone()
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, name).data = getattr(norm, name).data[:9].clone()
            layer.weight.data = layer.weight.data[:, :9].clone()
            trainer.optimizer.state.clear()
            trainer.model_changed()

        def after_step(self, trainer: Trainer, loss: float | None) -> None:
            if trainer.step == 10:
                self.cut(trainer)
            super().after_step(trainer, loss)

        def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
            if tree["step"] > 10:
                self.cut(trainer)

    whole = make_trainer(data, None, Narrow())
    whole.run()
    make_trainer(data, tmp_path, Narrow()).run(stop=19)
    resumed = make_trainer(data, tmp_path, Narrow())
    resumed.load_checkpoint()
    resumed.run()
    assert final(resumed) == final(whole)
