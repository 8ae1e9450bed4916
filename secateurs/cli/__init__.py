"""The command line: parse, call, print. Nothing is computed here."""

from __future__ import annotations

from . import compare as _compare  # noqa: F401 (registers its command)
from . import runs as _runs  # noqa: F401 (likewise)
from .app import main

__all__ = ["main"]
