"""The training loop. Order, randomness and learning rate are functions of (seed, step): it can stop anywhere.

Nothing about a step depends on what happened before it except the weights, the optimizer's state and the
callbacks' own. A checkpoint therefore holds these, and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import nn

from ..errors import DivergenceError, RunError, RunInterrupted
from .callback import Callback, Loss, TrainingData, cross_entropy
from .checkpoint import Checkpoint
from .clock import Clock
from .evaluation import evaluate
from .losses import BadLoss, LossLog
from .processes import average_gradients, fitting, least, make_accelerator, share_buffers
from .progress import Progress
from .rates import Rate
from .resume import restore, save, save_if_due
from .stopping import StopRequest
from .update import prepare, update

OptimizerFactory = Callable[[nn.Module], torch.optim.Optimizer]

_AGREE_EVERY = 10  # steps between looks at the other processes' stop requests


class Trainer:
    """Trains ``model`` on ``data.train``.

    Args:
        model: trained in place, moved to the accelerator's device.
        batch_size: examples per step over all processes together; it must divide by their number.
        epochs: passes over the training data; the last, partial batch of each is left out.
        out: folder for the checkpoint; None: none is written.
        optimizer: one over the model's parameters, or a function that makes one from the model; default:
            Adam at 1e-3.
        loss: ``loss(model, x, y)``; default cross-entropy. May be replaced during training.
        lr: step → factor on the optimizer's own learning rates. May be replaced during training.
        clip: largest norm of the whole gradient.
        checkpoint_every: an int counts steps, a float seconds. Also written at the ends of epochs as long as
            that takes under a fiftieth of the time, and when ``run`` ends or is interrupted. None: only then.
        evaluate_every: epochs between evaluations on ``data.validation``; 0: never.
        log_every: steps between readings of the loss, which is when divergence is noticed.
        label: names this training in messages, and is the first ``phase``.

    Attributes:
        step: index of the step about to be done.
        history: metrics of each epoch.
        accelerator, device, optimizer, loss, lr, callbacks, seed, batch_size, epochs.

    Raises:
        RunError: settings that do not fit the data or the number of processes.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        *,
        batch_size: int,
        seed: int,
        epochs: int,
        out: str | Path | None = None,
        optimizer: torch.optim.Optimizer | OptimizerFactory | None = None,
        loss: Loss | None = None,
        lr: Rate | None = None,
        clip: float | None = None,
        callbacks: Sequence[Callback] = (),
        accelerator: Accelerator | None = None,
        mixed_precision: str = "no",
        checkpoint_every: int | float | None = 30.0,
        evaluate_every: int = 1,
        log_every: int = 50,
        progress: bool = True,
        label: str = "training",
    ) -> None:
        self.accelerator = accelerator or make_accelerator(mixed_precision)
        self.device: torch.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.data, self.seed, self.epochs, self.label = data, seed, epochs, label
        self.batch_size = fitting(batch_size, len(data.train), self.world)
        self.steps_per_epoch = len(data.train) // self.batch_size
        self.model = model.to(self.device)
        self.optimizer = self._make_optimizer(optimizer)
        self.loss: Loss = loss or cross_entropy()
        self.lr, self.clip, self.callbacks = lr, clip, list(callbacks)
        self.checkpoint = Checkpoint(out) if out is not None else None
        self.checkpoint_every, self.evaluate_every = checkpoint_every, evaluate_every
        self.log_every, self.progress = log_every, progress
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._clock, self._phase, self._running = Clock(), label, False
        self._started = False
        self._last: int | None = None
        self.losses = LossLog()
        self._wrapped: nn.Module | None = None

    # -- what others read ---------------------------------------------------------------------------------

    @property
    def total_steps(self) -> int:
        """Steps of the whole training; those that were done, once it was ended before."""
        return self.epochs * self.steps_per_epoch if self._last is None else self._last

    @property
    def ended(self) -> bool:
        """Whether it was ended before all steps were done."""
        return self._last is not None

    def end(self) -> None:
        """Leave out the step that is about to be done, and all that would follow. All processes do so together."""
        self._last = self.step

    @property
    def epoch(self) -> float:
        """Passes over the data done so far."""
        return self.step / self.steps_per_epoch

    @property
    def phase(self) -> str:
        """The name under which time is being counted; callbacks set it."""
        return self._phase

    @phase.setter
    def phase(self, name: str) -> None:
        if name == self._phase:
            return
        self._phase = name
        if self._running:
            self._synchronise()
            self._clock.switch(name)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds by phase; ``evaluation`` and ``checkpoint`` are counted apart."""
        return self._clock.seconds

    @seconds.setter
    def seconds(self, value: dict[str, float]) -> None:
        self._clock.seconds = value

    def timed(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Within the block, time counts for ``name`` instead of the phase (on a GPU: the host's time)."""
        return self._clock.timed(name)

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.accelerator.is_main_process

    # -- training -----------------------------------------------------------------------------------------

    def run(self, start: int | None = None, stop: int | None = None) -> None:
        """Train from ``start`` (default: where it is) up to step ``stop`` (default: the end).

        torch's global random state is reseeded at every step, from (seed, step, process).

        Raises:
            DivergenceError: the loss became NaN or infinite; the message says at which step.
            RunInterrupted: SIGINT or SIGTERM arrived; the step was finished and the checkpoint written.
        """
        self._start()
        if start is not None and start != self.step:
            self.step = start
            self.losses.restart(start)
        stop = self.total_steps if stop is None else min(stop, self.total_steps)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.model_changed()
        self.model.train()
        shown = self.progress and self.is_main
        bar = Progress(self.label, self.total_steps, epochs=self.epochs, start=self.step, shown=shown)
        self._running = True
        self._clock.switch(self._phase)
        try:
            with StopRequest() as request:
                while self.step < min(stop, self.total_steps):
                    self._pass(stop, request, bar)
                self._stop_if_asked(request, now=True)
            self.losses.read(self.accelerator)
            if self.checkpoint is not None and (self.ended or self.checkpoint.step != self.step):
                save(self)
        except BadLoss as bad:
            raise self._divergence(bad) from None
        finally:
            self._clock.switch(None)
            self._running = False
            self._wrapped = None
            bar.close()

    def model_changed(self) -> None:
        """Say that parameters changed shape or were replaced, so that what watches them is made anew."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.world > 1:
            # The old wrapper's gradient accumulators expect the old shapes: they must be gone first.
            self._wrapped = None
            gc.collect()
        self._wrapped = average_gradients(self.model, self.accelerator)

    def _pass(self, stop: int, request: StopRequest, bar: Progress) -> None:
        """To the end of the epoch, or to ``stop``."""
        epoch, start = divmod(self.step, self.steps_per_epoch)
        batches = self.data.train.batches(
            self.batch_size,
            epoch=epoch,
            seed=self.seed,
            rank=self.rank,
            world=self.world,
            drop_last=True,
            device=self.device,
            start=start,
        )
        before, between, after = (self._hooks(n) for n in ("before_step", "before_update", "after_step"))
        for x, y in batches:
            self._stop_if_asked(request)
            prepare(self)
            for callback in before:
                callback.before_step(self)
            if self.ended:
                return
            assert self._wrapped is not None
            update(self, self._wrapped, x, y, between)
            loss = None
            if (self.step + 1) % self.log_every == 0:
                self.losses.read(self.accelerator)
                loss = self.losses.take_recent()
            for callback in after:
                callback.after_step(self, loss)
            self.step += 1
            bar.update(self.step, self._phase)
            if self.step % self.steps_per_epoch == 0:
                metrics = self._end_epoch(epoch)
                bar.epoch_end(self.step, self._phase, metrics.get("accuracy"))
            save_if_due(self)
            if self.step >= stop:
                return
        if self.step // self.steps_per_epoch == epoch:
            raise RunError(f"the training data ended at step {self.step}; {self.steps_per_epoch} steps were promised")

    def _end_epoch(self, epoch: int) -> dict[str, float]:
        self.losses.read(self.accelerator)
        metrics: dict[str, float] = {"epoch": epoch + 1, "step": self.step, "loss": self.losses.take_epoch()}
        if self.evaluate_every and ((epoch + 1) % self.evaluate_every == 0 or self.step == self.total_steps):
            self._synchronise()
            share_buffers(self.model, self.accelerator)
            with self.timed("evaluation"):
                result = evaluate(
                    self.model,
                    self.data.validation,
                    max(self.batch_size, 512),
                    self.device,
                    rank=self.rank,
                    world=self.world,
                )
            metrics |= {"accuracy": result.accuracy, "validation_loss": result.loss}
        self.history.append(metrics)
        for callback in self._hooks("on_epoch_end"):
            callback.on_epoch_end(self, metrics)
        return metrics

    # -- stopping and continuing --------------------------------------------------------------------------

    def load_checkpoint(self, folder: str | Path | None = None) -> dict[str, Any]:
        """Continue from the checkpoint in ``folder`` (default: this trainer's own), and return its tree.

        Raises:
            RunError: there is none, it is damaged, or it belongs to another run.
        """
        checkpoint = self.checkpoint if folder is None else Checkpoint(folder)
        if checkpoint is None:
            raise RunError("this training has no folder to load a checkpoint from; give it one with out=")
        tree = checkpoint.read()
        self._start()
        restore(self, tree, repr(str(checkpoint.path)))
        return tree

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for callback in self.callbacks:
                callback.on_start(self)

    def _stop_if_asked(self, request: StopRequest, *, now: bool = False) -> None:
        asked = request.received is not None
        if self.world > 1:
            if self.step % _AGREE_EVERY and not now:
                return
            asked = least(0 if asked else 1, self.accelerator) == 0
        if not asked:
            return
        where = f"{self.label} was interrupted at step {self.step} of {self.total_steps}"
        if self.checkpoint is None:
            raise RunInterrupted(f"{where}; it keeps no checkpoint, so nothing was saved")
        self.losses.read(self.accelerator)
        save(self)
        self.accelerator.wait_for_everyone()
        folder, kept = str(self.checkpoint.path.parent), self.checkpoint.kept
        if self.is_main and self.checkpoint.step != self.step:
            raise RunInterrupted(f"{where}; its weights were not finite, so they were not saved; {kept}")
        raise RunInterrupted(f"{where}; saved in {folder!r}. Continue with the same command and --resume")

    def _divergence(self, bad: BadLoss) -> DivergenceError:
        where = f"the loss of {self.label} became {bad.value} at step {bad.step} of {self.total_steps}"
        kept = "this run keeps no checkpoint" if self.checkpoint is None else self.checkpoint.kept
        return DivergenceError(f"{where}; {kept}. Lower the learning rate, clip gradients, or check the data")

    # -- construction -------------------------------------------------------------------------------------

    def _make_optimizer(self, given: torch.optim.Optimizer | OptimizerFactory | None) -> torch.optim.Optimizer:
        if given is None:
            return torch.optim.Adam(self.model.parameters(), lr=1e-3)
        # Anything with a step() is one: wrappers need not inherit from torch's class.
        if hasattr(given, "step"):
            return cast(torch.optim.Optimizer, given)
        return cast(OptimizerFactory, given)(self.model)

    def _hooks(self, name: str) -> list[Callback]:
        """The callbacks that do something at ``name``; the others cost nothing."""
        return [c for c in self.callbacks if getattr(type(c), name, None) is not getattr(Callback, name)]

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
