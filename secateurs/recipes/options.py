"""What a recipe can be told, with defaults that suit the model's kind. Durations are fractions of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field, PositiveInt, ValidationError, field_validator
from torch import nn

from ..errors import RunError, SecateursError, suggest
from ..partition import Players, parse_limit
from ..recovery import asked
from ..spec import Budget, Frozen
from ..training.rates import Rate, cosine

RATES = {"adam": (1e-3, 5e-3), "sgd": (0.1, 0.1)}  # peak learning rates before and after the cut


class TrainOptions(Frozen):
    """How weights are trained; shared by every method so that comparisons are fair.

    Attributes:
        optimizer: ``adam``, ``sgd`` (Nesterov momentum 0.9), or ``auto``: sgd where the model has BatchNorm, else adam.
        lr: peak learning rate; by default 1e-3 for adam, 0.1 for sgd.
        recovery_lr: peak after the cut; by default 5e-3 for adam, 0.1 for sgd.
        weight_decay: by default 0 for adam, 5e-4 for sgd; never on what has a price of its own.
        label_smoothing: share of every target that is spread over all classes.
        clip: largest norm of the whole gradient.
        minimum: groups that every layer keeps; by default none where groups are blocks.
        maximum_ratio: largest share of a layer that may be removed.
        round_to: every layer's width is a multiple of this, or ``auto``; by default 1, but ``auto`` where the budget
            names latency.
        limit: the three above for some layers, ``["layer1.*:minimum=8,round_to=16"]``, the later one holds; on the
            command line ``--limit``.
        ignore: modules whose outputs stay whole, ``["layer1", "*.conv2"]``; ``--ignore``.
        tie: layers that keep equally many groups, names or patterns, ``["fc1,fc2"]``; ``--tie``.
        recovery: repairs right after the cut, before training goes on: names that ``secateurs recoveries`` lists,
            carried out one after the other, or ``auto``, which tries them from free to costly until validation has
            recovered; by default none. On the command line ``--recovery``.
        recovery_batches: batches of training data that repairs look at, without augmentation.
        tolerance: how far below the best validation accuracy before the cut a network counts as recovered.
        distill: weight of distillation from the dense reference during recovery, 0 to 1.
        temperature: of the distillation.
    """

    optimizer: Literal["auto", "adam", "sgd"] = "auto"
    lr: float | None = Field(default=None, gt=0)
    recovery_lr: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    minimum: int = Field(default=1, ge=1)
    maximum_ratio: float = Field(default=1.0, ge=0, le=1)
    round_to: PositiveInt | Literal["auto"] | None = None
    limit: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    tie: tuple[str, ...] = ()
    recovery: tuple[str, ...] = ()
    recovery_batches: int = Field(default=16, ge=1)
    tolerance: float = Field(default=0.005, ge=0, lt=1)
    distill: float = Field(default=0.0, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    @field_validator("limit", "ignore", "tie", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("recovery", mode="before")
    @classmethod
    def _recoveries_are_known(cls, given: Any) -> Any:
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
            return given
        try:
            return asked(texts)
        except SecateursError as error:
            raise ValueError(str(error)) from None

    def restrain(self, players: Players, budget: Budget) -> Players:
        """Set the limits on the players, which were found with ``ignore``. Returns them.

        Raises:
            StructureError: a name or pattern that matches nothing, or a limit that makes no sense.
        """
        fallback: Literal["auto", 1] = "auto" if budget.latency is not None else 1
        players.limit(
            self.minimum if "minimum" in self.model_fields_set else None,  # 1 is what a layer keeps anyway
            self.maximum_ratio,
            self.round_to or fallback,
        )
        for text in self.limit:
            pattern, settings = parse_limit(text)
            players.limit(layers=pattern, **settings)
        for text in self.tie:
            players.tie(*(name.strip() for name in text.split(",")))
        return players

    def kind(self, model: nn.Module) -> str:
        """'adam' or 'sgd'."""
        if self.optimizer != "auto":
            return self.optimizer
        return "sgd" if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()) else "adam"

    def make(self, model: nn.Module, *, recovery: bool = False) -> torch.optim.Optimizer:
        """A fresh optimizer over the model."""
        kind = self.kind(model)
        lr = (self.recovery_lr if recovery else self.lr) or RATES[kind][recovery]
        if kind == "adam":
            return torch.optim.Adam(model.parameters(), lr=lr, weight_decay=self.weight_decay or 0.0, fused=True)
        decay = 5e-4 if self.weight_decay is None else self.weight_decay
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)

    def dense_rate(self, total: int) -> Rate:
        """Schedule of plain training: short warm-up, then half a cosine to zero."""
        return cosine(total, warmup=max(1, total // 50))

    def recovery_rate(self, start: int, total: int) -> Rate:
        """The same from the cut to the end."""
        return cosine(total - start, warmup=max(1, (total - start) // 50), start=start)


Options = TypeVar("Options", bound=TrainOptions)


def known_to(kind: type[TrainOptions], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that a kind has."""
    return {name: value for name, value in given.items() if name in kind.model_fields}


def read_options(kind: type[Options], method: str, given: Mapping[str, Any]) -> Options:
    """Validate a method's options.

    Raises:
        RunError: unknown or ill-typed options; the message names the nearest, or the value and its bounds.
    """
    known = kind.model_fields
    for name in given:
        if name not in known:
            raise RunError(f"method {method!r} has no option {name!r}; {suggest(name, known)}")
    try:
        return kind(**given)
    except ValidationError as error:
        detail = error.errors()[0]
        name = str(detail["loc"][0]) if detail["loc"] else method
        said = detail["msg"].removeprefix("Value error, ")
        raise RunError(f"option {name}={given.get(name)!r} of method {method!r}: {said}") from error
