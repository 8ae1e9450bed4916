"""The network opened in a real browser: pointing at it lights up what is tied."""

from __future__ import annotations

import pytest
from browser import Browser
from example_network import dense, residual
from example_record import example_record

from secateurs import report
from secateurs.records import Network

pytestmark = pytest.mark.browser
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
LIT = "return [...document.querySelectorAll('.net-row.on .net-name')].map(e => e.textContent)"
READS = "return [...document.querySelectorAll('.net-row.in .net-name')].map(e => e.textContent)"
ABOUT = "return document.querySelector('.net-about').innerText.replaceAll('\\u200b', '')"


def page(folder, drawn: Network):
    record = example_record()
    record.network = drawn
    record.write(folder)
    return report.write(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with its report."""
    return page(tmp_path_factory.mktemp("network"), residual())


def hover(browser: Browser, selector: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    part = browser.driver.find_element("css selector", selector)
    browser.script(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
    ActionChains(browser.driver).move_to_element(part).perform()


@pytest.mark.parametrize("width", [1400, 800, 420, 320])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_the_console_is_silent(browser: Browser, run, width, dark):
    browser.view(width, dark=dark)
    browser.open(run)
    assert browser.errors() == [] and browser.script(OVERFLOW) == 0
    outside = """const card = document.querySelector('.net').getBoundingClientRect();
        return [...document.querySelectorAll('.net-row, .net-row > *, .net-groups button')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && (box.left < card.left - 1 || box.right > card.right + 1); }).length"""
    assert browser.script(outside) == 0
    # No text of a row lies over other text of it, and no row over the next.
    over = """return [...document.querySelectorAll('.net-row')].filter(row => {
        const boxes = [...row.querySelectorAll(':scope > *')].map(e => e.getBoundingClientRect()).filter(b => b.width);
        return boxes.some((box, i) => i && box.left < boxes[i - 1].right - 1)
            || row.getBoundingClientRect().height > 31; }).length"""
    assert browser.script(over) == 0
    cut = """return [...document.querySelectorAll('.net-row .net-name')].filter(
        e => e.scrollWidth > e.clientWidth + 1).length"""
    assert browser.script(cut) == 0


def test_pointing_at_a_row_lights_all_that_is_cut_with_it(browser: Browser, run):
    browser.view(1400)
    browser.open(run)
    assert browser.script(LIT) == []
    hover(browser, '.net-row[data-n="3"]')  # layer1.0.conv2
    assert browser.script(LIT) == [
        "stem", "0.conv2", "layer1.0", "1.conv2", "layer1.1", "0.conv2", "layer2.0", "1.conv2", "layer2.1",
    ]  # fmt: skip
    assert browser.script(READS) == ["0.conv1", "1.conv1", "0.conv1", "1.conv1", "fc"]
    marks = "return [...document.querySelectorAll('.net-row .mark')].map(e => e.classList.contains('on'))"
    assert browser.script(marks) == [False, True, *[False, True, True] * 4, False, False]
    about = browser.script(ABOUT)
    for words in ("layer1.0.conv2", "Conv2d · layer1.0.bn2 · width 16 → 9", "stem: 9 of 16 channels kept",
                  "290 parameters and 0.295 M MACs each", "read by layer1.0.conv1"):  # fmt: skip
        assert words in about
    dim = "return getComputedStyle(document.querySelector('.net-row[data-n=\"2\"] .mark')).opacity"
    assert float(browser.script(dim)) < 0.5
    hover(browser, "#network h2")
    assert browser.script(LIT) == [] and float(browser.script(dim)) == 1


def test_a_group_can_be_pointed_at_pressed_and_reached_by_keyboard(browser: Browser, run):
    browser.view(1400)
    browser.open(run)
    hover(browser, 'button[data-group="2"]')
    assert browser.script(LIT) == ["1.conv1"] and browser.script(READS) == ["1.conv2"]
    browser.script("document.querySelector('button[data-group=\"1\"]').click()")
    hover(browser, "#network h2")
    assert browser.script(LIT) == ["0.conv1"]  # pressed, it stays
    browser.script("document.querySelector('button[data-group=\"1\"]').click()")
    assert browser.script(LIT) == []
    browser.script("document.querySelector('button[data-group=\"3\"]').focus()")
    assert browser.script(LIT) == ["0.conv1"]


def test_the_reason_of_a_fixed_layer_is_said(browser: Browser, run):
    browser.view(1400)
    browser.open(run)
    hover(browser, '.net-row[data-n="14"]')
    assert "fixed: the model's output" in browser.script(ABOUT) and browser.script(LIT) == []


def test_a_tap_on_a_narrow_screen_shows_what_it_is(browser: Browser, run):
    browser.view(420)
    browser.open(run)
    shown = "return getComputedStyle(document.querySelector('.net-about')).display"
    assert browser.script(shown) == "none"
    browser.script("document.querySelector('.net-row[data-n=\"1\"]').click()")
    assert browser.script(shown) == "block" and "9 of 16" in browser.script(ABOUT)


def test_stages_fold(browser: Browser, run):
    browser.view(1400)
    browser.open(run)
    rows = "return [...document.querySelectorAll('.net-row')].filter(r => r.checkVisibility()).length"
    assert browser.script(rows) == 16
    browser.script("document.querySelector('.net-stage > summary').click()")
    assert browser.script(rows) == 10
    hover(browser, '.net-row[data-n="1"]')
    assert "on" in browser.script("return document.querySelector('.net-stage').className")


def test_many_lanes_and_long_names_fit(browser: Browser, tmp_path):
    for width in (1400, 420):
        browser.view(width)
        browser.open(page(tmp_path, dense(60)))
        browser.script("document.querySelectorAll('.net-stage').forEach(stage => { stage.open = true; })")
        assert browser.script(OVERFLOW) == 0 and browser.errors() == []


def test_the_page_of_inspect(browser: Browser, tmp_path):
    totals = {"groups": 144, "params": 1e5, "macs": 1e6, "least_params": 10.0, "least_macs": 20.0}
    frozen = [{"reason": "the model's output", "size": 10, "where": ["fc.weight[out]"]}]
    found = {"model": "zoo:x", "granularity": "channel", "totals": totals, "frozen_by_reason": frozen}
    path = tmp_path / "sub" / "x.html"
    report.write_inspection({**found, "network": residual(cut=False).model_dump(mode="json")}, path)
    browser.view(1000)
    browser.open(path)
    assert browser.errors() == []
    hover(browser, '.net-row[data-n="1"]')
    assert len(browser.script(LIT)) == 9 and "16 channels" in browser.script(ABOUT)
    assert "fc.weight[out]" in browser.script("return document.querySelector('#fixed').innerText")
