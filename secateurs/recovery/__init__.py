"""Recovery: what is done to a network after it was cut. One file each."""

from .base import Entries, Recovery, Removal
from .batchnorm import BatchNormStatistics, recalibrate_batchnorm
from .by_name import AUTO, Recovered, asked, carry_out, recover
from .ladder import Judge, Rung, Tried, climb
from .registry import LADDER, RECOVERIES

__all__ = [
    "AUTO",
    "LADDER",
    "RECOVERIES",
    "BatchNormStatistics",
    "Entries",
    "Judge",
    "Recovered",
    "Recovery",
    "Removal",
    "Rung",
    "Tried",
    "asked",
    "carry_out",
    "climb",
    "recalibrate_batchnorm",
    "recover",
]
