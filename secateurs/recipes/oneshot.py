"""One-shot methods as runs: score once, cut to the budget, recover. Before any training, or half-way through it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from ..criteria import Score
from ..partition import Players
from ..selection import ALLOCATIONS, fit_budget
from ..shapes import Mask, PerPlayer
from ..signals import Signals
from ..spec import Budget
from ..structure import Shrunk, shrink
from ..training import Trainer, decided
from .calibration import calibrated
from .latency import tighten
from .options import TrainOptions
from .pruning import Cut, Pruning


class OneShotOptions(TrainOptions):
    """Options of the one-shot methods.

    Attributes:
        cut: fraction of all steps trained densely before the cut. None: 0.5, or 0 for a score that is meant for
            networks before training.
        calibration: batches of training data that gradients are averaged over.
        allocation: 'global' compares scores across layers; 'uniform' takes the same share of every layer; 'erk' keeps
            a share in proportion to (sum of a layer's dimensions) / (their product).
        rounds: how often scores are taken on the way to the budget. None: once, or as often as the score says.
        probes: random directions that a curvature is estimated with.
    """

    cut: float | None = Field(default=None, ge=0, lt=1)
    calibration: int = Field(default=16, ge=1)
    allocation: Literal["global", "uniform", "erk"] = "global"
    rounds: int | None = Field(default=None, ge=1)
    probes: int = Field(default=16, ge=1)


class OneShotRun(Pruning):
    """Score and cut. See :class:`secateurs.recipes.pruning.Pruning`."""

    options: OneShotOptions

    def __init__(
        self,
        score: Score,
        players: Players,
        budget: Budget,
        options: OneShotOptions,
        total: int,
        folder: Path | None = None,
    ) -> None:
        score.require(players)
        self.score = score
        super().__init__(players, budget, options, total, folder)

    def cut_at(self) -> float:
        asked = self.options.cut
        return asked if asked is not None else 0.0 if self.score.early else 0.5

    def decide(self, trainer: Trainer) -> Cut:
        players = self.players
        signals = self.signals(trainer)
        scores = self.scores(signals)
        if self.latency is not None:
            clock = self.latency
            build = lambda: self._shrunk(self.select(scores), inplace=False).model  # noqa: E731
            self.targets.update(decided(lambda: tighten(self.targets, build, clock), trainer.accelerator))
        keep = self.select(scores)
        self.score.repair(players, signals, keep)
        surgery = None
        if players.granularity == "weight":
            held = [p.data for p in players.gates.parameters]
            players.gates.scaled(held, keep.to(held[0]), out=held)
        else:
            surgery = self._shrunk(keep, inplace=True).surgery
        ones, zeros = torch.ones(self.count), torch.zeros(self.count)
        return Cut(surgery, keep, participation=ones, benefit=scores.float(), cost=zeros)

    def _shrunk(self, keep: Mask, *, inplace: bool) -> Shrunk:
        p = self.players
        return shrink(p.model, p.structure, p.atom_mask(keep), example_inputs=p.example_inputs, inplace=inplace)

    def select(self, scores: PerPlayer, targets: dict[str, float] | None = None) -> Mask:
        """Who fits the budget, as the allocation ranks them."""
        priority = ALLOCATIONS[self.options.allocation](self.players, scores)
        return fit_budget(self.players, priority, self.targets if targets is None else targets)

    def scores(self, signals: Signals) -> PerPlayer:
        """The score's numbers. Over several rounds the budget shrinks geometrically, who leaves is masked and stays
        out, and the numbers of the last round stand."""
        rounds = self.options.rounds or self.score.rounds
        if rounds == 1:
            return self.score(self.players, signals)
        gates = self.players.gates
        held = [p.detach().clone() for p in gates.parameters]
        dense = {name: self.players.amount(name) for name in self.targets}
        scores = self.score(self.players, signals)
        for done in range(1, rounds):
            keep = self.select(
                scores, {n: dense[n] * (t / dense[n]) ** (done / rounds) for n, t in self.targets.items()}
            )
            with torch.no_grad():
                gates.scaled(held, keep.to(held[0]), out=[p.data for p in gates.parameters])
            scores = self.score(self.players, signals.renewed()).masked_fill(~keep, -torch.inf)
        with torch.no_grad():
            for parameter, before in zip(gates.parameters, held):
                parameter.copy_(before)
        return scores

    def signals(self, trainer: Trainer) -> Signals:
        """Calibration batches, in training mode where the network has not been trained."""
        return calibrated(
            trainer,
            self.players,
            self.score,
            batches=self.options.calibration,
            probes=self.options.probes,
            training=self.cut_step == 0,
        )
