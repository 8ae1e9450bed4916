"""Runs of several levels: train, choose a mask, let the weights restart, again; the last training is the ticket's.

A run of S levels spends its steps on S + 1 trainings of equal length. Each of the first S ends with a mask, a part of
the one before, and with a restart of the weights that are left. Masks close geometrically: after level l the network
has

    R_l = R_0·(R_S/R_0)^(l/S)

of every resource R that the budget names, R_S being the budget: equal shares α leave at every level,
(1 − α)^S = R_S/R_0 (iterative magnitude pruning: Han et al. 2015; Frankle & Carbin 2019). The last mask meets the
budget as every cut does, and groups are then cut out. Repairs (:mod:`.repair`) follow that last cut alone, for after
every other the next training comes anyway; and only where weights are kept.

How weights restart is what the methods differ in: *rewind* takes them back to what they were at step k of the first
level (Frankle & Carbin 2019: k = 0; Frankle et al. 2020: later), *lr-rewind* keeps them and takes back the learning
rate's schedule only (Renda et al. 2020), *keep* goes on at a small learning rate, which is fine-tuning, and *reinit*
rewinds from level to level, but gives the ticket a fresh draw: the control that a winning ticket must beat.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RunError
from ..partition import Players
from ..selection import fit_budget, layer_counts, layerwise, round_rate
from ..shapes import Mask, PerPlayer
from ..signals import Signals
from ..spec import Budget, derive_seed
from ..storage import save_tree
from ..structure import Shrunk, shrink
from ..training import Rate, Trainer, constant, decided, evaluate
from .calibration import calibrated
from .latency import tighten
from .masks import erase
from .pruning import Cut, Pruning
from .tickets import LevelsOptions, Restart, redrawn, score_named, shuffled


class LevelsRun(Pruning):
    """Several trainings in one run. See :class:`secateurs.recipes.pruning.Pruning`.

    A method overrides :meth:`search_optimizer`, :meth:`rank`, :meth:`choose` or :meth:`restart`. Levels are counted
    from 1.

    Args:
        restart: how weights restart, unless the options say. shuffle: the ticket gets a random mask with as many
            players in every layer: the control for where the mask sits.

    Attributes:
        levels: S. starts: the step at which each training begins, and the end of the run.
        level: masks chosen so far. mask: the last of them. scores: what it was chosen by.
        past: weights that restarts need, by step.
    """

    options: LevelsOptions

    def __init__(
        self,
        players: Players,
        budget: Budget,
        options: LevelsOptions,
        total: int,
        folder: Path | None = None,
        *,
        restart: Restart = "rewind",
        shuffle: bool = False,
    ) -> None:
        self.players, self.options = players, options
        self.levels = self.count_levels(budget)
        self.score = score_named(options.score)
        self.score.require(players)
        self.way = options.restart or restart
        self.shuffle = shuffle
        if options.recovery and self.way in ("rewind", "reinit"):
            raise RunError(
                f"recovery={','.join(options.recovery)} repairs weights as a cut leaves them, and restart={self.way!r} "
                "takes them back to where they were long before; give restart=keep or lr-rewind, or no recovery"
            )
        super().__init__(players, budget, options, total, folder)  # a budget out of reach is said first
        if total <= self.levels:
            raise RunError(
                f"{self.levels} levels need {self.levels + 1} trainings of a step at least, and this run has {total} "
                "steps; use more epochs, or give levels= a smaller number"
            )
        self.starts = self.trainings()
        self.cut_step = self.starts[self.levels]
        self.rewind_step = self._rewind_step()
        self.dense = {name: players.amount(name) for name in self.targets}
        self.alpha = self._alpha()
        self.level = 0
        self.mask: Mask = torch.ones(self.count, dtype=torch.bool)
        self.scores: PerPlayer = torch.zeros(self.count)
        self.past: dict[str, dict[str, Tensor]] = {}

    # -- what a method may supply -------------------------------------------------------------------------

    def search_optimizer(self, model: nn.Module, level: int) -> torch.optim.Optimizer:
        """A fresh optimizer for the training of ``level``. Players that are masked have zero weights in the model."""
        return self.options.make(model)

    def rank(self, signals: Signals, level: int) -> PerPlayer:
        """What the mask of ``level`` is chosen by, ``(players,)``, higher = keep."""
        return self.score(self.players, signals)

    def choose(self, trainer: Trainer, level: int) -> Mask:
        """Who stays after the training of ``level``, ``(players,)``; those masked before leave whatever it says."""
        signals = self.signals(trainer, level)
        self.scores = self.rank(signals, level)
        if level == self.levels and self.latency is not None:
            clock = self.latency
            build = lambda: self._shrunk(self.select(level), inplace=False).model  # noqa: E731
            self.targets.update(decided(lambda: tighten(self.targets, build, clock), trainer.accelerator))
        keep = self.select(level)
        if self.way in ("keep", "lr-rewind"):
            self.score.repair(self.players, signals, keep)
        return keep

    def restart(self, trainer: Trainer, level: int) -> None:
        """Give the model the weights that the next training starts from; masked ones are set to zero afterwards."""
        if self.way in ("keep", "lr-rewind"):
            return
        start = self.past[str(self.rewind_step)]
        if self.way == "reinit" and level == self.levels:
            # A tied parameter is loaded under each of its names, the last of which stands.
            names = [name for name, _ in trainer.model.named_parameters(remove_duplicate=False)]
            start = redrawn(self.past["0"], names, derive_seed(trainer.seed, "reinit"))
        trainer.model.load_state_dict(start)

    # -- levels -------------------------------------------------------------------------------------------

    def count_levels(self, budget: Budget) -> int:
        """S: as the options say, or the smallest with (1 − rate)^S at most what the budget keeps."""
        if self.options.levels is not None:
            return self.options.levels
        dense = {name: self.players.amount(name) for name in budget.given}
        kept = min(target / dense[name] for name, target in budget.targets(dense).items())
        return max(1, math.ceil(math.log(kept) / math.log(1 - self.options.rate) - 1e-9)) if kept < 1 else 1

    def trainings(self) -> list[int]:
        """The step at which each training begins, and the end of the run."""
        return [round(self.total * i / (self.levels + 1)) for i in range(self.levels + 2)]

    def wanted(self, level: int) -> dict[str, float]:
        """The budgets after a level, absolute: geometric, or what rounds that are the same for every layer leave."""
        if level == self.levels:
            return self.targets
        if self.options.allocation == "layerwise":
            counts = layer_counts(self.players, self.alpha, level, self._factors())
            return {n: self.players.resource(n).amount(counts) for n in self.targets}
        return {n: d * (self.targets[n] / d) ** (level / self.levels) for n, d in self.dense.items()}

    def select(self, level: int) -> Mask:
        """The highest scores among those still there that fit the budgets of a level."""
        left = self.scores.detach().double().cpu().masked_fill(~self.mask, -torch.inf)
        if self.options.allocation == "layerwise":
            left = layerwise(self.players, left, self.alpha, self._factors())
        return fit_budget(self.players, left, self.wanted(level)).cpu() & self.mask

    def signals(self, trainer: Trainer, level: int) -> Signals:
        """What the score looks at, after the training of ``level``."""
        options = self.options
        return calibrated(
            trainer,
            self.players,
            self.score,
            batches=options.calibration or self.score.calibration,
            probes=options.probes,
            draw=("scores", level, trainer.step),
        )

    def _alpha(self) -> float:
        if self.options.allocation != "layerwise":
            return 0.0
        return round_rate(self.players, self.targets, self.levels, self._factors())

    def _factors(self) -> list[float]:
        factors = [1.0] * len(self.players.layers)
        if self.players.granularity == "weight" and len(factors) > 1:
            factors[-1] = self.options.output_rate
        return factors

    def _rewind_step(self) -> int:
        first, asked = self.starts[1], self.options.rewind
        step = min(round(asked * first), first - 1) if asked < 1 else round(asked)
        if step >= first:
            raise RunError(
                f"rewind={asked:g} is no step of the first training, which has {first}; give a smaller number, or a "
                "fraction below 1"
            )
        return step

    # -- the course of a run ------------------------------------------------------------------------------

    def cut_at(self) -> float:
        return self.levels / (self.levels + 1)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return self.search_optimizer(model, 1)

    def training_of(self, step: int) -> int:
        """Which training a step belongs to, from 1; the ticket's is ``levels`` + 1."""
        return min(max(bisect_right(self.starts, step), 1), self.levels + 1)

    def phase(self, step: int) -> str:
        number = self.training_of(step)
        return f"level {number}" if number <= self.levels else "recovery"

    def rate(self, step: int) -> float:
        number = self.training_of(step)
        start, stop = self.starts[number - 1], self.starts[number]
        if self.way == "keep" and number > 1:
            return self.options.finetune
        return self.schedule(stop - start)(step - start)

    def schedule(self, steps: int) -> Rate:
        """The learning rate of a whole training."""
        return constant() if self.options.schedule == "constant" else self.options.dense_rate(steps)

    def standing(self) -> tuple[Tensor, dict[str, dict[str, float]]]:
        return self.mask.float(), {}

    def before_step(self, trainer: Trainer) -> None:
        self._remember(trainer)
        if self.level + 1 < self.levels and trainer.step == self.starts[self.level + 1]:
            self.descend(trainer)
            self._take(trainer, self.search_optimizer(trainer.model, self.level + 1))
            trainer.model_changed()
        super().before_step(trainer)

    def descend(self, trainer: Trainer) -> None:
        """End a level: choose its mask, keep what it found, and let the weights restart under the mask."""
        level = self.level + 1
        mask = self.choose(trainer, level).cpu() & self.mask
        if self.shuffle and level == self.levels:
            mask = shuffled(self.players, mask, derive_seed(trainer.seed, "mask"))
        self._keep_level(trainer, level, mask)
        self.restart(trainer, level)
        self.level, self.mask = level, mask
        self.masks = self.players.entries(mask)
        erase(trainer.model, self.masks)

    def decide(self, trainer: Trainer) -> Cut:
        self.descend(trainer)
        surgery = None
        if self.players.granularity != "weight":
            self.masks = {}
            surgery = self._shrunk(self.mask, inplace=True).surgery
        ones, zeros = torch.ones(self.count), torch.zeros(self.count)
        return Cut(surgery, self.mask, participation=ones, benefit=self.scores.float().cpu(), cost=zeros)

    def _shrunk(self, keep: Mask, *, inplace: bool) -> Shrunk:
        p = self.players
        return shrink(p.model, p.structure, p.atom_mask(keep), example_inputs=p.example_inputs, inplace=inplace)

    def _remember(self, trainer: Trainer) -> None:
        wanted = {"rewind": [self.rewind_step], "reinit": [0, self.rewind_step]}.get(self.way, [])
        if trainer.step in wanted and str(trainer.step) not in self.past:
            state = trainer.model.state_dict()
            self.past[str(trainer.step)] = {k: v.detach().cpu().clone() for k, v in state.items()}

    def _keep_level(self, trainer: Trainer, level: int, mask: Mask) -> None:
        """Write ``level-NN.safetensors``: the weights that the level ended with, their accuracy on validation data, the
        mask chosen, and how much of every resource it leaves."""
        if self.folder is None:
            return
        size = max(trainer.batch_size, 512)
        with trainer.timed("evaluation"):
            found = evaluate(
                trainer.model,
                trainer.data.validation,
                size,
                trainer.device,
                rank=trainer.rank,
                world=trainer.world,
            )
        if not trainer.is_main:
            return
        counts = {layer.name: int(mask[layer.start : layer.stop].sum()) for layer in self.players.layers}
        tree = {
            "level": level,
            "step": trainer.step,
            "accuracy": found.accuracy,
            "loss": found.loss,
            "mask": mask,
            "kept": int(mask.sum()),
            "counts": counts,
            "amounts": {name: self.players.amount(name, mask) for name in self.targets},
            "weights": trainer.model.state_dict(),
        }
        save_tree(self.folder / f"level-{level:02d}.safetensors", tree)

    # -- the ticket ---------------------------------------------------------------------------------------

    def recovery_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        # Unless told otherwise, the ticket is trained as the levels were.
        return self.options.make(model, recovery=self.options.recovery_lr is not None)

    def _begin_recovery(self, trainer: Trainer) -> None:
        super()._begin_recovery(trainer)
        self._take(trainer, trainer.optimizer)

    def _take(self, trainer: Trainer, optimizer: torch.optim.Optimizer) -> None:
        # The trainer has set this step's learning rate already, on the optimizer before.
        trainer.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * self.rate(trainer.step)

    def state_dict(self) -> Any:
        return {**super().state_dict(), "level": self.level, "mask": self.mask, "past": self.past}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.level, self.mask, self.past = state["level"], state["mask"], state["past"]

    def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
        super().before_load(trainer, tree)
        state = self.saved(tree)
        if state["outcome"] is None and state["level"] > 0:
            self._take(trainer, self.search_optimizer(trainer.model, state["level"] + 1))
