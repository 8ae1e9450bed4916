"""The examples run as their first lines say, and come out as they claim."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from secateurs import Record
from secateurs.cli.app import app

ROOT = Path(__file__).resolve().parents[2]


def test_plain_loop() -> None:
    found = subprocess.run(
        [sys.executable, "examples/plain_loop.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    gated, removed = map(float, re.search(r"with gates (\S+), after removal (\S+)", found).groups())  # type: ignore[union-attr]
    dense, pruned = (
        int(n.replace(",", ""))
        for n in re.search(r"MACs (\S+) -> (\S+)", found).groups()  # type: ignore[union-attr]
    )
    assert removed > 0.93
    assert abs(gated - removed) < 0.02
    assert pruned <= 0.2 * dense
    assert "were at rest" in found


def test_own_model_and_data(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "own_model.py").read_text(encoding="utf-8")
    lines = text.split('"""')[1].replace("\\\n", " ").splitlines()
    inspect, prune = (shlex.split(line)[1:] for line in lines if line.startswith("secateurs"))
    run = CliRunner()
    own = {f"examples/own_model.py:{f}": f"{ROOT}/examples/own_model.py:{f}" for f in ("build", "loaders")}
    found = run.invoke(app, [own.get(w, w) for w in inspect], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    out = tmp_path / "own"
    shorter = {"40": "3", "runs/own": str(out), **own}
    done = run.invoke(app, [shorter.get(w, w) for w in prune], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = Record.read(out)
    assert record.pruned.params and record.dense.params
    assert record.pruned.params <= 0.25 * record.dense.params
    # the residual stream is one layer of players, each convolution inside a block another
    assert len(record.layers) == 3
    assert (out / "artifact" / "artifact.json").exists() and (out / "report.html").exists()
