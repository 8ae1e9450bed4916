"""Recipes: named methods, the run that carries one out, and what can be done with a finished run."""

from ..spec import RunConfig
from .beside import hold_against, time_against
from .concave import ConcaveOptions, ConcaveRun
from .described import Option, described
from .earlybird import EarlyBirdOptions, EarlyBirdRun
from .equilibrium import Equilibrium
from .examination import read_test
from .finish import versions
from .flagship import EquilibriumOptions, EquilibriumRun
from .levels import LevelsRun
from .oneshot import OneShotOptions, OneShotRun
from .options import RATES, TrainOptions, known_to, read_options
from .pruning import Pruning
from .registry import METHODS, Method, find_method
from .run import After, prune, ready
from .runs import bench_run, export_run, inspect_model
from .tickets import LevelsOptions
from .tracking import FOLDER, Tracking, read_names, tell

__all__ = [
    "After",
    "ConcaveOptions",
    "ConcaveRun",
    "METHODS",
    "FOLDER",
    "RATES",
    "EarlyBirdOptions",
    "EarlyBirdRun",
    "Equilibrium",
    "EquilibriumOptions",
    "EquilibriumRun",
    "LevelsOptions",
    "LevelsRun",
    "Method",
    "OneShotOptions",
    "OneShotRun",
    "Option",
    "Pruning",
    "RunConfig",
    "Tracking",
    "TrainOptions",
    "bench_run",
    "described",
    "export_run",
    "find_method",
    "hold_against",
    "inspect_model",
    "known_to",
    "prune",
    "read_options",
    "read_test",
    "read_names",
    "ready",
    "tell",
    "time_against",
    "versions",
]
