"""Learning-rate schedules as functions of the step: nothing to save, nothing to fall out of step on resume.

Each returns the factor that multiplies the optimizer's own learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Rate = Callable[[int], float]


def cosine(total: int, *, warmup: int = 0, final: float = 0.0, start: int = 0) -> Rate:
    """Linear from 0 over ``warmup`` steps, then half a cosine from 1 to ``final`` at step ``start + total``.

    Args:
        total: steps, warm-up included.
        start: the step at which the schedule begins; 1 before.
    """

    def rate(step: int) -> float:
        done = step - start
        if done < 0:
            return 1.0
        if done < warmup:
            return (done + 1) / warmup
        share = min((done - warmup) / max(total - warmup, 1), 1.0)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))

    return rate


def drops(milestones: Sequence[int], factor: float = 0.1) -> Rate:
    """1, multiplied by ``factor`` at each of ``milestones`` (steps)."""
    return lambda step: factor ** sum(step >= milestone for milestone in milestones)


def constant() -> Rate:
    """1 at every step."""
    return lambda step: 1.0
