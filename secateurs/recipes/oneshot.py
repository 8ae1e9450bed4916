"""One-shot methods as runs: score once, cut to the budget, recover. Before any training, or half-way through it."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator

from ..criteria import Score
from ..errors import BudgetError
from ..partition import Players
from ..selection import (
    ALLOCATIONS,
    Allocation,
    by_shares,
    fit_budget,
    parse_pattern,
    parse_shares,
    pattern_mask,
    unpatterned,
)
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
        cut: fraction of all steps trained densely before the cut; by default 0.5, or 0 for scores that are meant for
            untrained networks.
        calibration: batches of training data that are looked at; by default as many as the score asks for, mostly 16.
        allocation: ``global`` compares scores across layers; ``uniform`` takes the same share of every layer;
            ``neuron``, for single weights, the same number of every neuron's inputs; ``erk`` keeps a share in
            proportion to (sum of a layer's dimensions) / (their product); ``shares`` what ``shares`` says.
        shares: relative densities of layers, by name or pattern, such as ``fc1=0.2``; the later one holds, and layers
            that none names have 1. Given alone, they make the allocation ``shares``.
        pattern: ``n:m``, such as 2:4: of every m consecutive weights along the input exactly the n best stay, whatever
            the budget leaves beyond that. For single weights only. Layers whose input width is no multiple of m stay
            dense.
        rounds: how often scores are taken on the way to the budget, which shrinks geometrically; by default as often
            as the score says.
        probes: random directions that a curvature is estimated with.
    """

    cut: float | None = Field(default=None, ge=0, lt=1)
    calibration: int | None = Field(default=None, ge=1)
    allocation: Literal["global", "uniform", "neuron", "erk", "shares"] = "global"
    shares: tuple[str, ...] = Field(default=(), validate_default=True)
    rounds: int | None = Field(default=None, ge=1)
    probes: int = Field(default=16, ge=1)
    pattern: str | None = None

    @field_validator("shares", mode="before")
    @classmethod
    def _one_share_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("shares")
    @classmethod
    def _shares_are_looked_at(cls, given: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        parse_shares(given)
        allocation = info.data.get("allocation")
        if given and allocation not in ("shares", "global"):
            raise ValueError(f"allocation={allocation!r} does not look at shares; leave one of the two out")
        if allocation == "shares" and not given:
            raise ValueError("allocation='shares' needs some, such as shares=['fc1=0.2', 'out=0.5']")
        return given

    @field_validator("pattern")
    @classmethod
    def _pattern_is_one(cls, given: str | None) -> str | None:
        if given is not None:
            parse_pattern(given)
        return given


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
        shares = parse_shares(options.shares)
        self.priority: Allocation = partial(by_shares, shares=shares) if shares else ALLOCATIONS[options.allocation]
        self.priority(players, torch.zeros(players.count))  # whatever it cannot do is said before training
        super().__init__(players, budget, options, total, folder)
        self.pattern = parse_pattern(options.pattern) if options.pattern else None
        if self.pattern:
            self._require_room(budget)

    def _require_room(self, budget: Budget) -> None:
        """How many a pattern leaves is known beforehand, whatever the scores."""
        assert self.pattern is not None
        players, (n, m) = self.players, self.pattern
        keep = pattern_mask(players, torch.zeros(players.count), n, m)
        for name, target in self.targets.items():
            left = players.amount(name, keep)
            if left > target * (1 + 1e-9):
                share = left / players.amount(name)
                raise BudgetError(
                    f"budget {name}={budget.given[name]:g} is {target:,.0f} {name}, and pattern {n}:{m} leaves "
                    f"{left:,.0f} ({share:.4f} of dense); ask for at least that, or for another pattern"
                )
        if dense := unpatterned(players, m):
            warnings.warn(
                f"pattern {n}:{m} leaves {', '.join(dense)} dense: the input width is no multiple of {m}", stacklevel=2
            )

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
        keep = self.score.settle(players, signals, self.select(scores))
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
        """Who fits the budget, as the allocation ranks them; or, where a pattern is asked for and no other targets are
        given, who fits the pattern."""
        if self.pattern and targets is None:
            return pattern_mask(self.players, scores, *self.pattern)
        return fit_budget(
            self.players, self.priority(self.players, scores), self.targets if targets is None else targets
        )

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
            batches=self.options.calibration or self.score.calibration,
            probes=self.options.probes,
            training=self.cut_step == 0,
        )
