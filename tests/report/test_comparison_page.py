"""The page of a comparison as text: what it holds in which order, what is missing, what must not get out."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from example_comparison import METHODS, estimate, example_comparison
from test_report_page import Reader

from secateurs import report
from secateurs.records import Block, Comparison, Difference, Estimate, Failure, Row, RunRow
from secateurs.report import comparison_columns as columns
from secateurs.report.comparison import verdict
from secateurs.report.comparison_tables import href

HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
ANCHORS = ["verdict", "chart", "methods", "changed-answers", "failures", "protocol", "runs"]


@pytest.fixture(scope="module")
def whole() -> Comparison:
    return example_comparison()


@pytest.fixture(scope="module")
def source(whole) -> str:
    return report.render_comparison(whole)


def small(**changes) -> Comparison:
    """Two methods and a control, one seed."""
    given = example_comparison(("equilibrium", "magnitude", "random"), ("macs=0.25",), 1)
    return given.model_copy(update=changes)


def data(source: str) -> dict:
    found = re.search(r'<script type="application/json" id="comparison">(.*?)</script>', source, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def heads(source: str, label: str) -> list[str]:
    table = source.split(f'aria-label="{label}"')[1].split("</thead>")[0]
    return [re.sub(r"<span.*?</span>|<[^>]+>", "", head) for head in re.findall(r"<th .*?</th>", table)]


def test_every_part_is_there_in_order(whole, source):
    page = Reader(source)
    assert [a["id"] for tag, a in page.tags if tag == "section"] == ANCHORS
    for words in ("512", "3 failed, 7 missing", "31", "3 controls, 3 budgets", "7,040 steps a run", "0, 1, 2, 3, 4"):
        assert words in page.text
    for block in whole.blocks:
        assert block.sentence in page.text
    for sentence in whole.protocol:
        assert sentence in page.text
    assert whole.command in page.text and "0123456789abcdef" in page.text
    assert page.text.count("5,120 MACs are needed") == 3  # all failures


def test_tables_keep_all_rows_and_costs_follow_accuracy(whole, source):
    for block in whole.blocks:
        table = source.split(f'aria-label="methods at {block.budget}"')[1].split("</table>")[0]
        names = [re.sub(r" ?<.*", "", name) for name in re.findall(r'<th scope="row">(.*?)</th>', table)]
        assert sorted(names) == sorted([*METHODS, "dense"])  # those that lose too
        values = [float(v) for v in re.findall(r'<tr><th.*?</th><td.*?</td><td data-v="(.*?)"', table)]
        assert len(values) == len(METHODS) + 1 and values == sorted(values, reverse=True)
    assert heads(source, "methods at macs=0.1") == [
        "method", "role", "accuracy", "against magnitude", "p", "parameters", "MACs", "bytes", "latency",
        "measured latency", "worst class", "worst drop", "calibration error", "agreement", "KL", "membership AUC",
        "peak memory", "training time", "n", "failed", "options",
    ]  # fmt: skip
    assert "failed" not in heads(source, "methods at macs=0.5")  # nothing failed there: no column


def test_cells_say_mean_and_interval():
    row = Estimate(mean=0.9123, low=0.9105, high=0.9141, deviation=0.001, n=3)
    assert columns.accuracy(row) == "91.23% ± 0.18"
    assert columns.difference(Difference(mean=-0.0052, low=-0.0083, high=-0.0021, n=3)) == "−0.52 ± 0.31"
    assert columns.probability(0.0004) == "< 0.001" and columns.probability(0.043) == "0.043"
    assert columns.accuracy(None) == columns.difference(None) == columns.probability(None) == "–"


def test_one_seed_has_no_intervals():
    source = report.render_comparison(small())
    text = Reader(source).text
    assert "± 0" not in text and "with one seed there are no intervals" in text
    assert "p" not in heads(source, "methods at macs=0.25")
    assert all(p["low"] is None and p["high"] is None for p in data(source)["points"])


def test_the_chart_has_a_point_for_every_method_and_budget(whole, source):
    chart = data(source)
    assert len(chart["points"]) == 34 * 3 and len(chart["runs"]) == len(whole.runs)
    assert [c["key"] for c in chart["costs"]] == ["macs", "params", "bytes", "latency", "seconds", "peak_memory"]
    shown = [m["name"] for m in chart["methods"] if m["shown"]]
    assert shown[:5] == columns.standing(whole.blocks)[:5] and sorted(shown[5:]) == [
        "random", "scratch:equilibrium",
    ]  # fmt: skip
    assert {m["colour"] for m in chart["methods"] if m.get("control")} == {"var(--muted)"}
    looks = [(m["colour"], m["symbol"]) for m in chart["methods"]]
    assert len(set(looks)) == len(looks)  # no two methods look alike
    first = chart["points"][0]
    row = whole.blocks[0].rows[0]
    assert first["y"] == pytest.approx(row.figures["accuracy"].mean, rel=1e-5)
    assert first["x"]["macs"] == pytest.approx(row.figures["macs"].mean, rel=1e-5)
    assert [whole.runs[i].hash for i in first["runs"]] == row.runs
    run = chart["runs"][7]
    assert run["href"] == f"{whole.runs[7].folder}/report.html" and run["command"] == whole.runs[7].command


def test_few_methods_are_all_shown():
    assert all(m["shown"] for m in data(report.render_comparison(small()))["methods"])


def test_the_first_cost_is_what_was_asked_for():
    given = example_comparison(("equilibrium", "random"), ("macs=0.5",), 2)
    given.blocks[0].budget, given.blocks[0].amounts = "latency=2ms", {}
    assert data(report.render_comparison(given))["costs"][0]["key"] == "latency"
    given.blocks[0].budget = "groups=0.5"  # nothing that is measured of a run: the usual order
    assert data(report.render_comparison(given))["costs"][0]["key"] == "macs"


def test_hostile_names_stay_text():
    given = small(model=HOSTILE, data=HOSTILE, command=HOSTILE, protocol=[HOSTILE], provenance={HOSTILE: HOSTILE})
    given.failures = [Failure(hash="f", method=HOSTILE, budget=HOSTILE, seed=0, error=HOSTILE)]
    block = given.blocks[0]
    block.budget = block.sentence = block.shown = HOSTILE
    block.flipped, block.winner = {HOSTILE: 3}, HOSTILE
    for row in block.rows:
        row.method, row.options = HOSTILE, {HOSTILE: HOSTILE}
    for run in given.runs:
        run.method, run.budget, run.command, run.folder, run.options = (
            HOSTILE,
            HOSTILE,
            HOSTILE,
            HOSTILE,
            {"a": HOSTILE},
        )
    source = report.render_comparison(given)
    page = Reader(source)  # every element is closed
    assert "window.hacked=1</script>" not in source and "<img src=x" not in source
    assert "<script>window.hacked=1" in page.text
    chart = data(source)
    assert "<script" not in chart["runs"][0]["hover"]  # Plotly reads a little HTML
    assert chart["runs"][0]["command"] == HOSTILE
    assert all((a.get("href") or "").startswith(("#", "%3C", "data:,")) for tag, a in page.tags if "href" in a)


@pytest.mark.parametrize("folder", ["/etc", "../up", "a/../b", "", "a\\b"])
def test_reports_outside_are_not_linked(folder):
    assert href(RunRow(hash="h", folder=folder, method="m", budget="", seed=0)) == ""


def test_addresses_are_quoted():
    run = RunRow(hash="h", folder="runs/a b#c", method="m", budget="", seed=0)
    assert href(run) == "runs/a%20b%23c/report.html"
    run.folder = "javascript:alert(1)"
    assert href(run) == "javascript%3Aalert%281%29/report.html"


def test_an_exemplar_that_is_no_data_address_is_not_loaded():
    given = example_comparison(("equilibrium",), ("macs=0.1",), 2)
    given.blocks[0].exemplars[0].picture = "https://evil.example/x.png"
    given.blocks[0].exemplars[1].picture = ""
    page = Reader(report.render_comparison(given))
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 22 and all(p.startswith("data:image/png;base64,") for p in pictures)
    assert "lost" in page.text and "gained" in page.text


def test_an_empty_comparison_has_a_page():
    empty = Comparison(model="m", data="d", epochs=1, seeds=[], methods=[], missing=12)
    page = Reader(report.render_comparison(empty))
    assert [a["id"] for tag, a in page.tags if tag == "section"] == ANCHORS
    assert "Nothing to compare yet: 12 runs still to be made" in page.text
    assert "There is no chart" in page.text and "No run failed." in page.text


def test_missing_figures_are_dashes_and_empty_columns_are_left_out():
    bare = Row(method="bare", runs=["b"])
    some = Row(method="some", runs=["a"], figures={"accuracy": estimate([0.9]), "macs": estimate([5.0])})
    given = Comparison(
        model="m", data="d", epochs=1, seeds=[0], methods=["bare", "some"], blocks=[
            Block(budget="macs=0.5", amounts={}, rows=[bare, some]), Block(budget="macs=0.2", amounts={}, rows=[]),
        ],
        runs=[RunRow(hash="a", folder="runs/a", method="some", budget="macs=0.5", seed=0, accuracy=0.9, macs=5),
              RunRow(hash="b", folder="runs/b", method="bare", budget="macs=0.5", seed=0)],
    )  # fmt: skip
    source = report.render_comparison(given)
    assert heads(source, "methods at macs=0.5") == ["method", "role", "accuracy", "MACs", "n"]
    assert heads(source, "all runs") == ["run", "budget", "seed", "accuracy", "MACs", "options", "export"]
    table = source.split('aria-label="methods at macs=0.5"')[1]
    assert table.index(">some<") < table.index(">bare<")  # without a figure: last
    assert "No run at this budget has finished yet." in Reader(source).text
    assert len(data(source)["points"]) == 1


def test_not_finite_figures_do_not_break_the_data():
    given = small()
    for run in given.runs:
        run.loss = run.kl = run.latency = float("nan")
    for row in given.blocks[0].rows:
        row.figures["latency"] = Estimate(mean=float("inf"), n=1)
    assert all(run["x"]["latency"] is None for run in data(report.render_comparison(given))["runs"])


def test_verdicts():
    def at(budget: str, winner: str | None, *methods: str) -> Block:
        rows = [Row(method=m, figures={"accuracy": estimate([0.9 - 0.1 * i])}) for i, m in enumerate(methods)]
        return Block(budget=budget, amounts={}, rows=rows, winner=winner)

    def said(*blocks: Block, seeds=(0, 1)) -> str:
        return verdict(small(blocks=list(blocks), missing=0, seeds=seeds))

    assert said(at("a", "x", "x", "y"), at("b", "x", "x", "y")) == "x wins at a and b"
    assert said(at("a", "x", "x", "y"), at("b", None, "y", "x")) == (
        "x wins at a; nobody wins at b, where y leads, but not by enough"
    )
    assert said(at("a", None, "x", "y"), at("b", None, "y", "x")) == (
        "Nobody wins at a and b, where x leads at a and y at b, but not by enough"
    )
    assert said(at("a", None, "x", "y"), seeds=(0,)) == (
        "Nobody wins at a, where x leads, and one seed decides nothing"
    )
    assert said(at("a", None, "x"), at("b", "x", "x", "y")) == "x wins at b; a has only one method, x"
    assert said() == "Nothing to compare yet: no budget was given"


def test_writing_is_atomic_and_imports_no_torch(tmp_path):
    path = report.write_comparison(small(), tmp_path / "new")
    assert path == tmp_path / "new" / "comparison.html" and [p.name for p in path.parent.iterdir()] == [path.name]
    code = "import sys, secateurs.report; assert not {'torch', 'secateurs.compare'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
