"""What was asked and what was got, in one sentence."""

from __future__ import annotations

from ..records import Measured, Record
from . import formats

NAMES = {"groups": "groups", "params": "parameters", "macs": "MACs", "bytes": "bytes", "latency": "latency"}


def used(record: Record, resource: str, block: Measured) -> float | None:
    """What ``block`` (the record's dense or pruned network) uses of a budget's resource, absolute."""
    if resource == "groups":
        return record.groups_total if block is record.dense else record.groups_kept
    return getattr(block, "latency_ms" if resource == "latency" else resource, None)


def show(resource: str, value: float | None) -> str:
    """An absolute amount of a resource, with its unit where it has one."""
    forms = {"latency": formats.milliseconds, "bytes": formats.size, "groups": formats.count}
    return forms.get(resource, formats.amount)(value)


def asked(record: Record) -> str:
    """The budget as it was written: ``macs=0.4, params=0.25``."""
    return ", ".join(f"{name}={_written(name, value)}" for name, value in record.budget.items())


def headline(record: Record) -> str:
    """``macs=0.4: 0.398 of the MACs, accuracy 91.2% (dense 91.6%), 2.1× faster at batch 1, one thread``."""
    got = [text for name in record.budget if (text := _reached(record, name))]
    got += [text for text in (_quality(record), _speed(record)) if text]
    return f"{asked(record) or 'no budget'}: {', '.join(got) or 'nothing was measured'}"


def _written(resource: str, value: float) -> str:
    if resource == "latency":
        return f"{value:g}ms"
    return f"{value:g}" if value <= 1 else show(resource, value).replace(" ", "")


def _reached(record: Record, resource: str) -> str:
    dense, pruned = used(record, resource, record.dense), used(record, resource, record.pruned)
    if pruned is None:
        return ""
    if resource == "latency":
        return f"{formats.milliseconds(pruned)} a batch"
    if resource == "groups":
        return f"{formats.count(pruned)} of {formats.count(dense)} groups"
    if not dense:
        return f"{show(resource, pruned)} {NAMES[resource]}"
    name = NAMES.get(resource, resource)
    return f"{formats.significant(pruned / dense)} of the {name}"


def _quality(record: Record) -> str:
    dense, pruned = record.dense, record.pruned
    if pruned.accuracy is not None:
        beside = "" if dense.accuracy is None else f" (dense {formats.percent(dense.accuracy, 1)})"
        return f"accuracy {formats.percent(pruned.accuracy, 1)}{beside}"
    if pruned.loss is not None:
        beside = "" if dense.loss is None else f" (dense {formats.significant(dense.loss)})"
        return f"loss {formats.significant(pruned.loss)}{beside}"
    return ""


def _speed(record: Record) -> str:
    dense, pruned = record.dense.latency_ms, record.pruned.latency_ms
    if not dense or not pruned:
        return ""
    where = f" at batch {record.batch_latency}" + (f", {formats.threads(record.threads)}" if record.threads else "")
    speed = formats.times(dense, pruned, "faster", "slower")
    return f"{'as fast' if speed == 'the same' else speed}{where}"
