"""What a comparison found: its runs as rows, and for every budget the methods side by side with a verdict."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .schema import Schema


class Estimate(Schema):
    """A mean over seeds with its 95% interval (Student's t); no interval where there is one seed."""

    mean: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = Field(default=None, description="over seeds, n − 1 in the denominator")
    n: int


class Difference(Estimate):
    """A mean difference, paired by seed."""

    p: float | None = Field(default=None, description="of the paired t test, two-sided, not adjusted")


class RunRow(Schema):
    """One finished run. Amounts are those of the network that it gives; accuracy is on the test set."""

    hash: str
    folder: str = Field(description="relative to the comparison's folder")
    method: str = Field(description="dense, scratch:METHOD, or a method's name")
    budget: str = Field(description="as asked, such as macs=0.25; empty for the dense network")
    seed: int
    options: dict[str, Any] = Field(default_factory=dict, description="what was chosen on validation, or given")
    validation: float | None = Field(default=None, description="accuracy on validation data at the end")
    accuracy: float | None = None
    loss: float | None = None
    params: int | None = None
    macs: int | None = None
    bytes: int | None = None
    file_bytes: int | None = None
    nonzero: int | None = Field(default=None, description="parameters that are not zero, where single weights left")
    latency: float | None = Field(default=None, description="of the dense network's; both were timed in one round")
    latency_ms: float | None = Field(default=None, description="at whatever load the machine had in that round")
    seconds: float | None = Field(default=None, description="wall seconds of training")
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    joules: float | None = None
    worst_class: float | None = Field(default=None, description="accuracy of the class with the lowest")
    worst_drop: float | None = Field(default=None, description="largest loss of accuracy of a class against dense")
    calibration_error: float | None = None
    agreement: float | None = Field(default=None, description="with the dense network of the same seed")
    kl: float | None = Field(default=None, description="from the dense network's answers, nats")
    membership_auc: float | None = None
    command: str = Field(default="", description="that exports this network")


# What the clock and the machine have a say in: two equal runs differ in these alone, and in where they lie.
CLOCKS = frozenset({"latency", "latency_ms", "seconds", "peak_memory", "joules"})


class Row(Schema):
    """One method at one budget, over seeds. ``figures`` holds whatever was measured, by the names of RunRow."""

    method: str
    role: str = Field(default="method", description="method or control")
    runs: list[str] = Field(default_factory=list, description="hashes")
    failed: int = 0
    options: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, Estimate] = Field(default_factory=dict)
    against: Difference | None = Field(default=None, description="accuracy, minus that of the method held against")
    best: bool = Field(default=False, description="leads, or cannot be told from the method that does")


class Exemplar(Schema):
    """A test example on which the answer changed (Hooker et al. 2019): the seeds' commonest answers differ."""

    index: int
    label: int
    dense: int
    pruned: int
    share: float = Field(description="of the seeds' pruned networks that answer otherwise than the dense one's mode")
    picture: str = Field(default="", description="a data: address of a small PNG, where the example is an image")


class Block(Schema):
    """One budget. ``exemplars`` are those of ``shown``, the best method."""

    budget: str
    amounts: dict[str, float]
    rows: list[Row]
    winner: str | None = None
    sentence: str = ""
    flipped: dict[str, int] = Field(default_factory=dict, description="changed test examples by method")
    shown: str = ""
    exemplars: list[Exemplar] = Field(default_factory=list)


class Tried(Schema):
    """One trial of a search, which looks at validation data alone."""

    budget: str
    number: int
    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    hash: str = Field(description="of its run")
    validation: float | None = Field(default=None, description="accuracy after removal and recovery")
    error: str = ""
    chosen: bool = False


class Failure(Schema):
    """A run that could not be carried out."""

    hash: str
    method: str
    budget: str
    seed: int
    options: dict[str, Any] = Field(default_factory=dict, description="beside those that all runs were given")
    error: str


class Comparison(Schema):
    """A whole comparison, as far as its runs have finished."""

    schema_version: int = 1
    model: str
    data: str
    granularity: str = "channel"
    epochs: int
    steps: int | None = Field(default=None, description="optimizer steps of every run")
    seeds: list[int]
    methods: list[str]
    against: str = Field(default="magnitude", description="the method that paired differences are taken to")
    protocol: list[str] = Field(default_factory=list, description="sentences")
    dense: Row | None = None
    blocks: list[Block] = Field(default_factory=list)
    runs: list[RunRow] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    tried: list[Tried] = Field(default_factory=list, description="where a search chose: its trials, the best first")
    missing: int = Field(default=0, description="runs that are still to be made")
    provenance: dict[str, str] = Field(default_factory=dict)
    command: str = ""
