"""Recovery: what is done to a network after it was cut. One file each."""

from .base import Entries, Recovery, Removal
from .batchnorm import BatchNormStatistics, recalibrate_batchnorm
from .bias import BiasCorrection
from .by_name import AUTO, Recovered, asked, carry_out, recover
from .finetune import Distill, Finetune
from .ladder import Judge, Rung, Tried, climb
from .obs import OBSCompensation
from .reconstruct import Reconstruct
from .registry import LADDER, RECOVERIES
from .reweight import Reweight, ReweightIntercept
from .rewind import Rewind
from .scale import Scale

__all__ = [
    "AUTO",
    "LADDER",
    "RECOVERIES",
    "BatchNormStatistics",
    "BiasCorrection",
    "Distill",
    "Entries",
    "Finetune",
    "Judge",
    "OBSCompensation",
    "Reconstruct",
    "Recovered",
    "Recovery",
    "Removal",
    "Reweight",
    "ReweightIntercept",
    "Rewind",
    "Rung",
    "Scale",
    "Tried",
    "asked",
    "carry_out",
    "climb",
    "recalibrate_batchnorm",
    "recover",
]
