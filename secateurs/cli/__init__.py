"""The command line: parse, call, print. Nothing is computed here."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
