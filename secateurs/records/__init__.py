"""Results as data: schemas that producers fill and the report reads. No torch here."""

from .comparison import CLOCKS, Block, Comparison, Difference, Estimate, Exemplar, Failure, Row, RunRow, Tried
from .run import (
    RECORD_FILE,
    Certificate,
    Fidelity,
    HistoryPoint,
    LayerRow,
    Measured,
    Network,
    NetworkGroup,
    NetworkNode,
    PlayersBlock,
    Record,
    RungRow,
    TrainBlock,
    TrainSeconds,
)
from .schema import Schema

__all__ = [
    "CLOCKS",
    "RECORD_FILE",
    "Block",
    "Certificate",
    "Comparison",
    "Difference",
    "Estimate",
    "Exemplar",
    "Failure",
    "Fidelity",
    "HistoryPoint",
    "LayerRow",
    "Measured",
    "Network",
    "NetworkGroup",
    "NetworkNode",
    "PlayersBlock",
    "Record",
    "Row",
    "RunRow",
    "RungRow",
    "Schema",
    "TrainBlock",
    "TrainSeconds",
    "Tried",
]
