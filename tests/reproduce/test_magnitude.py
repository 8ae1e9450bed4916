"""The survey's worked examples: by hand, against the loss itself, and the whole page once."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.errors import DataError, SecateursError, UnknownNameError
from secateurs.report import write_reproduction
from secateurs.reproduce import REPRODUCTIONS, Reproduction, find_reproduction, reproduce
from secateurs.reproduce.laboratory import AT_THETA, power_of_ten
from secateurs.reproduce.magnitude import LUNCH
from secateurs.reproduce.magnitude_chance import lunch, rewinding
from secateurs.reproduce.tiny import saliency, with_derivatives

SLOPES = st.floats(-3, 3, allow_nan=False)


def test_the_surveys_two_weights():
    found = saliency(with_derivatives((0.01, 0.08), (0.0, 0.0), (2000.0, 1.0)))
    assert found.magnitude.tolist() == pytest.approx([0.01, 0.08])
    assert found.second.tolist() == pytest.approx([0.1, 0.0032])  # ½·2000·0.01² and ½·1·0.08²
    assert found.change.tolist() == pytest.approx([0.1, 0.0032])
    assert found.pruned(0) == ["magnitude"] and found.pruned(1) == ["second order"]


@given(st.lists(st.tuples(SLOPES, SLOPES, st.floats(0.1, 50)), min_size=2, max_size=5))
@settings(max_examples=30, deadline=None)
def test_the_network_has_the_derivatives_it_was_asked_for(rows):
    w, g, h = (torch.tensor(v, dtype=torch.float64) for v in zip(*rows))
    signals = with_derivatives(w.tolist(), g.tolist(), h.tolist())
    assert torch.allclose(signals.gradient[0][0], g, atol=1e-9)
    eye = torch.eye(len(w), dtype=torch.float64)
    H = torch.stack([signals.product([e[None]])[0][0] for e in eye])
    assert torch.allclose(H, torch.diag(h), atol=1e-9)
    found = saliency(signals)
    assert torch.allclose(found.first, (w * g).abs(), atol=1e-9)
    assert torch.allclose(found.second, -g * w + 0.5 * h * w**2, atol=1e-9)
    assert torch.allclose(found.second, found.change, atol=1e-8)


def test_what_no_squared_error_has():
    with pytest.raises(SecateursError, match="nor 0 where the slope is not"):
        with_derivatives((1.0, 1.0), (0.0, 1.0), (1.0, 0.0))


def test_small_chances_are_written_down():
    assert power_of_ten(math.log(0.25)) == "0.25"
    assert power_of_ten(-2000 * math.log(10)) == "10^-2,000"


def test_a_leak_that_is_not_found_is_not_agreement():
    fair, leaky = ([{"hits": h, "trials": 1000, "training": 1.0}] for h in (250, 400))
    assert [row[-1] for row in lunch(["a"], [fair, leaky]).rows] == ["agrees", "agrees"]
    assert [row[-1] for row in lunch(["a"], [leaky, fair]).rows] == ["disagrees", "disagrees"]


def test_a_spectrum_that_does_not_interlace_is_not_agreement():
    def row(checkpoint, mask, smallest, largest):
        found = {"dimension": 2, "largest": largest, "smallest": smallest, "negative": 1, "depth": 1.0}
        return {"checkpoint": checkpoint, "mask": mask, "loss": 1.0, "spectrum": found}

    def verdicts(inside):
        rows = [row(c, m, -1.0, 2.0) for c in ("start", "after 5 steps", "trained") for m in ("dense", "largest")]
        network = {"hidden": 2, "share": 0.5, "examples": 9}
        found = rewinding([{"rows": [*rows, row("start", AT_THETA, *inside)]}], network)
        assert [r[0] for r in found.rows] == ["start"] * 3 + ["after 5 steps"] * 2 + ["trained"] * 2
        return [r[-1] for r in found.rows if r[1] == AT_THETA]

    assert verdicts((-0.5, 1.5)) == ["agrees"]
    assert verdicts((-1.1, 1.5)) == verdicts((-0.5, 2.1)) == ["disagrees"]


def test_which_data_a_reproduction_needs(monkeypatch):
    assert find_reproduction("game", "digits") is REPRODUCTIONS["game"]
    assert find_reproduction("magnitude", None) is REPRODUCTIONS["magnitude"]
    with pytest.raises(DataError, match="'game' needs data; give --data mnist:DIR"):
        find_reproduction("game", None)
    with pytest.raises(DataError, match="'digits': reproduction 'magnitude' makes its own data"):
        find_reproduction("magnitude", "digits")
    row = Reproduction(lambda asked: None, "mnist:DIR", optional=True)
    monkeypatch.setitem(REPRODUCTIONS, "either", row)
    assert find_reproduction("either", None) is row and find_reproduction("either", "digits") is row
    with pytest.raises(UnknownNameError, match="did you mean 'magnitude'"):
        find_reproduction("magnitud", None)


@pytest.mark.timeout(600)
def test_quick_reproduction_writes_its_pages(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    result = reproduce("magnitude", quick=True, seeds=1, progress=False)
    tables = {s["title"]: s for s in result["sections"]}
    assert len(tables["No free lunch: random labels"]["rows"]) == len(LUNCH) + 1
    assert len(tables["The masked Hessian before and after rewinding"]["rows"]) == 12
    saddle = tables["A saddle that a mask makes a minimum"]
    assert [row[saddle["columns"].index("the point is a")] for row in saddle["rows"]] == ["saddle", "minimum"]
    assert not any("verdict" in s["columns"] for s in result["sections"])
    assert "data" not in result["provenance"]
    paths = write_reproduction(result, tmp_path / "out")
    names = {"density", "thresholds", "paths", "sensing"}
    assert {p.name for p in paths[2:]} == {f"magnitude-quick-{n}.svg" for n in names}
    assert all(f"(magnitude-quick-{n}.svg)" in paths[0].read_text() for n in names)
