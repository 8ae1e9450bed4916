"""Reproductions: papers' experiments run again, their figures beside the printed ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..recipes import versions
from .concave import reproduce_concave
from .game import reproduce_game
from .page import Figure, Page, Section, Series

REPRODUCTIONS = {"game": reproduce_game, "concave": reproduce_concave}
CACHE = Path("runs/reproductions")


def reproduce(
    what: str,
    data: str,
    *,
    quick: bool = False,
    seeds: int | None = None,
    printed_seeds: int | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Run a reproduction; finished parts are kept under ``runs/reproductions`` and not run again.

    Returns:
        the page as a dict, for :func:`secateurs.report.write_reproduction`.
    """
    page = REPRODUCTIONS[what](
        data,
        quick=quick,
        seeds=seeds,
        printed_seeds=printed_seeds,
        jobs=jobs,
        progress=progress,
        cache=CACHE / what,
    )
    read = ", ".join(part.partition(":")[0] for part in data.split(","))
    page.provenance = {
        **versions(),
        "data": read,
        "processors": str(os.cpu_count()),
    }
    return page.as_dict()


__all__ = ["REPRODUCTIONS", "Figure", "Page", "Section", "Series", "reproduce"]
