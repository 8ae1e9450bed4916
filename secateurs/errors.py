"""Errors, said once, at the boundary: what was given, why it cannot be, what to do instead."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class SecateursError(Exception):
    """Base of every error this library raises on purpose. Its message is written for the user."""


class BudgetError(SecateursError, ValueError):
    """A budget that cannot be parsed, makes no sense, or cannot be reached."""


class StructureError(SecateursError):
    """A model whose structure cannot be read, or a cut that would change the network's function."""


class DataError(SecateursError):
    """Data that is missing, damaged, or of the wrong shape."""


class ModelError(SecateursError):
    """A model that cannot be found or built."""


class ArtifactError(SecateursError):
    """A saved network that is damaged, foreign, or does not fit its factory."""


class RunError(SecateursError):
    """A run folder that cannot be written, resumed or read."""


class RunInterrupted(SecateursError):
    """A run was stopped by a signal after its current step; the message says how to continue it."""


class DivergenceError(SecateursError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class UnknownNameError(SecateursError, KeyError):
    """A name that no registry holds; the nearest known names are suggested."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else ""


class MissingExtraError(SecateursError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


def suggest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x' or 'y'?`` when something is near, else the full list."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(known)


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a ``kind`` ('method', 'model', …) called ``name`` that does not exist."""
    return UnknownNameError(f"unknown {kind} {name!r}; {suggest(name, known)}")


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        raise MissingExtraError(
            f"{root!r} is needed here and not installed; install it with: pip install 'secateurs[{extra}]'"
        ) from error
