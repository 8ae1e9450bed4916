"""What methods can be told, in words: read from the docstrings of their options, so that it is written once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .options import TrainOptions


@dataclass(frozen=True)
class Option:
    """One setting of a method."""

    name: str
    default: Any
    text: str


def described(kind: type[TrainOptions], *, own: bool = False) -> list[Option]:
    """The options in their order, each with its default and what its docstring says.

    Args:
        own: without those that every method has.
    """
    said = texts(kind)
    fields = {n: f for n, f in kind.model_fields.items() if not (own and n in TrainOptions.model_fields)}
    return [Option(name, field.default, said.get(name) or field.description or "") for name, field in fields.items()]


def texts(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of its attributes."""
    return {name: text for cls in reversed(kind.__mro__) for name, text in _attributes(cls.__dict__.get("__doc__"))}


def _attributes(doc: str | None) -> Iterator[tuple[str, str]]:
    """(name, text) of a docstring's ``Attributes:``, one for each name where several share a text."""
    section = inspect.cleandoc(doc or "").partition("Attributes:\n")[2]
    names, text = "", ""
    for line in [*section.splitlines(), "    :"]:
        if line.startswith("        "):
            text += " " + line.strip()
            continue
        for name in filter(None, (n.strip() for n in names.split(","))):
            yield name, text
        names, _, text = (part.strip() for part in line.partition(":"))
        if not line.startswith("    "):
            return
