"""Who wins at a budget, in a sentence: a winner is ahead of every other method on the same seeds, or there is none.

*Ahead* is: the 95% interval of the paired difference lies above 0. To be ahead of all, a method must be ahead of each,
so no correction for their number is due (an intersection–union test); with one seed nobody is ahead of anybody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from ..maths.student import critical_t, paired_t
from ..records import Difference, Estimate, Row

CONTROLS = ("random", "imp-random", "imp-reinit")
NAMED = 3  # methods that a sentence lists by name


def role(method: str) -> str:
    """``control`` or ``method``."""
    return "control" if method in CONTROLS or method.startswith(("dense", "scratch")) else "method"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, interval and deviation of some seeds' figures."""
    middle, n = mean(values), len(values)
    if n < 2:
        return Estimate(mean=middle, n=n)
    deviation = stdev(values)
    half = critical_t(0.05, n - 1) * deviation / math.sqrt(n)
    return Estimate(mean=middle, low=middle - half, high=middle + half, deviation=deviation, n=n)


def difference(left: Mapping[int, float], right: Mapping[int, float]) -> Difference | None:
    """Left − right, paired by seed; None where no seed is common."""
    seeds = [seed for seed in left if seed in right]
    if not seeds:
        return None
    found = estimate([left[s] - right[s] for s in seeds])
    p = paired_t([left[s] for s in seeds], [right[s] for s in seeds])[1] if len(seeds) > 1 else math.nan
    return Difference(**found.model_dump(), p=None if math.isnan(p) else p)


def ahead(left: Mapping[int, float], right: Mapping[int, float]) -> bool:
    """Whether left is better than right by more than seeds explain."""
    found = difference(left, right)
    return found is not None and found.low is not None and found.low > 0


def judge(budget: str, rows: Sequence[Row], by: Mapping[str, Mapping[int, float]]) -> tuple[str | None, str]:
    """The winner, if there is one, and the sentence. Rows get their mark ``best``.

    Args:
        by: method → seed → accuracy.
    """
    ranked = sorted((r for r in rows if r.role == "method" and by.get(r.method)), key=lambda r: -_mean(by, r.method))
    if not ranked:
        return None, f"At {budget} no method has a finished run yet."
    first = ranked[0].method
    others = [r.method for r in ranked[1:]]
    equal = [m for m in others if not ahead(by[first], by[m])]
    for row in ranked:
        row.best = row.method == first or row.method in equal
    leading = f"{first} {_shown(by[first])}"
    seeds = len(by[first])
    if not others:
        text = f"At {budget} there is nothing to win: {leading} is the only method."
    elif seeds < 2:
        text = f"At {budget} {leading} leads {_several(len(others))}, and one seed decides nothing."
    elif not equal:
        text = f"At {budget} {leading} wins: it is ahead of {'each of ' if len(others) > 1 else ''}"
        text += f"{_several(len(others))} over {seeds} seeds."
    else:
        text = f"At {budget} there is no winner: {leading} leads, and {_listed(equal)} cannot be told from it over "
        text += f"{seeds} seeds."
    winner = first if others and seeds > 1 and not equal else None
    return winner, f"{text} {_controls(first, rows, by)}".strip()


def _controls(first: str, rows: Sequence[Row], by: Mapping[str, Mapping[int, float]]) -> str:
    """What the controls say of whoever leads."""
    said = []
    for row in rows:
        if row.role != "control" or not by.get(row.method) or row.method.startswith("imp-"):
            continue
        name = "random groups" if row.method == "random" else row.method.replace("scratch:", "the network of ")
        name += " from scratch" if row.method.startswith("scratch:") else ""
        told = "is ahead of" if ahead(by[first], by[row.method]) else "cannot be told from"
        if ahead(by[row.method], by[first]):
            told = "is behind"
        said.append(f"{told} {name} {_shown(by[row.method])}")
    return f"It {'; it '.join(said)}." if said else ""


def _mean(by: Mapping[str, Mapping[int, float]], method: str) -> float:
    return mean(by[method].values())


def _shown(values: Mapping[int, float]) -> str:
    found = estimate(list(values.values()))
    spread = "" if found.high is None else f" ± {100 * (found.high - found.mean):.2f}"
    return f"({100 * found.mean:.2f}{spread})"


def _several(count: int) -> str:
    return "the other method" if count == 1 else f"the {count} other methods"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= NAMED:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
