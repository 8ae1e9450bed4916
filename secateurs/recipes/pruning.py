"""One run, whatever the method: train, cut at a step, recover. A callback of the trainer.

A method says when to cut and who stays. Everything else is here, once: what is measured along the way, the
snapshots of the network just before and just after the cut, the optimizer and the learning rate afterwards,
and how an interrupted run gets back to the shapes it had.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..partition import Players
from ..records import Certificate, HistoryPoint, LayerRow, PlayersBlock
from ..recovery import Removal
from ..shapes import Mask
from ..spec import Budget
from ..storage import save_tree
from ..structure import Surgery, replay
from ..training import Callback, Trainer
from ..training.distillation import distillation
from .latency import Clock
from .masks import erase
from .repair import Repair
from .tracking import point_values

SAMPLE = 20_000  # players listed in a record at most


@dataclass
class Cut:
    """What a method decided at the cut.

    Attributes:
        surgery: from the original model to the pruned one; None when the shape stays (weight granularity).
        kept: ``(players,)`` over the original players.
        participation, benefit, cost: over the original players, for the report.
    """

    surgery: Surgery | None
    kept: Mask
    participation: Tensor
    benefit: Tensor
    cost: Tensor
    certificate: Certificate | None = None


class Pruning(Callback):
    """Base of every method's run.

    Args:
        players: found on the model before training.
        budget: what must hold; latency already converted.
        options: training settings.
        total: optimizer steps of the whole run.
        folder: where snapshots go; None keeps them in memory.

    Attributes:
        seed: the run's, for methods that draw. given: whether the model came trained.
        listener: hears of moments of the run: how many there were, the step, and numbers by name.
        repair: what is done right after the cut. stop: the step at which the run ends, ``total`` unless nothing was
            left to recover.
    """

    seed: int = 0
    given: bool = False

    def __init__(self, players: Players, budget: Budget, options: Any, total: int, folder: Path | None = None) -> None:
        self.players = players
        self.original = players
        self.count = players.count
        self.options: Any = options
        self.total = self.stop = total
        self.repair = Repair(options)
        self.folder = folder
        at = self.cut_at()
        self.cut_step = max(1, min(total - 1, round(at * total))) if at > 0 else 0
        self.history: list[HistoryPoint] = []
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.surgery: Surgery | None = None
        self.outcome: dict[str, Any] | None = None
        self.masks: dict[str, Tensor] = {}
        self.teacher: nn.Module | None = None
        self.listener: Callable[[int, int, dict[str, float]], None] | None = None
        self.moments = 0
        self._loss: float | None = None
        self.targets = players.targets(budget)
        self.latency: Clock | None = None

    # -- what a method supplies ---------------------------------------------------------------------------

    @abstractmethod
    def cut_at(self) -> float:
        """When to cut, as a fraction of the run; 0 is before any training."""

    @abstractmethod
    def decide(self, trainer: Trainer) -> Cut:
        """Cut the trainer's model in place and say what was done."""

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer before the cut."""
        return self.options.make(model)

    def recovery_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer after the cut."""
        return self.options.make(model, recovery=self.cut_step > 0)

    def may_end(self) -> bool:
        """Whether the steps after the cut are a recovery, which is left out where nothing is left to recover."""
        return self.cut_step > 0 or self.given

    def standing(self) -> tuple[Tensor, dict[str, dict[str, float]]]:
        """Participation of the players still there, and prices, demand and path if there is a market."""
        return torch.ones(self.players.count), {}

    # -- the course of a run ------------------------------------------------------------------------------

    def rate(self, step: int) -> float:
        """Learning-rate factor: a short warm-up, constant up to the cut, then the recovery schedule. A network that was
        cut before any training is simply trained."""
        if self.cut_step == 0:
            return self.options.dense_rate(self.total)(step)
        if step < self.cut_step:
            return min(1.0, (step + 1) / max(1, self.total // 50))
        return self.options.recovery_rate(self.cut_step, self.total)(step)

    def on_start(self, trainer: Trainer) -> None:
        trainer.phase = self.phase(trainer.step)

    def phase(self, step: int) -> str:
        return "training" if step < self.cut_step or self.cut_step == 0 else "recovery"

    def before_step(self, trainer: Trainer) -> None:
        trainer.phase = self.phase(trainer.step)
        if trainer.step == self.cut_step and self.outcome is None:
            self._cut(trainer)
            trainer.phase = self.phase(trainer.step)

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        if loss is not None:
            self._loss = loss
            self._tell(trainer, trainer.step, {"recent_loss": loss})
        if self.masks:
            erase(trainer.model, self.masks)

    def on_epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        self.note(trainer, metrics.get("accuracy"), metrics.get("loss"))
        if "validation_loss" in metrics:
            self._tell(trainer, trainer.step, {"validation/loss": metrics["validation_loss"]})
        if self.repair.rows and trainer.step == trainer.total_steps and "accuracy" in metrics:
            taught = self.teacher is not None and self.options.distill > 0
            self.repair.conclude(trainer, "distill" if taught else "finetune", metrics["accuracy"])

    def note(self, trainer: Trainer, accuracy: float | None, loss: float | None) -> None:
        """Add a point to the history."""
        if self.outcome is None:
            s, market = self.standing()
            total, active = float(s.sum()), int((s >= 0.01).sum())
        else:
            kept = self.outcome["kept"]
            total, active, market = float(kept.sum()), int(kept.sum()), {}
        point = HistoryPoint(
            step=trainer.step,
            epoch=trainer.epoch,
            phase=self.phase(max(trainer.step - 1, 0)),
            loss=loss if loss is not None else self._loss,
            accuracy=accuracy,
            sparsity=1 - active / self.count,
            mean_participation=total / self.count,
            active=active,
            lr=trainer.optimizer.param_groups[0]["lr"],
            **market,
        )
        self.history.append(point)
        self._tell(trainer, point.step, point_values(point))

    def _tell(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        """To whoever listens; the time that takes is no training's."""
        self.moments += 1
        if self.listener is not None:
            with trainer.timed("tracking"):
                self.listener(self.moments, step, values)

    def _cut(self, trainer: Trainer) -> None:
        self.snapshot("gated", trainer)
        before, earlier = self.repair.remember(trainer.model), self.surgery
        cut = self.decide(trainer)
        self.surgery = cut.surgery
        self.outcome = {
            "kept": cut.kept.cpu(),
            "auto": self.players.auto,
            "participation": cut.participation.cpu(),
            "benefit": cut.benefit.cpu(),
            "cost": cut.cost.cpu(),
            "certificate": cut.certificate.model_dump_json() if cut.certificate else None,
        }
        if self.players.granularity == "weight":
            self.masks = self.players.entries(cut.kept)
        self.snapshot("cut", trainer)
        if before is not None:
            self._repair(trainer, before, earlier)
        self._begin_recovery(trainer)
        trainer.model_changed()

    def _repair(self, trainer: Trainer, before: nn.Module, earlier: Surgery | None) -> None:
        """Repair the network, and end the run if that is all it needs."""
        surgery = self.surgery
        if surgery is not None and earlier is not None:
            surgery = surgery.since(earlier)
        accuracies = [point.accuracy for point in self.history if point.accuracy is not None]
        self.repair.carry_out(trainer, Removal(before, surgery, self.masks or None), max(accuracies, default=None))
        if self.repair.auto and self.repair.recovered and self.may_end():
            self.stop = trainer.step
            trainer.end()
            self.note(trainer, self.repair.accuracy, None)

    def _begin_recovery(self, trainer: Trainer) -> None:
        trainer.optimizer = self.recovery_optimizer(trainer.model)
        for group in trainer.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if self.teacher is not None and self.options.distill > 0:
            o = self.options
            trainer.loss = distillation(self.teacher, o.distill, o.temperature, o.label_smoothing)

    # -- snapshots and resuming ---------------------------------------------------------------------------

    def snapshot(self, label: str, trainer: Trainer) -> None:
        """Keep the network as it is now: its weights, and the surgery that gives it its shape."""
        state = {k: v.detach().cpu().clone() for k, v in trainer.model.state_dict().items()}
        tree = {"surgery": self.surgery.model_dump_json() if self.surgery else None, "weights": state}
        if self.outcome is not None:
            tree["kept"] = self.outcome["kept"]  # for the control that trains this network from scratch
        if self.folder is None:
            self.snapshots[label] = tree
        elif trainer.is_main:
            save_tree(self.folder / f"{label}.safetensors", tree)

    def state_dict(self) -> Any:
        return {
            "surgery": self.surgery.model_dump_json() if self.surgery else None,
            "outcome": self.outcome,
            "history": [p.model_dump_json() for p in self.history],
            "loss": self._loss,
            "masks": self.masks,
            "repair": self.repair.state_dict(),
            "stop": self.stop,
            "moments": self.moments,
        }

    def load_state_dict(self, state: Any) -> None:
        self.outcome, self._loss, self.masks = state["outcome"], state["loss"], state["masks"]
        self.history = [HistoryPoint.model_validate_json(p) for p in state["history"]]
        self.repair.load_state_dict(state["repair"])
        self.stop, self.moments = state["stop"], state["moments"]

    def saved(self, tree: dict[str, Any]) -> Any:
        """The run's own part of a checkpoint."""
        return next(s for n, s in tree["callbacks"] if n == type(self).__name__)

    def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
        """Give model and optimizer the shapes they had."""
        state = self.saved(tree)
        if state["surgery"] is not None:
            self.surgery = Surgery.model_validate_json(state["surgery"])
            replay(trainer.model, self.surgery)
        if state["outcome"] is not None:
            self._begin_recovery(trainer)

    def spans(self) -> dict[str, tuple[int, int]]:
        """Steps of each phase."""
        out: dict[str, tuple[int, int]] = {}
        for step in range(self.stop):
            name = self.phase(step)
            out[name] = (out.get(name, (step, 0))[0], step + 1)
        return out

    def game_seconds(self) -> float:
        """Wall seconds of a dynamics' own arithmetic; none for one-shot methods."""
        return 0.0

    # -- what the record takes from it ---------------------------------------------------------------------

    def layer_rows(self) -> list[LayerRow]:
        assert self.outcome is not None
        kept = self.outcome["kept"]
        self.original.round_auto_to(self.outcome["auto"])
        return [
            LayerRow(
                name=layer.name,
                kind=layer.kind,
                total=layer.size,
                kept=int(kept[layer.start : layer.stop].sum()),
                minimum=layer.minimum,
                multiple=layer.multiple,
                tied_to=list(layer.tied_to),
            )
            for layer in self.original.layers
        ]

    def players_block(self, epsilon: float = 0.01) -> PlayersBlock:
        assert self.outcome is not None
        index = torch.arange(self.count)
        if self.count > SAMPLE:
            generator = torch.Generator().manual_seed(0)
            index = torch.randperm(self.count, generator=generator)[:SAMPLE].sort().values
        layers = self.original.layers
        layer_of = torch.repeat_interleave(torch.arange(len(layers)), torch.tensor([x.size for x in layers]))
        pick = {k: self.outcome[k][index].tolist() for k in ("participation", "benefit", "cost", "kept")}
        return PlayersBlock(layer=layer_of[index].tolist(), epsilon=epsilon, sampled=self.count > SAMPLE, **pick)

    def certificate(self) -> Certificate | None:
        assert self.outcome is not None
        text = self.outcome["certificate"]
        return Certificate.model_validate_json(text) if text else None
