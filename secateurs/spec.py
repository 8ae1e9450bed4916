"""Frozen configuration: what a run *is*. Two runs with equal hashes are the same run."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .errors import BudgetError, suggest

RESOURCES = ("groups", "params", "macs", "bytes", "latency")
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
_TIMES = {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3}


class Frozen(BaseModel):
    """A configuration object: immutable, no unknown fields, hashable by content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Budget(Frozen):
    """Amounts of resources that the pruned network may use; all that are given must hold.

    Each is a fraction of the dense network if ≤ 1, else an absolute amount. ``latency`` is always
    absolute, in milliseconds on this device. Amounts may be written as on the command line.

    >>> Budget(macs=0.3)
    Budget(macs=0.3)
    >>> Budget(params="40%", latency="2.5ms")
    Budget(params=0.4, latency=2.5)
    >>> Budget.parse("macs=40M", "params=0.25")
    Budget(params=0.25, macs=40000000.0)
    """

    groups: float | None = None
    params: float | None = None
    macs: float | None = None
    bytes: float | None = None
    latency: float | None = Field(default=None, description="milliseconds")

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:  # in the user's words, wherever the budget was made
            detail = error.errors()[0]
            cause = detail.get("ctx", {}).get("error")
            if isinstance(cause, BudgetError):
                raise cause from None
            name = str(detail["loc"][0])
            known = "" if name in RESOURCES else f"unknown resource {name!r}, {suggest(name, RESOURCES)} "
            raise BudgetError(f"budget {name}={given.get(name)!r}: {known or detail['msg'] + '; '}{_GRAMMAR}") from None

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        return _amount(f"{name}={given}", name, given.strip()) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _sensible(self) -> Budget:
        given = self.given
        if not given:
            raise BudgetError("a budget names at least one resource, such as macs=0.4; " + _GRAMMAR)
        for resource, amount in given.items():
            if not math.isfinite(amount) or amount <= 0:
                raise BudgetError(f"budget {resource}={amount:g}: must be a positive amount; " + _GRAMMAR)
            if resource not in ("latency", "groups") and 1 < amount < 2:  # nobody asks for one and a half
                raise BudgetError(f"budget {resource}={amount:g}: a fraction is at most 1")
        return self

    def __repr__(self) -> str:
        return "Budget(" + ", ".join(f"{k}={v!r}" for k, v in self.given.items()) + ")"

    def __str__(self) -> str:
        # Every digit, and no powers of ten: what is shown can be typed, and no two budgets look alike.
        shown = {k: format(Decimal(repr(float(v))), "f").removesuffix(".0") for k, v in self.given.items()}
        return ",".join(f"{k}={v}" + ("ms" if k == "latency" else "") for k, v in shown.items())

    @property
    def given(self) -> dict[str, float]:
        """The resources that were named, in a fixed order."""
        return {r: v for r in RESOURCES if (v := getattr(self, r)) is not None}

    @classmethod
    def parse(cls, *texts: str) -> Budget:
        """Read ``macs=0.4``, ``macs=40M``, ``bytes=200kB``, ``latency=2.5ms``; commas separate several.

        Raises:
            BudgetError: the text is not of that form; the message shows it and the grammar.
        """
        given: dict[str, float] = {}
        for text in (part.strip() for t in texts for part in t.split(",")):
            resource, equals, amount = text.partition("=")
            resource = resource.strip().lower()
            if not equals:
                raise BudgetError(f"budget {text!r} has no '='; {_GRAMMAR}")
            if resource not in RESOURCES:
                raise BudgetError(f"budget {text!r}: unknown resource {resource!r}; {suggest(resource, RESOURCES)}")
            if resource in given:
                raise BudgetError(f"budget names {resource!r} twice")
            given[resource] = _amount(text, resource, amount.strip())
        return cls(**given)

    def targets(self, dense: Mapping[str, float]) -> dict[str, float]:
        """Absolute amounts, given what the dense network uses.

        Args:
            dense: amount of each resource in the dense network (``latency`` not needed).
        Raises:
            BudgetError: an absolute amount above the dense network's own.
        """
        out = {}
        for resource, amount in self.given.items():
            if resource == "latency":
                out[resource] = amount
                continue
            total = float(dense[resource])
            absolute = amount * total if amount <= 1 else amount
            if absolute > total:
                raise BudgetError(
                    f"budget {resource}={amount:g} is above 1 and above the dense network's {total:g} {resource}; "
                    "give a fraction ≤ 1 or a smaller absolute amount"
                )
            out[resource] = absolute
        return out


_GRAMMAR = "write groups=, params=, macs=, bytes= as a fraction ≤ 1 or an amount (macs=40M), or latency=2.5ms"


def _amount(text: str, resource: str, amount: str) -> float:
    match = re.fullmatch(r"([0-9.eE+-]+?)\s*([a-zA-Zµ%]*)", amount)
    try:
        number = float(match[1]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise BudgetError(f"budget {text!r}: {amount!r} is not an amount; {_GRAMMAR}")
    unit = match[2].lower()
    if resource == "latency" and not unit:
        raise BudgetError(f"budget {text!r}: a latency needs a unit, such as latency=2.5ms")
    if unit == "%" and resource != "latency":
        if number > 100:
            raise BudgetError(f"budget {text!r}: a fraction is at most 1, which is 100%")
        return number / 100
    units = _TIMES if resource == "latency" else _UNITS | (_BYTES if resource == "bytes" else {})
    if unit not in units:
        known = ", ".join(u for u in (*units, *(() if resource == "latency" else ("%",))) if u)
        raise BudgetError(f"budget {text!r}: unknown unit {match[2]!r}; known: {known}")
    return number * units[unit]


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named purpose, a pure function of ``seed`` and the names.

    What is drawn at (epoch 7, step 40) then depends on nothing that was drawn before it, which is why an
    interrupted run can continue exactly.
    """
    text = json.dumps([seed, *names]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


class RunConfig(Frozen):
    """Everything that decides the outcome of one ``prune`` run.

    ``method`` names a recipe; ``options`` are that recipe's own settings, validated by it.
    """

    model: str
    data: str
    budget: Budget
    method: str = "equilibrium"
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    seed: int = 0
    granularity: str = "channel"
    validation: float = Field(default=0.0833, gt=0, lt=1, description="fraction of train held out")
    reference: Literal["train", "given", "none"] = Field(
        default="train",
        description="the dense network to compare with: trained for the same steps, as the factory gives it, or none",
    )
    mixed_precision: str = "no"
    options: dict[str, Any] = Field(default_factory=dict)


def written(options: Mapping[str, Any]) -> str:
    """Options as on the command line, with commas between them.

    >>> written({"lr": 0.01, "optimizer": "sgd"})
    'lr=0.01, optimizer=sgd'
    """
    return ", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v, default=str)}" for k, v in options.items())
