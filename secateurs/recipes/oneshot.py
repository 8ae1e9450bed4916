"""One-shot methods as runs: train densely, score once, cut to the budget, recover."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from ..criteria import SCORES, Signals
from ..selection import fit_budget, within_layers
from ..shapes import Mask
from ..spec import derive_seed
from ..structure import Shrunk, shrink
from ..training import Trainer, decided
from .latency import tighten
from .options import TrainOptions
from .pruning import Cut, Pruning


class OneShotOptions(TrainOptions):
    """Options of the one-shot methods.

    Attributes:
        cut: fraction of all steps trained densely before the cut.
        calibration: batches of training data that gradients are averaged over.
        uniform: take the same fraction from every layer instead of comparing across layers.
    """

    cut: float = Field(default=0.5, gt=0, lt=1)
    calibration: int = Field(default=16, ge=1)
    uniform: bool = False


class OneShotRun(Pruning):
    """Score once and cut. See :class:`secateurs.recipes.pruning.Pruning`."""

    options: OneShotOptions
    score: ClassVar[str]

    def cut_at(self) -> float:
        return self.options.cut

    def decide(self, trainer: Trainer) -> Cut:
        players = self.players
        scores = self.scores(trainer)
        if self.latency is not None:
            clock = self.latency
            build = lambda: self._shrunk(self.select(scores), inplace=False).model  # noqa: E731
            self.targets.update(decided(lambda: tighten(self.targets, build, clock), trainer.accelerator))
        keep = self.select(scores)
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

    def select(self, scores: torch.Tensor) -> Mask:
        """Global, or by rank within the layer when ``uniform``."""
        if not self.options.uniform:
            return fit_budget(self.players, scores, self.targets)
        return fit_budget(self.players, within_layers(self.players, scores), self.targets)

    def scores(self, trainer: Trainer) -> torch.Tensor:
        score = SCORES[self.score]()
        generator = torch.Generator().manual_seed(derive_seed(trainer.seed, "scores"))
        gradients = self._gradients(trainer) if score.needs_gradients else None
        return score(self.players, Signals(gradients, generator))

    def _gradients(self, trainer: Trainer) -> list[torch.Tensor]:
        """Mean gradient of the gated parameters over calibration batches, in eval mode."""
        model, parameters = trainer.model, self.players.gates.parameters
        sums = [torch.zeros_like(p) for p in parameters]
        training = model.training
        model.eval()
        batches = trainer.data.train.batches(
            trainer.batch_size, epoch=None, seed=trainer.seed, drop_last=True, device=trainer.device
        )
        count = 0
        for x, y in batches:
            grads = torch.autograd.grad(trainer.loss(model, x, y), parameters, allow_unused=True)
            for total, grad in zip(sums, grads):
                if grad is not None:
                    total += grad
            count += 1
            if count == self.options.calibration:
                break
        model.train(training)
        return [total / max(count, 1) for total in sums]


class MagnitudeRun(OneShotRun):
    """Weight norm, one shot."""

    name: ClassVar[str] = "magnitude"
    score: ClassVar[str] = "magnitude"


class TaylorRun(OneShotRun):
    """First-order Taylor, one shot."""

    name: ClassVar[str] = "taylor"
    score: ClassVar[str] = "taylor"


class RandomRun(OneShotRun):
    """Random groups: the control."""

    name: ClassVar[str] = "random"
    score: ClassVar[str] = "random"
