"""Reproductions: papers' experiments run again, their figures beside the printed ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, unknown
from ..recipes import versions
from .cells import Asked
from .concave import reproduce_concave
from .game import reproduce_game
from .lottery import reproduce_lottery
from .magnitude import reproduce_magnitude
from .page import Figure, Matrices, Page, Panel, PanelRow, Section, Series
from .snip import reproduce_snip
from .statmech import reproduce_statmech


@dataclass(frozen=True)
class Reproduction:
    """A row of the registry.

    Attributes:
        run: carries it out as asked, and returns its page.
        data: what ``--data`` must name, such as 'mnist:DIR'; empty where it reads none.
        optional: without data it does what it can.
    """

    run: Callable[[Asked], Page]
    data: str = ""
    optional: bool = False


REPRODUCTIONS = {
    "game": Reproduction(reproduce_game, "mnist:DIR (or digits, for a look)"),
    "lottery": Reproduction(reproduce_lottery, "mnist:DIR (or digits, for a look)"),
    "magnitude": Reproduction(reproduce_magnitude),
    "snip": Reproduction(reproduce_snip, "mnist:DIR (or digits, for a look)"),
    "concave": Reproduction(reproduce_concave, "mnist:DIR, cifar10:DIR, or both as mnist:DIR,cifar10:DIR"),
    "statmech": Reproduction(
        reproduce_statmech, "mnist:DIR, cifar10:DIR, or both as mnist:DIR,cifar10:DIR", optional=True
    ),
}
CACHE = Path("runs/reproductions")


def find_reproduction(what: str, data: str | None) -> Reproduction:
    """The reproduction called ``what``, given the data it needs.

    Raises:
        UnknownNameError: there is none; the nearest are suggested.
        DataError: it needs data and has none, or has some and needs none.
    """
    if what not in REPRODUCTIONS:
        raise unknown("reproduction", what, REPRODUCTIONS)
    row = REPRODUCTIONS[what]
    if row.data and not data and not row.optional:
        raise DataError(f"reproduction {what!r} needs data; give --data {row.data}")
    if data and not row.data:
        raise DataError(f"--data {data!r}: reproduction {what!r} makes its own data; leave --data out")
    return row


def reproduce(
    what: str,
    data: str | None = None,
    *,
    quick: bool = False,
    seeds: int | None = None,
    printed_seeds: int | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Run a reproduction; finished parts are kept under ``runs/reproductions`` and not run again.

    Args:
        data: see :class:`Reproduction`.
    Returns:
        the page as a dict, for :func:`secateurs.report.write_reproduction`.
    Raises:
        UnknownNameError, DataError: see :func:`find_reproduction`.
    """
    asked = Asked(data or "", quick, seeds, printed_seeds, jobs, progress, CACHE / what)
    page = find_reproduction(what, data).run(asked)
    names = ", ".join(part.partition(":")[0].strip() for part in data.split(",")) if data else ""
    read = {"data": names} if names else {}
    page.provenance = {**versions(), **read, "processors": str(os.cpu_count())}
    return page.as_dict()


__all__ = [
    "REPRODUCTIONS",
    "Figure",
    "Matrices",
    "Page",
    "Panel",
    "PanelRow",
    "Reproduction",
    "Section",
    "Series",
    "find_reproduction",
    "reproduce",
]
