"""What a comparison's folder was asked for: the same command continues it, a larger one adds, and mistakes come out.

Some of it can grow: methods, budgets, seeds, controls. The rest is what makes the runs comparable, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import RunError, SecateursError
from ..spec import Budget, written
from ..storage import write_json
from .protocol import choosing
from .request import Asked, Search, asked, distinct, read_budgets

ASKED_FILE = "comparison.json"
GROWING = ("methods", "budgets", "seeds", "scratch")


def keep(request: Asked, folder: Path) -> None:
    """Write it into the comparison's folder."""
    write_json(folder / ASKED_FILE, request.model_dump(mode="json"))


def standing(folder: Path) -> Asked | None:
    """What the comparison in a folder was asked for; None where there is none.

    Raises:
        RunError: the file there is not one of ours.
    """
    path = folder / ASKED_FILE
    if not path.exists():
        return None
    try:
        return Asked.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, SecateursError, OSError) as error:
        what = "it is damaged"
        if isinstance(error, ValidationError):
            detail = error.errors()[0]
            what = f"{'.'.join(map(str, detail['loc'])) or 'its text'}: {detail['msg']}"
        elif isinstance(error, SecateursError):
            what = str(error)
        raise RunError(
            f"{str(path)!r} does not describe a comparison ({what}); restore it, or give another --out"
        ) from None


def joined(request: Asked, folder: Path, drop: Sequence[str] = ()) -> Asked:
    """What is asked for, with what the folder was asked for before.

    Args:
        drop: what to take out of that, see :func:`without`.
    Raises:
        RunError: it is no comparison's folder.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--out {str(folder)!r} is a file; name a folder")
    before = standing(folder)
    if before is None and folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            f"--out {str(folder)!r} holds files, and no {ASKED_FILE} that would make it a comparison; choose an empty "
            "or a new folder"
        )
    if before is None and drop:
        raise RunError(f"--drop {','.join(drop)}: {str(folder)!r} holds no comparison to take anything out of")
    return request if before is None else together(without(before, drop), request, folder)


def renewed(before: Asked, given: dict[str, Any], folder: Path) -> Asked:
    """What a folder was asked for, with what is given now; what can grow has grown.

    Raises:
        SecateursError: see :func:`secateurs.compare.asked`; or what is given cannot be another.
    """
    _require_same(before, before.model_copy(update={k: v for k, v in given.items() if k not in GROWING}), folder)
    fields = {name: getattr(before, name) for name in Asked.model_fields}
    grown = {name: distinct((*fields[name], *value)) for name, value in given.items() if name in GROWING}
    if before.search is not None and set(grown.get("methods", ())) - set(before.methods):
        raise RunError(
            f"--methods {','.join(given['methods'])}: a search chooses from the same methods to its end, here "
            f"{', '.join(before.methods)}; leave them out, or give another --out"
        )
    return asked(**{**fields, **given, **grown})


def together(before: Asked, now: Asked, folder: Path) -> Asked:
    """Both, in the order in which they were asked for.

    Raises:
        RunError: they differ in what must be the same for all runs.
    """
    for name, content in now.files.items():
        if before.files.get(name, content) != content:
            raise RunError(
                f"{name!r} has changed since the comparison in {str(folder)!r} was begun: what its runs tell of one "
                "model or one data set would be said of two. Restore the file, or give another --out"
            )
    _require_same(before, now, folder)
    grown: dict[str, Any] = {"found": before.found, "files": {**before.files, **now.files}}
    if before.search is not None and now.search is not None:
        grown["search"] = max(before.search, now.search, key=lambda search: search.trials)
    for name in _growing(now):
        grown[name] = distinct((*getattr(before, name), *getattr(now, name)))
    return now.model_copy(update=grown)


def _growing(request: Asked) -> tuple[str, ...]:
    return GROWING if request.search is None else GROWING[1:]  # a search chooses from the same methods to its end


def _require_same(before: Asked, now: Asked, folder: Path) -> None:
    for name in Asked.model_fields:
        if name not in _growing(now) and _fixed(before, name) != _fixed(now, name):
            raise RunError(
                f"{str(folder)!r} holds a comparison with {_said(name, before)}, and this one has {_said(name, now)}: "
                "their runs cannot be compared. Give the same, or another --out"
            )


def _fixed(request: Asked, name: str) -> Any:
    """What two requests for one folder must have in common; of a search, not its length or what came of it."""
    if name in ("found", "files"):
        return None
    value = getattr(request, name)
    return value.model_copy(update={"trials": 1}) if isinstance(value, Search) else value


def _said(name: str, request: Asked) -> str:
    """A part of the request in words of the command line."""
    value = getattr(request, name)
    if name == "options":
        return " ".join(f"--set {written({k: v})}" for k, v in value.items()) or "no --set"
    if name == "search":
        return "no --search" if value is None else " ".join(["--search", *(f"--grid {k}=…" for k in value.values)])
    if name == "grid":
        words = choosing(request)
        return "another grid" if words is None else " ".join(words) or "the usual grid"
    return f"--{name.replace('_', '-')} {','.join(value) if isinstance(value, tuple) else value}"


def without(before: Asked, drop: Sequence[str]) -> Asked:
    """What a folder was asked for, less methods, budgets and seeds. Their runs stay where they are.

    Args:
        drop: ``snip``, ``scratch:snip``, ``macs=0.01``, ``seed=3``, with commas between them.
    Raises:
        RunError: one of them is not there, or the others are held against it.
    """
    for part in (part.strip() for text in drop for part in text.split(",") if part.strip()):
        name, value = _named(part)
        there = getattr(before, name)
        if value not in there:
            shown = ", ".join(str(x).replace(",", "+") for x in there)
            raise RunError(f"--drop {part}: it is not among the {name} of this comparison, {shown}")
        left = tuple(x for x in there if x != value)
        if name == "methods" and value in (before.against, "random"):
            raise RunError(f"--drop {part}: the others are held against it")
        if name == "seeds" and before.search is not None and value == before.seeds[0]:
            raise RunError(f"--drop {part}: the search looks at this seed to its end; use another --out")
        if name == "methods" and before.search is not None:
            raise RunError(f"--drop {part}: a search chooses from the same methods to its end; use another --out")
        scratch = tuple(x for x in before.scratch if x != value)
        before = before.model_copy(update={"scratch": scratch, name: left})
        if lost := before.strange():
            raise RunError(f"--drop {part}: it alone has the option {lost[0]!r} of this comparison; use another --out")
    return before


def _named(part: str) -> tuple[str, str | int | Budget]:
    """Which part of a request a text names, and its value there."""
    name, equals, value = part.partition("=")
    if part.startswith("scratch:"):
        return "scratch", part.removeprefix("scratch:")
    if not equals:
        return "methods", part
    if name in ("seed", "seeds"):
        if not value.isdecimal():
            raise RunError(f"--drop {part}: write seed=3")
        return "seeds", int(value)
    return "budgets", read_budgets([part])[0]
