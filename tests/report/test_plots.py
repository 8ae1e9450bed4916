"""Figures of reproductions: what the page and the SVG draw is where the data say."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace

import pytest
from browser import Browser

from secateurs.report import write_reproduction
from secateurs.report.plots import chart, svg
from secateurs.reproduce import Figure, Page, Section, Series

HOSTILE = "<b>a & b</b>"
SVG = "{http://www.w3.org/2000/svg}"


def figure(**changes) -> Figure:
    measured = Series("measured", [0, 1, 2], [0.0, 5.0, 10.0], low=[-1.0, 4.0, 9.0], high=[1.0, 6.0, 11.0])
    predicted = Series(HOSTILE, [0, 1, 2], [10.0, None, 0.0], dashed=True)
    marked = Series("marked", [0.5, 1.5], [2.5, math.nan], points=True)
    return replace(Figure("lines", "Lines", "steps", "share", [measured, predicted, marked], note="A note."), **changes)


def page(*figures: Figure, rows=(("1", "2"),)) -> Page:
    return Page("x", "X", "protocol", [Section("One", ["a", "b"], [list(r) for r in rows], "n", figures=list(figures))])


def points(text: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_an_svg_puts_values_where_the_axes_say():
    root = ET.fromstring(svg(asdict(figure())))
    lines = [points(e.get("points", "")) for e in root.iter(f"{SVG}polyline")]
    assert len(lines) == 1  # the dashed one has a gap in its middle: two single points, no line
    (a, b, c) = lines[0]
    assert b[0] - a[0] == pytest.approx(c[0] - b[0]) and b[1] - a[1] == pytest.approx(c[1] - b[1])
    assert c[0] > a[0] and c[1] < a[1]  # up is larger
    ticks = {e.text: float(e.get("y", "0")) - 4 for e in root.iter(f"{SVG}text") if e.get("class") == "muted end"}
    assert ticks["0"] == pytest.approx(a[1], abs=0.11) and ticks["10"] == pytest.approx(c[1], abs=0.11)
    band = [points(e.get("points", "")) for e in root.iter(f"{SVG}polygon")]
    assert len(band) == 1 and len(band[0]) == 6
    assert band[0][0][1] - a[1] == pytest.approx(a[1] - band[0][5][1], abs=0.11)  # −1 and +1 around the line's 0
    assert len(list(root.iter(f"{SVG}circle"))) == 3 + 2 + 1 + 1  # and one in the legend
    assert HOSTILE in [e.text for e in root.iter(f"{SVG}text")]


def test_logarithmic_axes_space_ratios_evenly_and_leave_out_what_is_not_positive():
    given = Figure("l", "L", "x", "y", [Series("a", [1, 10, 100], [1.0, 1e-2, 1e-4])], log_x=True, log_y=True)
    root = ET.fromstring(svg(asdict(given)))
    (line,) = [points(e.get("points", "")) for e in root.iter(f"{SVG}polyline")]
    assert line[1][0] - line[0][0] == pytest.approx(line[2][0] - line[1][0], abs=0.11)
    assert line[1][1] - line[0][1] == pytest.approx(line[2][1] - line[1][1], abs=0.11)
    assert chart(asdict(given)).layout["yaxis"]["dtick"] == 1  # four decades: no marks between them
    assert chart(asdict(given)).layout["xaxis"]["dtick"] == "D2"
    zero = replace(given, series=[Series("a", [1, 10, 100, 1000], [1.0, 0.0, 1e-4, 1e-5])])
    root = ET.fromstring(svg(asdict(zero)))
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    (line,) = [points(e.get("points", "")) for e in root.iter(f"{SVG}polyline")]
    assert len(line) == 2


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [3.0], [0.3, 0.30001], [1e-12, 1e9], [2.0, 7.0], [0, 2e5]])
def test_any_values_get_ticks(values, log):
    given = Figure("l", "L", "x", "y", [Series("a", list(range(len(values))), values)], log_y=log)
    root = ET.fromstring(svg(asdict(given)))
    ticks = [float(e.get("y", "0")) for e in root.iter(f"{SVG}text") if e.get("class") == "muted end"]
    assert 2 <= len(ticks) <= 8
    assert all(40 < t < 300 for t in ticks)
    labels = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "muted end"]
    assert len(set(labels)) == len(labels)


def test_the_page_gets_the_same_data():
    strip, first, *_ = chart(asdict(figure(log_y=True))).data
    assert strip["x"] == [1, 2, 2, 1] and first["y"] == [None, 5, 10]  # no logarithm of −1 and 0
    strip, first, second, third = chart(asdict(figure())).data
    assert strip["x"] == [0, 1, 2, 2, 1, 0] and strip["y"] == [-1, 4, 9, 11, 6, 1]
    assert first["y"] == [0, 5, 10] and first["line"]["dash"] == "solid"
    assert second["y"] == [10, None, 0] and second["line"]["dash"] == "dash" and "&lt;b&gt;" in second["name"]
    assert third["mode"] == "markers"
    drawn = chart(asdict(figure(log_y=True, percent_x=True)))
    assert drawn.layout["yaxis"]["type"] == "log" and drawn.layout["xaxis"]["tickformat"] == ",.3~p"


def test_separate_points_have_bars_for_a_band():
    measured = Series("m", [0, 1], [2.0, 3.0], low=[1.0, 2.5], high=[2.5, 5.0], points=True)
    given = asdict(Figure("bars", "Bars", "x", "y", [measured]))
    (trace,) = chart(given).data
    assert trace["error_y"]["array"] == [0.5, 2.0] and trace["error_y"]["arrayminus"] == [1.0, 0.5]
    root = ET.fromstring(svg(given))
    bars = [e for e in root.iter(f"{SVG}line") if e.get("class") == "line s0"]
    dots = list(root.iter(f"{SVG}circle"))
    assert [b.get("x1") for b in bars] == [d.get("cx") for d in dots]
    below, above = (float(bars[0].get(k, "0")) - float(dots[0].get("cy", "0")) for k in ("y1", "y2"))
    assert below == pytest.approx(-2 * above, abs=0.3) and below > 0
    assert not list(root.iter(f"{SVG}polygon"))


def test_a_series_must_hold_together():
    with pytest.raises(ValueError, match="'a': 2 values of y for 1 of x"):
        Series("a", [1], [1, 2])
    with pytest.raises(ValueError, match="both low and high"):
        Series("a", [1], [1], low=[1])


def test_pages_with_figures_are_written(tmp_path):
    paths = write_reproduction(page(figure()).as_dict(), tmp_path)
    assert [p.name for p in paths] == ["x.md", "x.html", "x-lines.svg"]
    text = paths[0].read_text()
    assert "![Lines](x-lines.svg)\n\nA note." in text and "| 1 | 2 |" in text
    alone = write_reproduction(page(figure(), rows=()).as_dict(), tmp_path)[0].read_text()
    assert "| a |" not in alone and "x-lines.svg" in alone


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_draws_them(browser: Browser, tmp_path, dark):
    _, html, picture = write_reproduction(page(figure(), figure(name="log", log_y=True)).as_dict(), tmp_path)[:3]
    browser.view(900, dark=dark)
    browser.open(html)
    assert browser.errors() == []
    assert browser.script("return document.querySelectorAll('.js-plotly-plot').length") == 2
    opacity = "return getComputedStyle(document.querySelector('.trace.scatter')).opacity"
    assert float(browser.script(opacity)) == pytest.approx(0.16)
    browser.open(picture)
    assert browser.errors() == []
