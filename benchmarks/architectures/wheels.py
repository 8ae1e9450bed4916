"""torchvision, and timm and transformers which import it, on a PyTorch without vision operators.

torchvision's Python code describes its operator ``nms`` to PyTorch as it is imported. Where its compiled part
does not fit the installed PyTorch (a CPU-only build, for one) that operator was never defined and the import
fails. Defining the two names is then enough for the Python code; nothing here calls them.
"""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache  # a definition lives as long as its Library object does
def _defined() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return library


def import_vision(name: str) -> ModuleType:
    """Import ``name`` after torchvision, whose operators are defined only if it cannot do that itself."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        pass  # timm and transformers say themselves what they miss
    except RuntimeError:
        for loaded in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]  # half imported
        _defined()
        importlib.import_module("torchvision")
    return importlib.import_module(name)
