"""The record of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ..errors import RunError
from ..storage import write_text
from .schema import Schema

RECORD_FILE = "record.json"


class Measured(Schema):
    """One network, measured. ``accuracy`` is a fraction on the test set, read once at the end."""

    accuracy: float | None = None
    loss: float | None = None
    params: int | None = None
    macs: int | None = Field(default=None, description="multiply-accumulates of one example")
    bytes: int | None = Field(default=None, description="parameters and buffers in memory")
    file_bytes: int | None = Field(default=None, description="the saved weights on disk")
    latency_ms: float | None = Field(default=None, description="median of one batch")
    latency_spread_ms: tuple[float, float] | None = Field(default=None, description="quartiles")
    class_accuracy: list[float | None] | None = Field(default=None, description="by class; None: no test example")
    calibration_error: float | None = Field(default=None, description="expected, top label, 15 equally filled bins")
    membership_auc: float | None = Field(
        default=None,
        description="chance that a training example has the smaller loss than a test example; 0.5: private",
    )
    membership_interval: tuple[float, float] | None = Field(default=None, description="95%")

    @property
    def worst_class(self) -> float | None:
        """The lowest accuracy of a class."""
        return min((a for a in self.class_accuracy or [] if a is not None), default=None)


class Fidelity(Schema):
    """The pruned network's answers on the test set, held against the dense network's."""

    agreement: float = Field(description="share of examples with the same answer")
    kl: float = Field(description="mean KL divergence of the pruned from the dense answers, nats")
    flipped: int = Field(description="examples that dense has right and pruned wrong")
    gained: int = Field(description="examples that dense has wrong and pruned right")
    worst_drop: float | None = Field(default=None, description="largest loss of accuracy of a class")
    worst_drop_class: int | None = None


class LayerRow(Schema):
    """One family of players: what is removed together with one of them, and how many were kept."""

    name: str
    kind: str
    total: int
    kept: int
    minimum: int = 1
    multiple: int = Field(default=1, description="kept is a multiple of this, or all")
    tied_to: list[str] = Field(default_factory=list)


class HistoryPoint(Schema):
    """One moment of a run. ``accuracy`` is on validation data. Amounts are fractions of the dense network."""

    step: int
    epoch: float
    phase: str = Field(description="warmup, market or recovery; training or recovery where a score decides; level 1, …")
    loss: float | None = None
    accuracy: float | None = None
    sparsity: float = Field(description="fraction of players with s < ε or removed")
    mean_participation: float
    active: int = Field(description="players with s ≥ ε")
    price: dict[str, float] = Field(default_factory=dict, description="per resource")
    demand: dict[str, float] = Field(default_factory=dict, description="fraction of dense, as the rent counts it")
    path: dict[str, float] = Field(default_factory=dict, description="the budget path the market clears at")
    lr: float | None = None


RUNGS = {
    "before": "just before the cut",
    "earlier": "best epoch before the cut",
    "none": "as the cut left it",
}


class RungRow(Schema):
    """One network on the ladder of repairs after the cut. ``accuracy`` is on validation data.

    The first rows are what the others are held against: ``before``, the network just before the cut; ``earlier``, the
    best epoch before it, where that was better. Then ``none``, as the cut left it; then what was tried, repairs in a
    row joined by ``+``; last, the training that followed: ``finetune`` or ``distill``.
    """

    name: str
    accuracy: float
    seconds: float = Field(default=0.0, description="wall seconds, validation left out")
    kept: bool = Field(default=False, description="the run went on from it, until a later one was kept")

    @property
    def is_reference(self) -> bool:
        """Whether it is a network before the cut."""
        return self.name in ("before", "earlier")

    @property
    def label(self) -> str:
        """What it is, in words."""
        return RUNGS.get(self.name, self.name.replace("+", " + "))


class PlayersBlock(Schema):
    """The players at the moment of the cut, one entry each (at most 20,000; ``sampled`` says if fewer)."""

    layer: list[int] = Field(description="index into the record's layers")
    participation: list[float]
    benefit: list[float]
    cost: list[float] = Field(description="marginal rent")
    kept: list[bool]
    epsilon: float
    sampled: bool = False


class NetworkGroup(Schema):
    """Indices cut one by one, each in all its places at once. ``kept`` of ``total``, where they were players."""

    name: str
    kind: str
    total: int
    kept: int | None = None
    params_each: int | None = None
    macs_each: int | None = None


class NetworkNode(Schema):
    """A layer, or an operator at which streams meet. ``inputs`` are the nodes that it reads, all earlier."""

    name: str
    kind: str = ""
    also: list[str] = Field(default_factory=list, description="norms beside it")
    inputs: list[int] = Field(default_factory=list)
    groups: list[int] = Field(default_factory=list, description="of the indices it makes, largest share first")
    counts: list[int] = Field(default_factory=list, description="how many indices each of them has here")
    width: int = 0
    kept: int | None = Field(default=None, description="width after the cut")
    reason: str = Field(default="", description="why indices are fixed, if any are")


class Network(Schema):
    """The model as it runs, with what is tied, to be drawn."""

    nodes: list[NetworkNode]
    groups: list[NetworkGroup]


class Certificate(Schema):
    """What can be said of the final profile as an equilibrium (game, §4.3–5.3, §9.3).

    ``scope`` says which game: 'market' (utility with the clearing price) or 'paper' (β, γ, η as printed).
    """

    scope: str
    nash_gap: float = Field(description="max over players of the gain from their best response")
    nash_gap_median: float
    at_rest: int | None = Field(
        default=None, description="players whom no small move would help: their projected gradient is zero"
    )
    left_earlier: int = Field(default=0, description="players cut out of the live network before the end")
    dominated: int = Field(description="players for whom condition (15) holds: zero is dominant")
    dominated_and_removed: int
    undominated_and_kept: int
    spectral_radius: float | None = Field(description="of the best-response Jacobian; < 1 is a contraction")
    contraction: bool | None
    market_clearing_error: float | None = Field(
        default=None, description="|demand − path| / dense where a price holds it, or the excess; last step"
    )
    slack: float | None = Field(
        default=None, description="(path − demand) / dense of the nearest budget, where no price is asked; last step"
    )
    condition_numbers: dict[str, float] = Field(default_factory=dict, description="σ_max/σ_min per layer")
    sentence: str = ""


class TrainSeconds(Schema):
    """Wall seconds. The game's own arithmetic is apart from the training steps it accompanies."""

    dense_equivalent: float = 0.0
    game: float = 0.0
    recovery: float = 0.0
    reference: float = Field(default=0.0, description="training the dense network for comparison")


class TrainBlock(Schema):
    seconds: TrainSeconds = Field(default_factory=TrainSeconds)
    steps: dict[str, int] = Field(default_factory=dict, description="optimizer steps per phase, and 'total'")
    batch_size: int = 0
    examples: dict[str, int] = Field(default_factory=dict, description="train, validation, test")


class Record(Schema):
    """One run. ``gated`` is the network with its participations, before removal; ``pruned`` is what you get."""

    schema_version: int = 1
    method: str
    model: str
    data: str
    budget: dict[str, float]
    targets: dict[str, float] = Field(default_factory=dict, description="absolute amounts")
    dense: Measured = Field(default_factory=Measured)
    gated: Measured = Field(default_factory=Measured)
    cut: Measured | None = Field(default=None, description="after removal, before recovery")
    pruned: Measured = Field(default_factory=Measured)
    fidelity: Fidelity | None = Field(default=None, description="where there is a dense network to be faithful to")
    validation: float | None = Field(default=None, description="the pruned network's accuracy on validation data")
    peak_memory: int | None = Field(default=None, description="bytes that training took beyond what was there before")
    peak_device_memory: int | None = Field(default=None, description="the same on the accelerator")
    joules: float | None = Field(default=None, description="energy of the training, where the platform tells it")
    groups_total: int = 0
    groups_kept: int = 0
    layers: list[LayerRow] = Field(default_factory=list)
    certificate: Certificate | None = None
    train: TrainBlock = Field(default_factory=TrainBlock)
    history: list[HistoryPoint] = Field(default_factory=list)
    recovery: list[RungRow] = Field(default_factory=list, description="repairs after the cut, where some were asked")
    players: PlayersBlock | None = None
    network: Network | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    config_hash: str = ""
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    threads: int = 0
    batch_latency: int = Field(default=1, description="batch size at which latency was measured")
    data_hash: str = ""
    created: str = ""
    files: dict[str, str] = Field(default_factory=dict, description="artifact, onnx, report: relative paths")
    notes: list[str] = Field(default_factory=list)

    @property
    def repaired(self) -> RungRow:
        """The network on the ladder that was kept in the end.

        Raises:
            ValueError: no repair was asked for.
        """
        if not self.recovery:
            raise ValueError("this run was asked for no repair")
        return next(row for row in reversed(self.recovery) if row.kept)

    def write(self, folder: str | Path) -> Path:
        """Write ``record.json`` atomically into ``folder``."""
        return write_text(Path(folder) / RECORD_FILE, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> Record:
        """Read the record of a run folder (or a record file itself).

        Raises:
            RunError: no record there, or not one of ours.
        """
        path = Path(folder)
        path = path / RECORD_FILE if path.is_dir() else path
        if not path.exists():
            raise RunError(
                f"no {RECORD_FILE} in {str(folder)!r}; a finished `secateurs prune --out DIR` leaves one there"
            )
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise RunError(f"{str(path)!r} is not a Secateurs record: {_first(error)}") from error


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return ": ".join(part for part in (".".join(map(str, detail["loc"])), detail["msg"]) if part)
    return str(error)
