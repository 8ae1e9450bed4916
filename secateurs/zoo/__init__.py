"""Models and data sets by name, for the command line, the tests and the benchmarks."""

from __future__ import annotations

from .data import Data, load_data
from .loaders import LoaderSplit
from .models import MODELS, build_model, check_fit
from .splits import Split, TensorSplit

__all__ = ["MODELS", "Data", "LoaderSplit", "Split", "TensorSplit", "build_model", "check_fit", "load_data"]
