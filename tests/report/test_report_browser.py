"""The report opened in a real browser, from a file, without a network."""

from __future__ import annotations

import pytest
from browser import Browser
from example_record import example_record

from secateurs import report
from secateurs.records import LayerRow

pytestmark = pytest.mark.browser
HOSTILE = '</script><img src=x onerror="window.hacked=1"><a href="https://evil.example">x</a>'
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with its report."""
    folder = tmp_path_factory.mktemp("run")
    example_record().write(folder)
    return report.write(folder)


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("dark", [False, True])
def test_charts_are_drawn_and_the_console_is_silent(browser: Browser, run, width, dark):
    browser.view(width, dark=dark)
    browser.open(run)
    assert browser.errors() == []
    assert browser.script("return document.querySelectorAll('.js-plotly-plot').length") == 8
    # Every chart holds marks, not just axes.
    marks = """return [...document.querySelectorAll('.js-plotly-plot')]
        .map(e => e.querySelectorAll('.trace path').length)"""
    assert min(browser.script(marks)) > 0
    assert browser.script(OVERFLOW) == 0  # the page itself never scrolls sideways


def test_charts_fit_their_cards(browser: Browser, run):
    browser.view(420)
    browser.open(run)
    wide = """const right = (element) => element.getBoundingClientRect().right;
        return [...document.querySelectorAll('figure')].filter(
            (f) => right(f.querySelector('svg.main-svg')) > right(f) + 1).length"""
    assert browser.script(wide) == 0


def test_theme_reaches_the_charts_and_changes_live(browser: Browser, run):
    ink = "return getComputedStyle(document.querySelector('.xtick text')).fill"
    browser.view(1000, dark=False)
    browser.open(run)
    light = browser.script(ink)
    browser.view(1000, dark=True)
    browser.script("return new Promise(done => setTimeout(done, 800))")
    assert light == "rgb(90, 100, 93)" and browser.script(ink) == "rgb(163, 174, 167)"
    assert browser.errors() == []


def test_the_page_may_not_fetch(browser: Browser, run):
    browser.open(run)
    blocked = "return fetch('https://example.org').then(() => 'fetched', error => String(error))"
    assert "TypeError" in browser.script(blocked)
    assert any("Content Security Policy" in message for message in browser.errors())


def test_hostile_names_stay_text(browser: Browser, tmp_path):
    record = example_record()
    record.layers = [LayerRow(name=HOSTILE, kind="channel", total=512, kept=21), record.layers[1]]
    record.model, record.notes = HOSTILE, [HOSTILE]
    for point in record.history:
        point.phase = HOSTILE if point.phase == "market" else point.phase
    record.write(tmp_path)
    browser.open(report.write(tmp_path))
    assert browser.errors() == []
    assert browser.script("return window.hacked") is None
    assert browser.script("return document.querySelectorAll('img, a[href*=evil]').length") == 0
    labels = browser.script("return [...document.querySelectorAll('.legendtext')].map(e => e.textContent)")
    assert any("</script" in label for label in labels)  # shown as it is written


def test_a_bare_record_opens_without_charts(browser: Browser, tmp_path):
    from secateurs.records import Record

    Record(method="magnitude", model="m", data="d", budget={"macs": 0.5}).write(tmp_path)
    browser.open(report.write(tmp_path))
    assert browser.errors() == []
    assert browser.script("return document.querySelectorAll('p.none').length") >= 8


def test_picture_opens(browser: Browser, tmp_path):
    path = tmp_path / "picture.svg"
    path.write_text(report.picture(example_record()), encoding="utf-8")
    browser.open(path)
    assert browser.errors() == []
    # No text runs out of the card.
    outside = """return [...document.querySelectorAll('text')].filter(t => {
        const box = t.getBBox(); return box.x < 0 || box.x + box.width > 860; }).length"""
    assert browser.script(outside) == 0


@pytest.mark.parametrize("width", [360, 420])
def test_a_narrow_screen_shows_what_counts_without_scrolling(browser: Browser, run, width):
    browser.view(width)
    browser.open(run)
    table = "document.querySelector('#summary .scroll')"
    assert browser.script(f"return {table}.scrollWidth - {table}.clientWidth") == 0
    heads = f"return [...{table}.querySelectorAll('thead th')].filter(e => e.offsetWidth).map(e => e.firstChild?.data)"
    assert browser.script(heads)[1:] == ["dense", "pruned", "pruned against dense"]
    aside = "return [...document.querySelectorAll('#summary .narrow thead th')].map(e => e.firstChild?.data)"
    assert browser.script(aside)[1:] == ["gated", "cut"]  # what was left out stands below
    links = "return Math.max(...[...document.querySelectorAll('nav a')].map(e => e.getBoundingClientRect().right))"
    assert browser.script(links) <= width
    browser.view(1200)
    assert browser.script("return document.querySelector('#summary .narrow').offsetWidth") == 0
