"""The reproduction's machinery on a little data: that it runs, resumes, and writes what it found."""

from __future__ import annotations

import json

import pytest

from secateurs.cli.tables import reproduction
from secateurs.report import write_reproduction
from secateurs.reproduce import Section, reproduce
from secateurs.reproduce.cells import Cell, run_cells
from secateurs.reproduce.experiments import narrow, run_method, setup
from secateurs.reproduce.game import CONFIGURATIONS, PRINTED, VARIANTS, _verdict

COUNTED: list[int] = []


def _count(*, seed: int, scale: float) -> dict[str, float]:
    COUNTED.append(seed)
    return {"value": scale * seed}


def test_cells_are_kept_and_not_run_again(tmp_path):
    COUNTED.clear()
    cells = [Cell("count", {"scale": 2.0}, seed) for seed in (1, 2, 1)]
    first = run_cells(cells, {"count": _count}, tmp_path, progress=False)
    assert [r["value"] for r in first] == [2.0, 4.0, 2.0]
    assert COUNTED == [1, 2]
    more = [*cells, Cell("count", {"scale": 2.0}, 3)]
    again = run_cells(more, {"count": _count}, tmp_path, progress=False)
    assert COUNTED == [1, 2, 3]
    assert again[:3] == first
    held = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert set(held) == {"kind", "settings", "seed", "result"}


def test_cells_in_other_processes(tmp_path):
    cells = [Cell("count", {"scale": 3.0}, seed) for seed in range(4)]
    results = run_cells(cells, {"count": _count}, tmp_path, jobs=2, progress=False)
    assert [r["value"] for r in results] == [0.0, 3.0, 6.0, 9.0]


@pytest.mark.timeout(600)
def test_quick_reproduction_writes_its_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = reproduce("game", "digits", quick=True, progress=False)
    tables = {s["title"]: s for s in result["sections"]}
    fixed = tables["Table 2: fixed prices"]
    assert len(fixed["rows"]) == len(VARIANTS) * len(CONFIGURATIONS)
    shown = " ".join([str(s["columns"]) + str(s["rows"]) for s in result["sections"]])
    assert not any(word in shown for word in ("verdict", "agrees", "under-specified", "target", "short of", "reached"))
    assert len(tables["The market at the printed sizes"]["rows"]) == 3
    assert sum(row[0] == "market" for row in tables["Published neuron-level results"]["rows"]) == 3
    markdown, html = write_reproduction(result, tmp_path / "out")
    assert markdown.name == "game-quick.md" and "figures mean nothing" in markdown.read_text()
    reproduction(result, [markdown, html])
    assert "Its figures mean nothing and are not judged." in " ".join(capsys.readouterr().out.split())
    assert "<table" in html.read_text()


def test_verdicts():
    accuracy, sparsity = (x / 100 for x in PRINTED["Extreme Beta"])
    row = {"gated": accuracy, "removed": 0.1, "sparsity": sparsity, "mean_s": 0.0}
    assert _verdict("Extreme Beta", "as printed", [row]) == ("agrees", "with gates")
    assert _verdict("Extreme Beta", "as printed", [{**row, "gated": 0.5}])[0] == "disagrees"
    assert _verdict("Extreme Beta", "as printed", [{**row, "sparsity": 0.0, "mean_s": 0.04}])[0] == "under-specified"
    assert _verdict("Very High Beta", "as printed", [{**row, "sparsity": 1.0}])[0] == "disagrees"


def test_the_control_has_the_same_shape():
    found = run_method(data="digits", model="zoo:mlp-digits", budget={"groups": 40}, name="magnitude", epochs=2, seed=0)
    data, net = setup("digits", "zoo:mlp-digits", 7, None)
    small = narrow(net, data, found["widths"])
    assert sum(p.numel() for p in small.parameters()) == found["params"]


def test_columns_can_be_left_out():
    section = Section("t", ["a", "verdict", "b"], [["1", "agrees", "2"]], "n", brief=[0, 1, 2])
    left = section.without("verdict")
    assert (left.columns, left.rows, left.brief, left.note) == (["a", "b"], [["1", "2"]], [0, 1], "n")
