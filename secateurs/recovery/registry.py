"""The recoveries that a run can be told by name, and the ladder of those that are tried unasked."""

from __future__ import annotations

from .base import Recovery
from .batchnorm import BatchNormStatistics
from .bias import BiasCorrection
from .finetune import Distill, Finetune
from .ladder import Rung
from .obs import OBSCompensation
from .reconstruct import Reconstruct
from .reweight import Reweight, ReweightIntercept
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
"""By name, from free to costly; each is made without arguments, which :class:`secateurs.recovery.Rewind` is not."""

LADDER: tuple[Rung, ...] = (
    Rung((BatchNormStatistics(),)),
    Rung((ReweightIntercept(), BatchNormStatistics())),
    Rung((Reconstruct(), BatchNormStatistics())),
    Rung((Distill(),), goes_on=True),
)
"""What ``--recovery auto`` tries, from free to costly: what ``benchmarks.recoveries`` found worth its cost. Statistics
come after weights. Bias and scale alone gave less than the second rung, and OBS less than the third."""
