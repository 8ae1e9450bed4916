"""The command line in a process of its own that can be killed at a chosen step of a chosen training.

Processes come from a fork server that has imported everything once and trained nothing.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "secateurs.cli.app",
        "secateurs.recipes",
        "secateurs.report",
        "torch._dynamo",
        "torch.onnx._internal.exporter._core",
        "onnxscript",
        "onnxruntime",
        "plotly.graph_objects",
        "sklearn.datasets",
    ]
)


def main(
    argv: list[str],
    log: str,
    blow: tuple[str, int, int] | None = None,
    humble: bool = False,
    place: dict[str, str] | None = None,
) -> None:
    """Run ``secateurs ARGV`` with output to ``log``.

    Args:
        blow: (training's label, step, signal) that this process sends itself.
        place: environment variables that give it a rank; its participations then go to ``log`` + ".s".
        humble: give up root's right to ignore permissions.
    """
    with open(log, "w") as out, open(log + ".err" if place else log, "a") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
    os.environ.update(place or {})
    import torch

    from secateurs.cli import main as run
    from secateurs.recipes import flagship
    from secateurs.recipes import run as run_module
    from secateurs.training import Trainer, progress, trainer

    torch.set_num_threads(1)
    progress.LINES = float(
        "inf"
    )  # on a busy machine a run may be long enough for lines, and both streams go to one file
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
    if humble and os.geteuid() == 0:
        _obey_permissions()
    if place is not None:
        _watch(flagship, log + ".s")
        if place["RANK"] != "0":  # late, so that a folder which it opened itself would be occupied by then
            open_ = run_module.open_folder
            run_module.open_folder = lambda *a, **k: (time.sleep(1), open_(*a, **k))[1]
    sys.argv = ["secateurs", *argv]
    run()


def _watch(flagship: Any, path: str) -> None:
    """Write every tenth step's participation of all original players, and how many were still there."""
    import torch

    from secateurs.storage import save_tree

    kept: dict[str, Any] = {"players": []}
    after = flagship.EquilibriumRun.after_step

    def watched(self: Any, trainer: Any, loss: float | None) -> None:
        after(self, trainer, loss)
        if self.outcome is None and trainer.step % 10 == 9:
            kept[str(trainer.step)] = torch.zeros(self.count)
            kept[str(trainer.step)][self.game.alive] = self.game.s.float()
            kept["players"].append(self.game.players.count)
            save_tree(path, kept)

    flagship.EquilibriumRun.after_step = watched


def _obey_permissions() -> None:
    """Drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low and high words
    assert libc.capget(header, held) == 0
    for word in range(3):
        held[word] &= ~0b110
    assert libc.capset(header, held) == 0, ctypes.get_errno()


def secateurs(
    argv: list[str], folder: Path, *, blow: tuple[str, int, int] | None = None, humble: bool = False
) -> tuple[int, str]:
    """Exit code (negative: killed by that signal) and output."""
    log = folder / f"log-{len(list(folder.glob('log-*')))}"
    process = CONTEXT.Process(target=main, args=(argv, str(log), blow, humble))
    process.start()
    process.join(180)
    assert process.exitcode is not None, "still running after three minutes"
    return process.exitcode, log.read_text()
