"""What the index knows of a run: one table, from which its SQL schema, the documentation and the command's help come.

A record is looked at without validation: what is asked of it is that it can be told from another program's file, and
that what goes into a column is of its kind. Whatever a record does not have is NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json, to_json

from ..records import Record
from ..spec import Budget

Read = Callable[[Mapping[str, Any]], Any]
SCHEMA_VERSION = Record.model_fields["schema_version"].default
NEEDED = ("method", "model", "data", "budget", "pruned")


@dataclass(frozen=True)
class Column:
    """One column. ``text``: what it is, in Markdown. ``read``: takes it from a record."""

    name: str
    kind: Literal["text", "integer", "real"]
    text: str
    read: Read

    def value(self, found: Mapping[str, Any]) -> str | int | float | None:
        """What SQLite is given.

        Raises:
            ValueError: the record holds something else there.
        """
        value = self.read(found)
        if value is None or (self.kind == "text" and isinstance(value, str)):
            return value
        if self.kind == "text":
            raise ValueError(f"not a Secateurs record: its {self.name} is no text")
        return _number(value, self.name)


def _number(value: Any, name: str) -> int | float:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):  # as records write them
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"not a Secateurs record: its {name} is no number")
    return value if abs(value) < 2**63 else float(value)  # SQLite's integers have 64 bits


def _at(*keys: str) -> Read:
    def read(found: Any) -> Any:
        for key in keys:
            if not isinstance(found, Mapping):
                return None
            found = found.get(key)
        return found

    return read


def _share(part: Read, whole: Read) -> Read:
    def read(found: Mapping[str, Any]) -> float | None:
        a, b = part(found), whole(found)
        return None if a is None or not b else _number(a, "amount") / _number(b, "amount")

    return read


def _of_dense(resource: str) -> Read:
    return _share(_at("pruned", resource), _at("dense", resource))


def _budget(found: Mapping[str, Any]) -> str:
    try:
        return str(Budget.model_construct(**found["budget"]))
    except (TypeError, ValueError):
        raise ValueError("not a Secateurs record: its budget names no amounts") from None


def _options(found: Mapping[str, Any]) -> str:
    return to_json(_at("config", "options")(found) or {}, inf_nan_mode="strings").decode()


def _worst(found: Mapping[str, Any]) -> float | None:
    classes = _at("pruned", "class_accuracy")(found) or []
    return min((a for a in classes if a is not None), default=None)


def _seconds(found: Mapping[str, Any]) -> float | None:
    taken = _at("train", "seconds")(found)
    if not isinstance(taken, Mapping):
        return None
    return sum(_number(taken.get(name) or 0, "seconds") for name in ("dense_equivalent", "game", "recovery"))


COLUMNS = (
    Column("hash", "text", "of the configuration", _at("config_hash")),
    Column("folder", "text", "the run's, below the folder that is searched", _at("folder")),
    Column("method", "text", "as `secateurs methods` names it; a control is `dense` or `scratch`", _at("method")),
    Column("model", "text", "as `--model` was given", _at("model")),
    Column("data", "text", "as `--data` was given", _at("data")),
    Column("granularity", "text", "`channel`, `weight`, …", _at("config", "granularity")),
    Column("budget", "text", "as asked, such as `macs=0.25`", _budget),
    Column("seed", "integer", "of data order and weights", _at("seed")),
    Column("epochs", "integer", "all together", _at("config", "epochs")),
    Column("options", "text", "of the method, as JSON: `json_extract(options, '$.lr')`", _options),
    Column("source", "text", "hash of the run whose network is trained from scratch", _at("config", "options", "of")),
    Column(
        "accuracy",
        "real",
        "of the pruned network on the test set, 0 to 1; NULL in trials",
        _at("pruned", "accuracy"),
    ),
    Column("loss", "real", "likewise", _at("pruned", "loss")),
    Column("validation", "real", "its accuracy on validation data", _at("validation")),
    Column("dense_accuracy", "real", "of the dense network on the test set", _at("dense", "accuracy")),
    Column(
        "groups", "real", "kept, as a fraction of the dense network's", _share(_at("groups_kept"), _at("groups_total"))
    ),
    Column("params", "real", "parameters, as a fraction of the dense network's", _of_dense("params")),
    Column("macs", "real", "multiply-accumulates, as a fraction of the dense network's", _of_dense("macs")),
    Column("bytes", "real", "in memory, as a fraction of the dense network's", _of_dense("bytes")),
    Column("latency", "real", "as a fraction of the dense network's", _of_dense("latency_ms")),
    Column("groups_kept", "integer", "groups of the pruned network", _at("groups_kept")),
    Column("groups_count", "integer", "groups of the dense network", _at("groups_total")),
    Column("params_count", "integer", "parameters of the pruned network", _at("pruned", "params")),
    Column("macs_count", "integer", "multiply-accumulates of one example", _at("pruned", "macs")),
    Column("bytes_count", "integer", "parameters and buffers in memory", _at("pruned", "bytes")),
    Column("file_bytes", "integer", "the saved weights on disk", _at("pruned", "file_bytes")),
    Column("latency_ms", "real", "of one example, median, milliseconds", _at("pruned", "latency_ms")),
    Column("worst_class", "real", "accuracy of the class with the lowest", _worst),
    Column("worst_drop", "real", "largest loss of accuracy of a class against dense", _at("fidelity", "worst_drop")),
    Column("calibration_error", "real", "expected, of the top label", _at("pruned", "calibration_error")),
    Column("agreement", "real", "share of test examples that dense answers alike", _at("fidelity", "agreement")),
    Column("kl", "real", "divergence from the dense network's answers, nats", _at("fidelity", "kl")),
    Column(
        "membership_auc",
        "real",
        "of telling training examples by their loss; 0.5: private",
        _at("pruned", "membership_auc"),
    ),
    Column("peak_memory", "integer", "bytes that training took", _at("peak_memory")),
    Column("peak_device_memory", "integer", "the same on the accelerator", _at("peak_device_memory")),
    Column("seconds", "real", "wall seconds of training, the dense reference left out", _seconds),
    Column("joules", "real", "energy of training, where the platform tells it", _at("joules")),
    Column("created", "text", "when, ISO 8601", _at("created")),
    Column("device", "text", "that trained", _at("device")),
    Column("threads", "integer", "CPU threads", _at("threads")),
)
NAMES = tuple(column.name for column in COLUMNS)


class OtherVersion(ValueError):
    """A record that another release wrote, or will read."""


def read_row(text: bytes, folder: str) -> list[str | int | float | None]:
    """A record's row.

    Raises:
        ValueError: it is damaged, or none of ours; the message says why.
    """
    try:
        found = from_json(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("not a Secateurs record: no JSON object")
    lacking = [name for name in NEEDED if name not in found]
    if lacking:
        raise ValueError(f"not a Secateurs record: it has no {lacking[0]!r}")
    version = found.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise OtherVersion(f"schema version {version}, and this installation reads {SCHEMA_VERSION}")
    found["folder"] = folder
    try:
        return [column.value(found) for column in COLUMNS]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a Secateurs record: {error}") from None
