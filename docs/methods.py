"""Writes the tables of docs/methods.md, docs/recovery.md and docs/runs.md: methods, the options of each kind, repairs
after a cut, what is known of a run.

    python docs/methods.py

They come from the registries, their docstrings and the index's columns; a test compares them with the pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from secateurs.compare.columns import COLUMNS
from secateurs.recipes import METHODS, Method, Option, TrainOptions, described
from secateurs.recovery import LADDER, RECOVERIES

HERE = Path(__file__).resolve().parent
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


def recoveries() -> str:
    """All repairs, one row each."""
    rows = (f"| `{r.name}` | {_cell(r.summary)} | {r.source} | {r.cost} |" for r in RECOVERIES.values())
    return "\n".join(["| name | what it does | source | cost |", "|---|---|---|---|", *rows]) + "\n"


def ladder() -> str:
    """What is tried unasked, in order."""
    return "\n".join(f"{i}. `{rung.name}`" for i, rung in enumerate(LADDER, 1)) + "\n"


def columns() -> str:
    """What `secateurs runs` knows of a run."""
    rows = (f"| `{c.name}` | {c.kind} | {_cell(c.text)} |" for c in COLUMNS)
    return "\n".join(["| column | kind | |", "|---|---|---|", *rows]) + "\n"


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    HERE / "methods.md": {"methods": methods, "options": options},
    HERE / "recovery.md": {"recoveries": recoveries, "ladder": ladder},
    HERE / "runs.md": {"columns": columns},
}


def page(path: Path) -> str:
    """A page with its tables as they should be."""
    text = path.read_text(encoding="utf-8")
    for name, made in PAGES[path].items():
        start = text.index(START.format(name)) + len(START.format(name))
        text = text[:start] + made() + text[text.index(END.format(name), start) :]
    return text


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path), encoding="utf-8")
