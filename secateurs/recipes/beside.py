"""A finished run held against the dense network's own run: fidelity, and latency while nothing else runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from .. import artifact
from ..measure import Latency, compare_latency, fidelity, read_predictions
from ..records import Measured, Record
from .examination import ARTIFACT


def hold_against(out: str | Path, dense: str | Path) -> Record:
    """Put the figures of a dense network, which a run of its own trained at the same seed, beside those of a run, with
    how faithful the run's network is to its answers. Neither reads the test set again.

    Raises:
        RunError: one of the two has no record, or kept no answers.
    """
    out, dense = Path(out), Path(dense)
    record, other = Record.read(out), Record.read(dense)
    if record.fidelity is not None:
        return record
    theirs, ours = read_predictions(dense), read_predictions(out)
    classes = int(theirs["labels"].max()) + 1
    record.dense = other.pruned
    record.fidelity = fidelity(theirs["pruned"], ours["pruned"], theirs["labels"], classes)
    record.write(out)
    return record


def time_against(outs: Sequence[str | Path], dense: str | Path, *, repeats: int = 20) -> None:
    """Measure the latencies of runs' networks, interleaved with each other and with the dense one, and put them into
    the records. Networks whose record has one are left out.

    Args:
        dense: the run of the dense network; may be among ``outs``.
    """
    dense = Path(dense)
    records = {Path(out): Record.read(out) for out in outs}
    records = {out: record for out, record in records.items() if record.pruned.latency_ms is None}
    if not records:
        return
    entry = artifact.read_manifest(dense / ARTIFACT).factory
    assert entry is not None  # runs are saved with their factory
    shape = tuple(entry.kwargs.input_shape)
    inputs = (torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)),)
    networks = {str(out): artifact.load(out / ARTIFACT) for out in {dense: None, **records}}
    times = compare_latency(networks, inputs, repeats=repeats, seconds=10.0 * len(networks))
    for out, record in records.items():
        _put(record.pruned, times[str(out)])
        if out != dense:
            _put(record.dense, times[str(dense)])
        record.write(out)


def _put(measured: Measured, time: Latency) -> None:
    measured.latency_ms = time.median_ms
    measured.latency_spread_ms = (time.q25_ms, time.q75_ms)
