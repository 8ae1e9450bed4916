"""What a checkpoint holds, and how a trainer takes it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import RunError

if TYPE_CHECKING:
    from .trainer import Trainer


def identity(trainer: Trainer) -> dict[str, Any]:
    """What must be equal for a checkpoint to continue this very run."""
    return {
        "training": trainer.label,
        "seed": trainer.seed,
        "epochs": trainer.epochs,
        "batch size": trainer.batch_size,
        "data hash": trainer.data.hash,
    }


def capture(trainer: Trainer) -> dict[str, Any]:
    """The trainer's state as a tree for :func:`secateurs.storage.save_tree`.

    No random state: each step's is a function of (seed, step, process).
    """
    scaler = trainer.accelerator.scaler
    return {
        "identity": identity(trainer),
        "step": trainer.step,
        "ended": trainer.ended,
        "phase": trainer.phase,
        "history": trainer.history,
        "losses": trainer.losses.state_dict(),
        "seconds": trainer.seconds,
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in trainer.callbacks],
    }


def restore(trainer: Trainer, tree: dict[str, Any], where: str) -> None:
    """Put a trainer where :func:`capture` found it.

    Raises:
        RunError: the checkpoint is of another run, or the model has other shapes.
    """
    for name, here in identity(trainer).items():
        if (there := tree["identity"].get(name)) != here:
            raise RunError(
                f"{where} belongs to another run: its {name} is {there!r}, this run's is {here!r}; "
                "repeat the first command with --resume, or start again with --force"
            )
    names = [type(callback).__name__ for callback in trainer.callbacks]
    saved = [name for name, _ in tree["callbacks"]]
    if names != saved:
        raise RunError(f"{where} was written with callbacks {saved}, this run has {names}; start again with --force")
    for callback in trainer.callbacks:
        callback.before_load(trainer, tree)
    try:
        trainer.model.load_state_dict(tree["model"])
        trainer.optimizer.load_state_dict(tree["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise RunError(f"{where} does not fit this model: {error}; start again with --force") from error
    if trainer.accelerator.scaler is not None and tree["scaler"] is not None:
        trainer.accelerator.scaler.load_state_dict(tree["scaler"])
    for callback, (_, state) in zip(trainer.callbacks, tree["callbacks"]):
        callback.load_state_dict(state)
    trainer.step, trainer.history = tree["step"], tree["history"]
    if tree["ended"]:
        trainer.end()
    trainer.losses.load_state_dict(tree["losses"])
    trainer.phase, trainer.seconds = tree["phase"], tree["seconds"]


def save_if_due(trainer: Trainer) -> None:
    """Write the checkpoint if ``checkpoint_every`` has passed, or an epoch ends and writing is cheap."""
    checkpoint, every = trainer.checkpoint, trainer.checkpoint_every
    if checkpoint is None or every is None or not trainer.is_main:
        return
    if trainer.world > 1 and trainer.losses.pending:
        return  # these are still each process's own; wait until they have been averaged
    age = checkpoint.age
    due = trainer.step - (checkpoint.step or 0) >= every if isinstance(every, int) else age >= every
    if due or (trainer.step % trainer.steps_per_epoch == 0 and age > 50 * checkpoint.cost):
        save(trainer)


def save(trainer: Trainer) -> None:
    """Write the checkpoint, on the main process, if losses and weights are finite."""
    if trainer.checkpoint is None or not trainer.is_main:
        return
    with trainer.timed("checkpoint"):
        if trainer.losses.finite:
            trainer.checkpoint.write(capture(trainer))
