"""Puts a run's figures into the README: its table, as ``secateurs prune`` printed it, and its picture.

    python docs/demo.py runs/demo

Both are drawn from the run's record, which is kept beside the picture; a test compares the three.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from secateurs import Record
from secateurs.cli.tables import summary
from secateurs.report import picture

DOCS = Path(__file__).resolve().parent
README, PICTURE, RECORD = DOCS.parent / "README.md", DOCS / "picture.svg", DOCS / "demo-record.json"
START, END = "<!-- demo table -->\n```text\n", "```\n<!-- end of demo table -->"


def printed(record: Record) -> str:
    """What the terminal shows at the end of ``make demo``, 80 columns wide."""
    os.environ["COLUMNS"] = "80"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        summary(record, Path("runs/demo"))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def between(text: str) -> tuple[int, int]:
    """Where the table stands in the README."""
    start = text.index(START) + len(START)
    return start, text.index(END, start)


def main(run: str) -> None:
    record = Record.read(run)
    text = README.read_text(encoding="utf-8")
    start, stop = between(text)
    README.write_text(text[:start] + printed(record) + text[stop:], encoding="utf-8")
    PICTURE.write_text(picture(record), encoding="utf-8")
    RECORD.write_text(record.model_dump_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
