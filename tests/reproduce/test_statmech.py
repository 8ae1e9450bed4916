"""The teacher–student reproduction: a cell, the distances and verdicts, and the whole page once, small."""

from __future__ import annotations

import math

import pytest
import torch

from secateurs.report import write_reproduction
from secateurs.reproduce import reproduce
from secateurs.reproduce.statmech_figures import losses
from secateurs.reproduce.statmech_printed import LOGGED, METHODS, PRINTED, STATE
from secateurs.reproduce.statmech_rounds import STATES, rounds
from secateurs.reproduce.statmech_tables import band, far, lost, table3, verdict


def test_distance_of_one_student():
    assert far([1.0, 2.0, 3.0], 2.0) == 0 and far([1.0, 2.0, 3.0], 0.0) == pytest.approx(2 / math.sqrt(4 / 3))
    assert math.isnan(far([1.0], 2.0)) and verdict(math.nan) == ""
    assert verdict(-2.9) == "agrees" and verdict(3.1) == "disagrees"
    assert band([1.0, 2.0, 3.0]) == "2.000 ± 1.000" and band([1.0]) == "1.000"


def test_the_printed_column_is_two_tenths_below_its_logs():
    gaps = [a - b for a, b in zip(LOGGED[0.0]["random edge"].mean, PRINTED[0.0]["random edge"].mean)]
    assert gaps == pytest.approx([0.2] * 5, abs=1e-9)
    for noise, methods in LOGGED.items():
        for name, column in methods.items():
            if (noise, name) != (0.0, "random edge"):
                assert column.mean == pytest.approx(PRINTED[noise][name].mean, abs=1.1e-3)


def test_a_round_is_the_same_in_any_cell_and_its_two_losses_agree():
    given = {
        "setting": {"inputs": 40, "teacher": 2, "student": 6, "noises": [0.0, 0.25]},
        "steps": 2_000, "levels": [[1, 7], [3, 20]], "masks": 8, "examples": 20_000,
    }  # fmt: skip
    both, second = rounds(**given, count=2, seed=0), rounds(**given, count=1, seed=1)
    assert [(r["round"], r["noise"], r["state"]) for r in both["pruned"]] == [
        (n, s, state) for n in (0, 1) for s in (0.0, 0.25) for state in STATES
    ]
    rows = both["pruned"]
    for a, b in zip(rows[4:], second["pruned"]):
        assert a["whole"] == pytest.approx(b["whole"], rel=1e-3)
    for row in rows:
        assert row["whole"] == pytest.approx(row["whole, closed"], rel=0.1) and row["kernel"] < 6
        for found in row["methods"].values():
            assert found["tested"] == pytest.approx(found["closed"], rel=0.1)
        assert row["methods"]["DPP node"]["tested"][0] > row["methods"]["DPP node"]["tested"][1] > row["whole"]
    # The same network under the same cut: the label's noise is all that σ adds to a noiseless student's loss.
    assert len(lost(rows, 0.25, "rescaled", "random edge", 1)) == 2


def test_a_table_that_is_theirs_agrees_and_one_that_is_not_does_not():
    def rows(shift):
        return [
            {"round": r, "noise": 0.0, "state": state, "methods": {
                m: {"tested": [x + 0.01 * (r - 1) + shift for x in _theirs(m)], "closed": [1.0] * 5} for m in METHODS}}
            for r in range(3) for state in STATES
        ]  # fmt: skip

    near, off = table3(rows(0.0), 0.0, 500), table3(rows(0.5), 0.0, 500)
    assert {row[-1] for row in near.rows} == {"agrees"} and {row[-1] for row in off.rows} == {"disagrees"}
    assert len(near.rows) == 25 and "25 of 25 are within 3" in near.note and "0 of 25 are within 3" in off.note
    assert "5 of the 5 levels disagree" in near.note
    assert {STATE[m] for m in ("DPP node", "random edge")} == {"as trained"}


def _theirs(method):
    return LOGGED[0.0].get(method, PRINTED[0.0][method]).mean


@pytest.mark.timeout(900)
def test_quick_reproduction_writes_its_pages(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    result = reproduce("statmech", quick=True, seeds=2, progress=False)
    tables = {s["title"]: s for s in result["sections"]}
    assert len(tables["Table 3, noiseless"]["rows"]) == len(tables["Table 3, σ = 0.25"]["rows"]) == 25
    assert not any("verdict" in s["columns"] for s in result["sections"]) and "data" not in result["provenance"]
    paths = write_reproduction(result, tmp_path / "out")
    names = {p.name.removeprefix("statmech-quick-").removesuffix(".svg") for p in paths[2:]}
    assert {"figure2a", "figure2b", "figure2c", "figure2d", "figure2efg", "figure4a", "figure4b"} <= names
    assert {"figure5", "figure6", "equations"} <= names
    again = reproduce("statmech", quick=True, seeds=2, progress=False)  # from the cells that are kept
    assert again["sections"] == result["sections"]


def test_claims_are_judged_round_by_round():
    def rows(gap):
        """Every edge method loses ``gap`` more than every other, give or take a little, in four rounds."""
        return [
            {"round": r, "noise": noise, "state": state, "methods": {
                m: {"tested": [1.0 + 0.01 * r * (i % 2) + (gap if "edge" in m else 0.0) for i in range(5)]}
                for m in METHODS}}
            for r in range(4) for noise in (0.0, 0.25) for state in STATES
        ]  # fmt: skip

    def verdicts(gap):
        section = losses(rows(gap), rows(gap), 500)
        return {(row[1], row[-1]) for row in section.rows if row[1] in "ABD"}

    assert verdicts(-0.5) == {("A", "agrees"), ("B", "agrees"), ("D", "agrees"), ("", "agrees")}
    assert verdicts(0.5) == {("A", "disagrees"), ("B", "disagrees"), ("D", "disagrees"), ("", "disagrees")}
    undecided = {row[-1] for row in losses(rows(0.0), rows(0.0), 500).rows}
    assert undecided == {"undecided"}
