"""The concave reproduction on a little data: which sections which data bring, equal steps, honest verdicts."""

from __future__ import annotations

import pytest

from secateurs.errors import DataError
from secateurs.report import write_reproduction
from secateurs.reproduce import reproduce
from secateurs.reproduce.cells import Asked
from secateurs.reproduce.concave import _verdict, sources
from secateurs.reproduce.masks import SMALL, VARIANTS, Lab, masked


def test_which_data_are_read():
    assert sources("mnist:a, cifar10:b") == {"mnist": "mnist:a", "cifar10": "cifar10:b"}
    assert sources("digits") == {"mnist": "digits", "cifar10": "digits"}
    with pytest.raises(DataError, match=r"'imagenet:x': this reproduction reads mnist:DIR, cifar10:DIR, or both"):
        sources("mnist:a,imagenet:x")


def test_both_methods_are_given_the_same_run(monkeypatch):
    asked = []
    monkeypatch.setattr(Lab, "over_seeds", lambda self, kind, settings, count: asked.append((kind, settings)) or [])
    lab = Lab({"cifar10": "cifar10:x"}, Asked(), 3, 2)
    settings = [lab.images(SMALL, 0.05)]
    lab.masks(settings, 3)
    lab.magnitude(settings, 3)
    (ours,), (theirs,) = asked[0][1], asked[1][1]
    assert [kind for kind, _ in asked] == ["masked", "method"] and theirs.pop("name") == "imp"
    assert ours.pop("options").pop("levels") == theirs.pop("options").pop("levels") == 2
    assert ours == theirs and ours["epochs"] == 15


def test_verdicts():
    assert _verdict(0.4, [-0.02, 0.01]) == "agrees" and _verdict(0.2, [-0.02, -0.01]) == "disagrees"
    assert _verdict(0.05, [0.01, 0.02]) == "agrees" and _verdict(0.05, [-0.01, 0.02]) == "undecided"
    assert _verdict(0.1, [-0.02, 0.01]) == "disagrees"


def test_a_run_says_what_its_masks_were():
    lab = Lab({"cifar10": "digits"}, Asked(quick=True, progress=False), 1, 1)
    found = masked(**lab.images("zoo:mlp-digits", 0.1, choice="threshold"), seed=0)
    assert sum(sum(counts) for counts in found["histogram"].values()) == sum(found["widths"]) / found["density"]
    assert found["searched"] == pytest.approx(2 / 3, abs=0.1) and 0 <= found["between"] + found["zero"] <= 1


@pytest.mark.timeout(900)
def test_quick_pages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = reproduce("concave", "digits", quick=True, progress=False)
    titles = [s["title"] for s in result["sections"]]
    assert titles[:2] == ["Mask error under strong convexity", "Logistic regression on two digits"]
    tables = {s["title"]: s for s in result["sections"]}
    assert len(tables["What the paper leaves open"]["rows"]) == len(VARIANTS)
    errors = tables["Mask error under strong convexity"]
    ratio = errors["columns"].index("largest ratio of the two")
    assert all(0 <= float(row[ratio]) <= 1 for row in errors["rows"])
    assert not any("verdict" in table["columns"] for table in tables.values())
    steps = {row[0]: float(row[4]) for row in tables["Logistic regression on two digits"]["rows"]}
    assert steps["ℓ1 on weights, subgradient steps"] > 10 and steps["ℓ1 on weights, proximal steps"] < 1
    paths = write_reproduction(result, tmp_path / "out")
    assert {p.name for p in paths} >= {"concave-quick.md", "concave-quick.html", "concave-quick-masks.svg"}
    assert "figures mean nothing" in paths[0].read_text()
