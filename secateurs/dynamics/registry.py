"""The rules that a run can be told by name."""

from __future__ import annotations

from .budgeted import Budgeted
from .concave import ConcaveMask
from .gradual import Gradual

DYNAMICS: dict[str, type[Budgeted]] = {cls.name: cls for cls in (ConcaveMask, Gradual)}
