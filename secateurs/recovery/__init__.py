"""Recovery: what is done to a network after it was cut. One file each."""

from .base import Entries, Recovery, Removal
from .batchnorm import BatchNormStatistics, recalibrate_batchnorm
from .bias import BiasCorrection
from .finetune import Distill, Finetune
from .ladder import Judge, Rung, Tried, climb
from .obs import OBSCompensation
from .reconstruct import Reconstruct
from .reweight import Reweight, ReweightIntercept
from .rewind import Rewind
from .scale import Scale

_ALL: tuple[type[Recovery], ...] = (
    BatchNormStatistics,
    BiasCorrection,
    Scale,
    Reweight,
    ReweightIntercept,
    OBSCompensation,
    Reconstruct,
    Finetune,
    Distill,
)
RECOVERIES: dict[str, type[Recovery]] = {cls.name: cls for cls in _ALL}
"""By name, from free to costly; each can be made without arguments. :class:`Rewind` needs a state."""

LADDER: tuple[Rung, ...] = (
    Rung((BatchNormStatistics(),)),
    Rung((ReweightIntercept(), BatchNormStatistics())),
    Rung((Reconstruct(), BatchNormStatistics())),
    Rung((Distill(),), goes_on=True),
)
"""What ``--recovery auto`` tries, from free to costly: what ``benchmarks.recoveries`` found worth its cost. Statistics
come after weights. Bias and scale alone gave less than the second rung, and OBS less than the third."""

__all__ = [
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
    "Recovery",
    "Removal",
    "Reweight",
    "ReweightIntercept",
    "Rewind",
    "Rung",
    "Scale",
    "Tried",
    "climb",
    "recalibrate_batchnorm",
]
