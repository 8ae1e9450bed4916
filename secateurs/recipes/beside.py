"""A finished run held against the dense network's own run: fidelity, and latency while nothing else runs."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import artifact
from ..measure import compare_latency, fidelity, read_predictions
from ..records import Record
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


def time_against(out: str | Path, dense: str | Path, *, repeats: int = 20) -> Record:
    """Measure the latency of a run's network, interleaved with the dense one's, where the record does not have it.

    Args:
        dense: the run of the dense network; may be ``out`` itself.
    """
    out, dense = Path(out), Path(dense)
    record = Record.read(out)
    if record.pruned.latency_ms is not None:
        return record
    entry = artifact.read_manifest(out / ARTIFACT).factory
    assert entry is not None  # runs are saved with their factory
    shape = tuple(entry.kwargs.input_shape)
    inputs = (torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)),)
    networks = {"pruned": artifact.load(out / ARTIFACT)}
    if dense != out:
        networks["dense"] = artifact.load(dense / ARTIFACT)
    times = compare_latency(networks, inputs, repeats=repeats)
    for name in networks:
        measured = getattr(record, name)
        measured.latency_ms = times[name].median_ms
        measured.latency_spread_ms = (times[name].q25_ms, times[name].q75_ms)
    record.write(out)
    return record
