"""Where the figures come from: time spent, configuration, versions, hashes, files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..records import Record
from . import formats
from .answers import resources
from .page import Section, grid, paragraph, titled
from .scores import scored
from .tables import Html, escape, pairs, table

_PARTS = {
    "dense_equivalent": ("training steps", "as the dense network would take them"),
    "game": ("the game", "its own arithmetic"),
    "recovery": ("recovery", "after the cut"),
    "reference": ("dense reference", "trained for comparison, not needed to prune"),
}


def cost(record: Record) -> Section:
    """Seconds and steps, and what they went to."""
    title, seconds = "What the run cost", record.train.seconds.model_dump()
    if not any(seconds.values()) and not record.train.steps:
        return Section(
            title,
            [paragraph("The record holds no training times: nothing was trained, or not by this run.", "none")],
            "Cost",
        )
    own = sum(v for k, v in seconds.items() if k != "reference")
    rows = []
    for key, value in seconds.items():
        if key == "game" and scored(record):
            continue
        name, note = _PARTS.get(key, (key, ""))
        share = formats.percent(value / own, 1) if own and key != "reference" else ""
        rows.append([Html(f'{escape(name)}<span class="note">{escape(note)}</span>'), formats.duration(value), share])
    times = table(["", "wall time", "of the run"], rows)
    names = {"warmup": "training" if scored(record) else "warm-up"}
    facts: dict[str, Any] = {f"steps, {names.get(k, k)}": formats.count(v) for k, v in record.train.steps.items()}
    facts |= {"batch size": formats.count(record.train.batch_size)} if record.train.batch_size else {}
    facts |= {f"examples, {k}": formats.count(v) for k, v in record.train.examples.items()}
    steps = pairs(facts) if facts else paragraph("No step counts were recorded.", "none")
    return Section(
        title, [grid(titled("Wall time", times), titled("Steps and examples", steps)), *resources(record)], "Cost"
    )


def provenance(record: Record) -> Section:
    """Everything that is needed to run it again, and to trust that it was this."""
    run = {
        "method": record.method,
        "model": record.model,
        "data": record.data,
        "seed": record.seed,
        "device": record.device,
        "threads": record.threads or "",
        "created": record.created,
        "configuration hash": _mono(record.config_hash),
        "data hash": _mono(record.data_hash),
        "record schema": record.schema_version,
    }
    settings = {name: _mono(value) for name, value in _flat(record.config)}
    parts = [
        titled("Run", pairs(run)),
        titled(
            "Configuration",
            pairs(settings) if settings else paragraph("No configuration was recorded.", "none"),
        ),
        titled(
            "Versions",
            pairs(record.versions) if record.versions else paragraph("No versions were recorded.", "none"),
        ),
        titled("Files", _files(record.files)),
    ]
    said = [] if record.notes else [paragraph("The run left no notes.", "none")]
    return Section("Configuration and provenance", [grid(*parts), *said], "Provenance")


def _mono(value: str) -> Html | str:
    return Html(f"<code>{escape(value)}</code>") if value else ""


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield (
                prefix + str(name),
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
            )


def _files(files: Mapping[str, str]) -> Html:
    if not files:
        return paragraph("No files were recorded.", "none")
    return pairs({name: _link(path) for name, path in files.items()})


def _link(path: str) -> Html:
    """A link only to something beside or below this page; any other text stays text."""
    inside = path and ":" not in path and not path.startswith(("/", "\\")) and ".." not in path
    shown = _mono(path)
    return Html(f'<a href="{escape(path)}">{shown}</a>') if inside else escape(shown)
