"""Two gloo processes train as one does with the same global batch, stop together, and shrink together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateurs.errors import RunError
from secateurs.storage import load_tree
from secateurs.training import Callback, Trainer
from secateurs.training.processes import fitting

from .conftest import make_data

SCRIPT = """
import os, signal, sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from pathlib import Path
from training.test_processes import Shrink, make_trainer
from secateurs.errors import RunInterrupted
from secateurs.storage import save_tree
from secateurs.training import Callback

class Stop(Callback):
    def after_step(self, trainer, loss):
        if trainer.step == 13 and trainer.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

out = Path(sys.argv[2])
plain, shrunk, stopped = make_trainer(), make_trainer([Shrink()]), make_trainer([Stop()], out)
assert plain.world == 2 and plain.device.type == "cpu"
plain.run()
shrunk.run()
try:
    stopped.run()
except RunInterrupted as error:
    assert stopped.step == 20, stopped.step
else:
    raise AssertionError("not interrupted")
resumed = make_trainer([Stop()], out)
resumed.load_checkpoint()
resumed.run()
for name, trainer in {"plain": plain, "shrunk": shrunk, "resumed": resumed}.items():
    tree = {"model": trainer.model.state_dict(), "history": trainer.history}
    save_tree(out / f"{name}-{trainer.rank}", tree)
"""


class Shrink(Callback):
    """Halves the hidden layer in place, as a pruner would."""

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        if trainer.step == 15:
            first, last = trainer.model[0], trainer.model[2]  # type: ignore[index]
            first.weight.data, first.bias.data = first.weight.data[::2].clone(), first.bias.data[::2].clone()
            last.weight.data = last.weight.data[:, ::2].clone()
            trainer.optimizer.state.clear()
            trainer.model_changed()


def make_trainer(callbacks: list[Callback] | None = None, out: Path | None = None) -> Trainer:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    sgd = lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)  # noqa: E731
    return Trainer(
        model, make_data(), batch_size=16, seed=2, epochs=3, optimizer=sgd, callbacks=callbacks or [], out=out
    )


def launch(out: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(out)]
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)


def assert_close(tree: dict[str, Any], trainer: Trainer) -> None:
    for name, tensor in trainer.model.state_dict().items():
        assert torch.allclose(tree["model"][name], tensor, rtol=0, atol=1e-5), name
    assert [h["accuracy"] for h in tree["history"]] == [h["accuracy"] for h in trainer.history]
    for ours, theirs in zip(tree["history"], trainer.history):
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=1e-5)
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    launch(tmp_path)
    trees = {f"{n}-{r}": load_tree(tmp_path / f"{n}-{r}") for n in ("plain", "shrunk", "resumed") for r in (0, 1)}
    one, shrunk = make_trainer(), make_trainer([Shrink()])
    one.run()
    shrunk.run()
    for rank in (0, 1):
        assert_close(trees[f"plain-{rank}"], one)
        assert_close(trees[f"shrunk-{rank}"], shrunk)
        for name, tensor in trees["plain-0"]["model"].items():  # stopped at 20, continued: exactly the same
            assert torch.equal(tensor, trees[f"resumed-{rank}"]["model"][name])
        assert trees[f"resumed-{rank}"]["history"] == trees["plain-0"]["history"]
    assert trees["shrunk-0"]["model"]["0.weight"].shape == (16, 8)


def test_batches_that_cannot_be_shared() -> None:
    assert fitting(64, 1000, 2) == 64 and fitting(64, 15, 2) == 14
    with pytest.raises(RunError, match="evenly by 2 processes"):
        fitting(63, 1000, 2)
    with pytest.raises(RunError, match="do not go round"):
        fitting(64, 1, 2)
