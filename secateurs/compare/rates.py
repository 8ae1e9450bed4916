"""The learning rates that a comparison tries where it is told nothing else."""

from __future__ import annotations

from typing import Any

from ..recipes import TrainOptions, known_to, read_options
from ..zoo import build_model, load_data

# Around each optimizer's default, before and after the cut alike: methods that cut first know only one of the two.
USUAL: dict[str, tuple[float, ...]] = {"adam": (1e-3, 5e-3), "sgd": (0.1, 0.03)}


def usual_grid(model: str, data: str, options: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Two points: the usual learning rates of the optimizer that the model is trained with.

    Args:
        options: given to all methods; what they say of learning rates is not tried otherwise.
    """
    free = [name for name in ("lr", "recovery_lr") if name not in options]
    points = [dict.fromkeys(free, rate) for rate in USUAL[trained_with(model, data, options)]]
    return tuple(points) if free else ({},)


def trained_with(model: str, data: str, options: dict[str, Any]) -> str:
    """The optimizer that a model is trained with: adam or sgd."""
    loaded = load_data(data)
    network = build_model(model, classes=loaded.classes, input_shape=loaded.input_shape, seed=0)
    return read_options(TrainOptions, "any", known_to(TrainOptions, options)).kind(network)
