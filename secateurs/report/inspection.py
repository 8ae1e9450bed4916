"""The page of ``inspect``: a network before any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records import Network
from ..storage import write_text
from . import formats, network
from .page import Section, card, page, paragraph, tiles
from .tables import Column, table


def write_inspection(found: Mapping[str, Any], path: str | Path) -> Path:
    """Draw what ``inspect_model`` found (with its network) into an HTML file, atomically.

    Raises:
        RunError: the file cannot be written.
    """
    drawn = Network.model_validate(found["network"])
    total = found["totals"]
    head = tiles(
        [
            ("players", formats.count(total["groups"]), f"granularity {found['granularity']}"),
            ("parameters", formats.amount(total["params"]), f"at least {formats.amount(total['least_params'])} stay"),
            ("MACs", formats.amount(total["macs"]), f"at least {formats.amount(total['least_macs'])} stay"),
        ]
    )
    sections = [network.section(drawn), _frozen(found)]
    text = page(f"{found['model']}: what is cut together", [head], sections, eyebrow=["Secateurs", "inspect"])
    return write_text(Path(path), text)


def _frozen(found: Mapping[str, Any]) -> Section:
    title = "What cannot be pruned, and why"
    rows = [[row["reason"], f"{row['size']:,}", _few(row["where"])] for row in found["frozen_by_reason"]]
    if not rows:
        return Section(title, [paragraph("Nothing: every axis can be cut.", "none")], "Fixed")
    columns = [Column("because", align="left"), Column("indices"), Column("where", align="left")]
    return Section(title, [card(table(columns, rows), kind="fixed")], "Fixed")


def _few(names: Sequence[str], most: int = 12) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more (inspect --json names all)" if rest > 0 else "")
