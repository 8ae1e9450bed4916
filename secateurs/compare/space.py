"""What a search varies: the method, its learning rates, and the few options that matter most to its kind.

Defaults are part of the space, and tried first: whatever a search finds is no worse than they are, on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..criteria import SCORES
from ..recipes import METHODS, RATES, TrainOptions
from .rates import USUAL, trained_with
from .request import Asked

# One or two of every family. Whoever wants all says --methods all, and gives them trials enough.
SEARCHED = ("equilibrium", "magnitude", "taylor", "fisher", "snip", "gradual", "concave", "dpp")
_DIGITS = 2  # of a number: a search cannot tell 0.00312 from 0.0031


@dataclass(frozen=True)
class Axis:
    """An option's values: an interval, or a few ``choices``. ``usual``: the default."""

    usual: Any
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any, name: str) -> Any:
        """A value, from an Optuna trial."""
        if self.choices:
            return self.choices[trial.suggest_categorical(name, list(range(len(self.choices))))]
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.{_DIGITS}g}")

    @property
    def first(self) -> Any:
        """What is told to Optuna for the default."""
        return self.choices.index(self.usual) if self.choices else self.usual


_CUT = Axis(0.5, 0.2, 0.8)
_OWN: dict[str, dict[str, Axis]] = {
    "equilibrium": {"market": Axis(0.55, 0.3, 0.8), "travel": Axis(70.0, 20.0, 200.0, log=True)},
    "concave": {"descent": Axis(0.75, 0.5, 0.9), "travel": Axis(7.0, 2.0, 25.0, log=True)},
    "gradual": {"power": Axis(3.0, 1.0, 5.0)},
}


def space(asked: Asked) -> dict[str, dict[str, Axis]]:
    """Method → option → values, without random groups, which are no choice. What is given to all does not vary."""
    assert asked.search is not None
    kind = trained_with(asked.model, asked.data, asked.options)
    values = asked.search.values
    low, high = min(USUAL[kind]) / 3, max(USUAL[kind]) * 3
    rates = {name: Axis(usual, low, high, log=True) for name, usual in zip(("lr", "recovery_lr"), RATES[kind])}
    return {m: _axes(m, rates, asked.options, values) for m in asked.methods if m != "random"}


def _axes(
    method: str, rates: Mapping[str, Axis], given: Mapping[str, Any], values: Mapping[str, Sequence[Any]]
) -> dict[str, Axis]:
    axes, known = dict(rates), METHODS[method].options.model_fields
    score = SCORES.get(method)
    if score is not None and not score.early:
        axes["cut"] = _CUT
    axes |= _OWN.get(method, {})
    axes |= {name: Axis(v[0], choices=tuple(v)) for name, v in values.items() if name in known}
    return {name: axis for name, axis in axes.items() if name not in given}


def shared(name: str) -> bool:
    """Whether an option means the same to every method, so that a trial of one tells of another."""
    return name in TrainOptions.model_fields
