"""Panels of matrices: shades where the values say, the same picture in the page and beside the Markdown."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree as ET

from secateurs.report import write_reproduction
from secateurs.report.matrices import WIDTH, svg
from secateurs.reproduce import Matrices, Page, Panel, PanelRow, Section

SVG = "{http://www.w3.org/2000/svg}"
WIDE = [[0.1] * 20] * 3


def shown(**changes) -> Matrices:
    rows = [
        PanelRow("first <row>", [Panel("Q", [[1.0, -0.5], [0.001, 3.0]]), Panel("R", [[0.25], [0.0]])]),
        PanelRow("second", [Panel("wide", WIDE), Panel("wider", WIDE)]),
    ]
    return Matrices(**{"name": "m", "title": "Order & parameters", "rows": rows, "note": "A note.", **changes})


def drawn(rows=None):
    given = Page("x", "X", "p", [Section("s", [], [], figures=[shown()])]).as_dict()["sections"][0]["figures"][0]
    return ET.fromstring(svg(given))


def test_shades_are_magnitudes():
    cells = [e for e in drawn().iter(f"{SVG}rect") if e.get("class") == "cell"]
    assert [float(c.get("opacity", "nan")) for c in cells[:4]] == [1.0, 0.5, 1.0, 0.25]  # 0.001 and 0 are not drawn
    one, half, three, _ = cells[:4]
    assert one.get("y") == half.get("y") and half.get("x") == three.get("x") and three.get("y") != half.get("y")
    assert len(cells) == 4 + 2 * 60


def test_everything_is_inside_the_picture():
    root = drawn()
    height = float(root.get("height", "0"))
    for cell in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(cell.get(k, "0")) for k in ("x", "y", "width", "height"))
        assert x + w <= WIDTH and y + h <= height
    words = [e.text for e in root.iter(f"{SVG}text")]
    assert words[0] == "Order & parameters" and {"first <row>", "second", "Q", "wider"} <= set(words)


def test_page_and_markdown_hold_them(tmp_path):
    page = Page("x", "X", "p", [Section("s", ["a"], [["1"]], figures=[shown()])])
    markdown, html, picture = write_reproduction(page.as_dict(), tmp_path)
    assert picture.name == "x-m.svg" and "![Order & parameters](x-m.svg)\n\nA note." in markdown.read_text()
    found = re.search(r'src="data:image/svg\+xml;base64,([^"]+)" alt="Order &amp; parameters"', html.read_text())
    assert found and base64.b64decode(found[1]).decode() == picture.read_text()
