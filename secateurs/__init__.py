"""Secateurs: name a budget; training finds the network that fits it, and you get that network.

>>> players = secateurs.players(model, example_inputs, granularity="channel")       # doctest: +SKIP
>>> optimizer = secateurs.Equilibrium(players, budget=Budget(macs=0.30)).wrap(optimizer)  # doctest: +SKIP
>>> ...                                   # the training loop, unchanged            # doctest: +SKIP
>>> small = optimizer.harvest()           # certificate + smaller nn.Module         # doctest: +SKIP

Names are imported when first used, so that ``import secateurs`` costs almost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Budget": "spec",
    "RunConfig": "spec",
    "Record": "records",
    "SecateursError": "errors",
    "Structure": "structure",
    "trace": "structure",
    "shrink": "structure",
    "Players": "partition",
    "players": "partition",
    "Utility": "dynamics",
    "MarketSettings": "dynamics",
    "Equilibrium": "recipes",
    "METHODS": "recipes",
    "prune": "recipes",
    "build_model": "zoo",
    "load_data": "zoo",
    "load": "artifact",
    "save": "artifact",
    "export_onnx": "artifact",
    "recover": "recovery",
    "count_macs": "measure",
    "count_params": "measure",
    "compare_latency": "measure",
}

__all__ = [*sorted(_WHERE), "__version__"]

if TYPE_CHECKING:
    from .artifact import export_onnx, load, save
    from .dynamics import MarketSettings, Utility
    from .errors import SecateursError
    from .measure import compare_latency, count_macs, count_params
    from .partition import Players, players
    from .recipes import METHODS, Equilibrium, prune
    from .records import Record
    from .recovery import recover
    from .spec import Budget, RunConfig
    from .structure import Structure, shrink, trace
    from .zoo import build_model, load_data


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'secateurs' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
