"""Test examples whose answer pruning changes (compression-identified exemplars, Hooker et al. 2019).

An example is one where the commonest answer of the pruned networks over seeds is not that of the dense networks. The
answers are read from each run's predictions, and what was found is kept beside them, for it does not change.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RunError, SecateursError
from ..measure import read_predictions
from ..records import Exemplar, RunRow
from ..storage import write_json
from ..zoo import load_data
from .request import Asked

KEPT_FILE = "answers.json"
SHOWN = 24  # pictures in a report


class Answers:
    """Answers of the runs in a comparison's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._path = folder / KEPT_FILE
        self._kept: dict[str, Any] = {}
        self._fresh = False
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self._kept = kept if isinstance(kept, dict) else {}

    def flipped(self, dense: Sequence[RunRow], pruned: Sequence[RunRow]) -> int:
        """How many test examples change their commonest answer."""
        return len(self.indices(dense, pruned))

    def indices(self, dense: Sequence[RunRow], pruned: Sequence[RunRow]) -> list[int]:
        """Which examples these are, in the order of the test set."""
        hashes = [sorted(run.hash for run in runs) for runs in (dense, pruned)]
        name = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]
        if name not in self._kept:
            try:
                self._kept[name] = np.flatnonzero(self.mode(dense) != self.mode(pruned)).tolist()
            except RunError:
                return []  # answers that somebody deleted
            self._fresh = True
        return self._kept[name]

    def mode(self, runs: Sequence[RunRow]) -> np.ndarray:
        """The commonest answer to each example; of equals, the smallest label."""
        votes = np.stack([self.of(run)[0] for run in runs])
        return np.apply_along_axis(lambda column: np.bincount(column).argmax(), 0, votes)

    def of(self, run: RunRow) -> tuple[np.ndarray, np.ndarray]:
        """(answers, labels) of a run's network."""
        if run.hash not in self._read:
            found = read_predictions(self._folder / run.folder)
            self._read[run.hash] = found["pruned"].argmax(-1).numpy(), found["labels"].numpy()
        return self._read[run.hash]

    def keep(self) -> None:
        """Write down what was found."""
        if self._fresh:
            write_json(self._path, self._kept)


def changed(answers: Answers, dense: Sequence[RunRow], pruned: Sequence[RunRow], asked: Asked) -> list[Exemplar]:
    """The examples that most of a method's networks answer otherwise, with their pictures."""
    indices = answers.indices(dense, pruned)
    if not indices:
        return []
    before, after = answers.mode(dense), answers.mode(pruned)
    labels = answers.of(pruned[0])[1]
    votes = np.stack([answers.of(run)[0] for run in pruned])
    share = (votes != before).mean(0)
    # Those that dense had right come first: what pruning lost.
    ranked = sorted(indices, key=lambda i: (before[i] != labels[i], -share[i], i))[:SHOWN]
    drawn = _pictures(asked, ranked)
    return [
        Exemplar(
            index=i,
            label=int(labels[i]),
            dense=int(before[i]),
            pruned=int(after[i]),
            share=float(share[i]),
            picture=picture,
        )
        for i, picture in zip(ranked, drawn)
    ]


def _pictures(asked: Asked, indices: Sequence[int]) -> list[str]:
    """Small PNGs of test examples as data: addresses; empty where an example is no image, or cannot be drawn here."""
    try:
        from PIL import Image

        # Looked at for the picture only: nothing is evaluated.
        split = load_data(asked.data, validation=asked.validation, seed=asked.seeds[0]).test
    except (ImportError, SecateursError):
        return [""] * len(indices)
    raw = getattr(split, "x", None)
    if raw is None or raw.dim() != 4 or raw.shape[1] not in (1, 3):
        return [""] * len(indices)
    out = []
    for index in indices:
        pixels = raw[index].float()
        scaled = (255 * (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp(min=1e-9)).byte()
        image = scaled.permute(1, 2, 0).squeeze(-1).numpy()
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", optimize=True)
        out.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    return out
