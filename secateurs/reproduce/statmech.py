"""Reproduction of *Statistical Mechanical Analysis of Neural Network Pruning* (Acharyya et al., UAI 2021).

The page is put together of parts, each of which runs its experiments and gives its sections.
"""

from __future__ import annotations

from . import statmech_real, statmech_synthetic
from .cells import Asked
from .page import Page


def reproduce_statmech(asked: Asked) -> Page:
    """Run everything (or what is missing in the cache) and lay it beside the paper.

    Args:
        asked: ``seeds`` is the number of rounds, and of networks of each data set, 10 where nothing is said; without
            data only teachers and students are run.
    """
    sections = [*statmech_synthetic.sections(asked)]
    if asked.data:
        sections += statmech_real.sections(asked)
    if asked.quick:
        sections = [section.without("verdict") for section in sections]
    plan = statmech_synthetic.QUICK if asked.quick else statmech_synthetic.FULL
    protocol = (
        f"A two-layer teacher of M = 2 units labels Gaussian inputs of N = {plan.inputs}; a student of K = 6 learns "
        f"online from {plan.steps:,} examples, once each, g = erf(x/√2), v* = 4, η = 0.5; then nodes or edges are cut "
        "and nothing is repaired. Figures are half the mean squared error"
    )
    title = "Statistical Mechanical Analysis of Neural Network Pruning"
    return Page("statmech", title, protocol, sections, quick=asked.quick)


__all__ = ["reproduce_statmech"]
