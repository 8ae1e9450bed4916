"""Criteria: scores, one file each."""

from ..signals import Signals
from .activation import Activation, Apoz
from .base import Score
from .bn_scale import BNScale
from .determinantal import Determinant
from .fisher import Fisher
from .geometric_median import GeometricMedian
from .grasp import Grasp
from .importance import Importance, ImportanceIn, ImportanceInSigned, ImportanceSigned
from .magnitude import Magnitude, MagnitudeL1
from .obd import OBD
from .obs import OBS
from .random import Random
from .skeleton import Skeleton
from .snip import Snip
from .synflow import SynFlow
from .taylor import Taylor, Taylor2

SCORES: dict[str, type[Score]] = {
    cls.name: cls
    for cls in (
        Magnitude,
        MagnitudeL1,
        GeometricMedian,
        BNScale,
        Activation,
        Apoz,
        Taylor,
        Taylor2,
        Skeleton,
        OBD,
        OBS,
        Fisher,
        Snip,
        Grasp,
        SynFlow,
        Determinant,
        Importance,
        ImportanceSigned,
        ImportanceIn,
        ImportanceInSigned,
        Random,
    )
}

__all__ = [
    "OBD",
    "OBS",
    "SCORES",
    "Activation",
    "Apoz",
    "BNScale",
    "Determinant",
    "Fisher",
    "GeometricMedian",
    "Grasp",
    "Importance",
    "ImportanceIn",
    "ImportanceInSigned",
    "ImportanceSigned",
    "Magnitude",
    "MagnitudeL1",
    "Random",
    "Score",
    "Signals",
    "Skeleton",
    "Snip",
    "SynFlow",
    "Taylor",
    "Taylor2",
]
