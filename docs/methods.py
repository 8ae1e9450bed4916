"""Writes the tables of docs/methods.md: the methods, and the options of each kind.

    python docs/methods.py

They come from the registries and their docstrings; a test compares them with the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from secateurs.recipes import METHODS, Method, Option, TrainOptions, described

PAGE = Path(__file__).resolve().parent / "methods.md"
START, END = "<!-- {}: written by docs/methods.py -->\n", "<!-- end of {} -->"


def methods() -> str:
    """All methods, one row each."""
    rows = (f"| `{m.name}` | {_cell(m.summary)} | {m.source} | {m.cost} | {m.needs} |" for m in METHODS.values())
    return "\n".join(["| name | what it does | source | cost | data |", "|---|---|---|---|---|", *rows]) + "\n"


def options() -> str:
    """What every method can be told, then what each kind can beside it."""
    kinds: dict[type[TrainOptions], list[Method]] = {}
    for method in METHODS.values():
        kinds.setdefault(method.options, []).append(method)
    parts = [_section("every method", described(TrainOptions))]
    for kind, found in kinds.items():
        parts.append(_section(", ".join(f"`{m.name}`" for m in found), described(kind, own=True)))
    return "\n".join(parts)


def _section(whose: str, found: Iterable[Option]) -> str:
    rows = [f"| `{o.name}` | {_default(o)} | {_cell(o.text)} |" for o in found]
    title = "## Options of every method" if whose == "every method" else f"### {whose}"
    return "\n".join([title, "", "| option | default | |", "|---|---|---|", *rows]) + "\n"


def _default(option: Option) -> str:
    return "" if option.default in (None, ()) else f"`{json.dumps(option.default)}`".replace('"', "")


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def page(text: str) -> str:
    """The page with its tables as they should be."""
    for name, made in (("methods", methods()), ("options", options())):
        start = text.index(START.format(name)) + len(START.format(name))
        text = text[:start] + made + text[text.index(END.format(name), start) :]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
