"""A comparison as Markdown with its picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from browser import Browser
from example_comparison import METHODS, example_comparison

from secateurs import report
from secateurs.records import Comparison, Failure
from secateurs.report.comparison_markdown import comparison_picture

HOSTILE = "a|b <script>`x`</script> [c](d)\n# e"
SVG = "{http://www.w3.org/2000/svg}"


def tables(text: str) -> list[list[str]]:
    return [found.splitlines() for found in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


def test_it_holds_every_row_sorted(tmp_path):
    given = example_comparison()
    page, picture = report.write_comparison_markdown(given, tmp_path / "resnet.md")
    assert picture.name == "resnet.svg"
    text = page.read_text()
    assert text.startswith("# Pruning methods compared: zoo:resnet20 on cifar10:data\n")
    assert "](resnet.svg)" in text and f"```sh\n{given.command}\n```" in text
    for block, table in zip(given.blocks, tables(text)):
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
        assert f"## {block.budget}\n\n{block.sentence}" in text
        assert sorted(row[0] for row in cells[2:]) == sorted([*METHODS, "dense"])
        accuracies = [float(row[2].split("%")[0]) for row in cells[2:]]
        assert accuracies == sorted(accuracies, reverse=True)
        assert len({len(row) for row in cells}) == 1
    assert text.count("5,120 MACs are needed") == 3
    for sentence in given.protocol:
        assert sentence in text
    assert "- torch: 2.8.0" in text


def test_hostile_text_stays_in_its_cell():
    given = example_comparison(("equilibrium", "random"), ("macs=0.5",), 2)
    given.blocks[0].rows[0].method = HOSTILE
    given.failures = [Failure(hash="f", method=HOSTILE, budget="macs=0.5", seed=0, error=HOSTILE)]
    given.command = "echo ```"
    text = report.comparison_markdown(given, None)
    assert "<script" not in text and "\n# e" not in text and "![" not in text
    for table in tables(text):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "````sh\necho ```\n````" in text


def test_an_empty_comparison(tmp_path):
    empty = Comparison(model="m", data="d", epochs=1, seeds=[], methods=[])
    (page,) = report.write_comparison_markdown(empty, tmp_path / "x.md")
    assert "Nothing to compare yet" in page.read_text()


def test_the_picture_shows_the_best_the_one_held_against_a_control_and_dense():
    given = example_comparison()
    drawn = comparison_picture(given)
    assert drawn is not None
    root = ET.fromstring(drawn)
    words = [e.text for e in root.iter(f"{SVG}text")]
    best = [name for name in report.comparison_columns.standing(given.blocks) if name != "magnitude"][:5]
    for name in (*best, "magnitude", "random", "scratch:equilibrium", "dense", "10%", "50%"):
        assert name in words
    lines = [line.get("class") for line in root.iter(f"{SVG}polyline")]
    assert sorted(lines)[:6] == [f"line s{i}" for i in range(6)], "methods are coloured"
    assert sorted(lines)[6:] == ["line sg", "line sg dashed", "line sg dotted"], "controls are grey"


def test_without_a_dense_network_amounts_are_absolute():
    given = example_comparison(("equilibrium", "magnitude"), ("macs=0.5", "macs=0.1"), 1)
    given.dense = None
    drawn = comparison_picture(given)
    assert drawn is not None and "of the dense network" not in drawn and "polygon" not in drawn


@pytest.mark.browser
def test_the_picture_fits(tmp_path):
    _, picture = report.write_comparison_markdown(example_comparison(), tmp_path / "x.md")
    with Browser() as browser:
        browser.open(picture)
        assert browser.errors() == []
        outside = """return [...document.querySelectorAll('text')].filter(t => {
            const box = t.getBoundingClientRect(); return box.left < 0 || box.right > 760; }).length"""
        assert browser.script(outside) == 0
