"""The command line in a process of its own that can be killed at a chosen step of a chosen training.

Processes come from a fork server that has imported everything once and trained nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["secateurs.cli.app", "secateurs.recipes", "sklearn.datasets", "onnxruntime", "torch.onnx"])


def main(argv: list[str], log: str, blow: tuple[str, int, int] | None, user: int | None) -> None:
    """Run ``secateurs ARGV`` with output to ``log``.

    Args:
        blow: (training's label, step, signal) that this process sends itself.
        user: whom to become first.
    """
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import torch

    from secateurs.cli import main as run
    from secateurs.recipes import flagship
    from secateurs.training import Trainer, trainer

    torch.set_num_threads(1)
    # Short runs: checkpoints every few steps instead of seconds, and compaction after a few idle steps.
    flagship.PATIENCE, flagship.LOOK_EVERY = 5, 5
    assert Trainer.__init__.__kwdefaults__ is not None
    Trainer.__init__.__kwdefaults__["checkpoint_every"] = 7
    if blow is not None:
        label, step, signal = blow
        update = trainer.update

        def deadly(self: Any, *args: Any) -> None:
            if (self.label, self.step) == (label, step):
                os.kill(os.getpid(), signal)
            update(self, *args)

        trainer.update = deadly
    if user is not None:
        os.setegid(user)
        os.seteuid(user)
    sys.argv = ["secateurs", *argv]
    run()


def secateurs(
    argv: list[str], folder: Path, *, blow: tuple[str, int, int] | None = None, user: int | None = None
) -> tuple[int, str]:
    """Exit code (negative: killed by that signal) and output."""
    log = folder / f"log-{len(list(folder.glob('log-*')))}"
    process = CONTEXT.Process(target=main, args=(argv, str(log), blow, user))
    process.start()
    process.join(180)
    assert process.exitcode is not None, "still running after three minutes"
    return process.exitcode, log.read_text()
