"""The page of a comparison in a real browser, from a file: 34 methods at three budgets, 512 runs."""

from __future__ import annotations

import math
import time

import pytest
from browser import Browser
from example_comparison import example_comparison
from test_comparison_page import HOSTILE

from secateurs import report
from secateurs.records import Estimate

pytestmark = pytest.mark.browser
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
CHECKED = "return [...document.querySelectorAll('[name=method]:checked')].length"
MARKS = "return document.querySelectorAll('figure.comparison .scatterlayer .trace .point').length"
FRAME = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
PANEL = "return document.querySelector('.picked').innerText"


@pytest.fixture(scope="module")
def whole():
    return example_comparison()


@pytest.fixture(scope="module")
def path(tmp_path_factory, whole):
    return report.write_comparison(whole, tmp_path_factory.mktemp("comparison"))


@pytest.fixture
def opened(browser: Browser, path):
    browser.view(1400)
    browser.open(path)
    yield browser
    assert browser.errors() == []


def change(browser: Browser, name: str, value: str) -> None:
    """Choose from a menu, or tick a box, of the chart."""
    part = f"document.querySelector('figure.comparison [name={name}]')"
    ticked = {"on": "true", "off": "false"}.get(value)
    how = f"{part}.value = {value!r}" if ticked is None else f"{part}.checked = {ticked}"
    browser.script(f"{how}; {part}.dispatchEvent(new Event('change', {{ bubbles: true }}))")


def column(browser: Browser, label: str, place: int) -> list[str]:
    return browser.script(
        f"""return [...document.querySelector('[aria-label="{label}"] tbody').rows]
            .filter((row) => !row.hidden).map((row) => row.cells[{place}].firstChild.textContent.trim())"""
    )


def press(browser: Browser, label: str, place: int) -> str:
    """Press a heading, and tell how the table says it is sorted."""
    head = f"""document.querySelector('[aria-label="{label}"] thead').rows[0].cells[{place}]"""
    browser.script(f"{head}.querySelector('button').click()")
    return browser.script(f"return {head}.getAttribute('aria-sort')")


def test_it_opens_in_two_seconds(browser: Browser, path):
    took = [math.inf]
    while min(took) >= 2 and len(took) < 12:  # the first opening also starts the browser, and others use the machine
        start = time.monotonic()
        browser.open(path)
        took.append(time.monotonic() - start)
    assert min(took) < 2, took
    assert browser.errors() == []


@pytest.mark.parametrize("width", [1400, 800, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_the_console_is_silent(browser: Browser, path, width, dark):
    browser.view(width, dark=dark)
    browser.open(path)
    assert browser.script(OVERFLOW) == 0 and browser.errors() == []
    browser.script("document.querySelectorAll('.sortable details').forEach((d) => { d.open = true; })")
    browser.script("document.querySelector('.chart').emit('plotly_click', {points: [{curveNumber: 0, pointIndex: 0}]})")
    assert browser.script(OVERFLOW) == 0
    outside = """const card = document.querySelector('figure.comparison').getBoundingClientRect();
        return [...document.querySelectorAll('figure.comparison :is(.main-svg, select, .which label)')].filter((e) => {
            const box = e.getBoundingClientRect(); return box.width && box.right > card.right + 1; }).length"""
    assert browser.script(outside) == 0
    # The panel lies inside the window.
    box = browser.script("return document.querySelector('.picked').getBoundingClientRect().toJSON()")
    assert box["left"] >= 0 and box["right"] <= width and box["top"] >= 0


def test_the_first_column_stays_in_sight(browser: Browser, path):
    browser.view(390)
    browser.open(path)
    left = """const box = document.querySelector('[aria-label="methods at macs=0.5"]'); box.scrollLeft = 400;
        return [box.scrollLeft, box.querySelector('tbody th').getBoundingClientRect().left
            - box.getBoundingClientRect().left]"""
    scrolled, place = browser.script(left)
    assert scrolled == 400 and abs(place) < 1


def test_tables_sort_by_numbers_with_what_is_missing_last(opened: Browser, whole):
    label, accuracy, against = "methods at macs=0.1", 2, 3
    assert press(opened, label, accuracy) == "ascending"  # it came sorted the other way
    values = [float(v.split("%")[0]) for v in column(opened, label, accuracy)]
    assert values == sorted(values) and len(values) == 35
    assert press(opened, label, against) == "descending"
    shown = column(opened, label, against)
    assert shown[-2:] == ["–", "–"]  # magnitude against itself, and the dense network
    values = [float(v.split(" ")[0].replace("−", "-")) for v in shown[:-2]]
    assert values == sorted(values, reverse=True)
    assert press(opened, label, against) == "ascending" and column(opened, label, against)[-1] == "–"
    assert press(opened, label, 0) == "ascending"
    names = column(opened, label, 0)
    assert names == sorted(names) and names[0] == "activation"
    sorted_heads = f"""return document.querySelectorAll('[aria-label="{label}"] [aria-sort]').length"""
    assert opened.script(sorted_heads) == 1


def test_headings_are_reached_by_keyboard(opened: Browser):
    from selenium.webdriver.common.keys import Keys

    button = opened.driver.find_element("css selector", '[aria-label="all runs"] thead th:nth-child(4) button')
    button.send_keys(Keys.ENTER)
    values = [float(v.removesuffix("%")) for v in column(opened, "all runs", 3)]
    assert values == sorted(values, reverse=True) and len(values) == 512


def test_runs_are_filtered_by_words(opened: Browser):
    kind = """const field = document.querySelector('[name=filter]'); field.value = arguments[0];
        field.dispatchEvent(new Event('input')); return document.querySelector('.count').textContent"""
    ask = opened.driver.execute_script
    assert ask(kind, "Taylor2 macs=0.25") == "5 of 512 runs"
    assert set(column(opened, "all runs", 0)) == {"taylor2"} and set(column(opened, "all runs", 1)) == {"macs=0.25"}
    assert ask(kind, "nothing like it") == "0 of 512 runs"
    assert ask(kind, "") == "512 of 512 runs"


def test_methods_are_chosen(opened: Browser):
    def show(what: str) -> int:
        opened.script(f"document.querySelector('[data-show={what}]').click()")
        opened.driver.execute_async_script(f"(async () => {{ {FRAME} arguments[0](); }}).apply(null, arguments)")
        return opened.script(CHECKED)

    assert opened.script(CHECKED) == 7  # the best five and the controls, but those of tickets
    few = opened.script(MARKS)
    assert few == 7 * 3 + 7 * 3 * 5
    assert show("all") == 34
    assert opened.script(MARKS) == 34 * 3 + 507  # the front has no marks, the dense network is a line
    assert show("none") == 0 and opened.script(MARKS) == 0
    assert show("best") == 5 and opened.script(MARKS) == 5 * 3 + 5 * 3 * 5
    opened.script("document.querySelectorAll('[name=method]')[7].click()")
    assert opened.script(CHECKED) == 6


def test_the_chart_obeys_its_menu(opened: Browser):
    axis = "return document.querySelector('.chart')._fullLayout.xaxis"
    told = f"{axis}.title.text + ' ' + document.querySelector('.chart')._fullLayout.xaxis.type"
    assert opened.script(told) == "MACs log"
    change(opened, "log", "off")
    assert opened.script(told) == "MACs linear"
    change(opened, "cost", "latency")
    assert opened.script(told) == "latency (of dense, timed together) linear"
    label = "return [...document.querySelectorAll('.xtick text')].map((e) => e.textContent)"
    assert all(text.endswith("×") for text in opened.script(label))
    change(opened, "runs", "off")
    assert opened.script(MARKS) == 7 * 3
    change(opened, "budget", "1")
    assert opened.script(MARKS) == 7


def test_the_front_is_that_of_all_methods_without_controls(browser: Browser, tmp_path):
    whole = example_comparison()
    control = next(row for row in whole.blocks[1].rows if row.method == "random")
    control.figures["accuracy"].mean = 0.93  # better than anything, and no method
    browser.open(report.write_comparison(whole, tmp_path))
    change(browser, "cost", "latency")
    last = "const all = document.querySelector('.chart').data; return [all.at(-1).x, all.at(-1).y]"
    xs, ys = browser.script(last)
    means = [
        (row.figures["latency"].mean, row.figures["accuracy"].mean)
        for block in whole.blocks
        for row in block.rows
        if row.role == "method"
    ]
    front = sorted(p for p in means if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in means))
    assert xs == pytest.approx([x for x, _ in front], rel=1e-5)
    assert ys == pytest.approx([y for _, y in front], rel=1e-5)


def test_pressing_a_run_shows_its_report_and_command(opened: Browser, whole):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened.script("document.querySelector('figure.comparison').scrollIntoView({block: 'center', behavior: 'instant'})")
    change(opened, "budget", "1")
    change(opened, "cost", "latency")  # runs lie apart there
    where = opened.script(
        """const chart = document.querySelector('.chart'), { xaxis, yaxis } = chart._fullLayout;
        const box = chart.getBoundingClientRect(), [runs, ...means] = chart.data;
        const at = (x, y) => [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
        const all = chart.data.flatMap((t) => t.x.map((x, i) => at(x, t.y[i])));
        const alone = runs.x.map((x, i) => [...at(x, runs.y[i]), i]).filter(([x, y]) =>
            all.filter(([u, v]) => Math.hypot(u - x, v - y) < 22).length === 1);
        return [...alone[0], runs.hovertext[alone[0][2]]]"""
    )
    address = opened.driver.current_url
    action = ActionChains(opened.driver)
    action.w3c_actions.pointer_action.move_to_location(round(where[0]), round(where[1]))
    action.w3c_actions.pointer_action.click()
    action.perform()
    text = opened.script(PANEL)
    run = next(r for r in whole.runs if f"<b>{r.method} at {r.budget}, seed {r.seed}</b>" in where[3])
    assert f"{run.method} at {run.budget}, seed {run.seed}" in text and run.command in text and "lr=" in text
    link = "return document.querySelector('.picked a').getAttribute('href')"
    assert opened.script(link) == f"{run.folder}/report.html"
    assert opened.script("return document.querySelector('.picked a').href").startswith("file:///")
    assert opened.driver.current_url == address  # it goes nowhere
    opened.script("document.querySelector('.picked .export button').click()")
    time.sleep(0.2)
    assert opened.script("return document.querySelector('.picked .export button').textContent") == "copied"
    ActionChains(opened.driver).send_keys(Keys.ESCAPE).perform()
    assert opened.script("return document.querySelector('.picked').hidden")


def test_a_mean_leads_to_the_reports_of_its_runs(opened: Browser, whole):
    opened.script("document.querySelector('.chart').emit('plotly_click', {points: [{curveNumber: 1, pointIndex: 0}]})")
    assert "mean of 5 seeds" in opened.script(PANEL)
    links = opened.script("return [...document.querySelectorAll('.picked a')].map((a) => a.textContent)")
    assert links == [f"seed {i}" for i in range(5)]


def test_the_command_of_a_run_in_the_table_opens_the_same_box(opened: Browser, whole):
    opened.script("document.querySelectorAll('.runs summary')[9].click()")
    assert whole.runs[9].command in opened.script(PANEL)


def test_the_theme_reaches_the_chart_and_changes_live(opened: Browser):
    colour = "return document.querySelector('figure.comparison .xtick text').style.fill"
    light = opened.script(colour)
    opened.view(1400, dark=True)
    opened.script("return new Promise((done) => setTimeout(done, 600))")
    assert opened.script(colour) != light


def test_without_javascript_the_tables_are_there(browser: Browser, path):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.view(1400)
        browser.driver.get(path.resolve().as_uri())
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    shown = """const count = (what) => document.querySelectorAll(what).length;
        const menu = document.querySelector('.which').offsetWidth;
        return [count('.sortable tbody tr'), menu, count('.sort'), count('.runs a')]"""
    assert browser.script(shown) == [35 * 3 + 34 + 3 + 512, 0, 0, 512]


def test_hostile_names_stay_text(browser: Browser, tmp_path):
    given = example_comparison(("equilibrium", "magnitude", "random"), ("macs=0.25",), 2)
    given.blocks[0].rows[0].method = given.blocks[0].rows[1].role = HOSTILE
    for run in given.runs:
        run.method, run.command = HOSTILE if run.budget else "dense", HOSTILE
    given.blocks[0].rows[0].options = {HOSTILE: HOSTILE}
    browser.view(1400)
    browser.open(report.write_comparison(given, tmp_path))
    browser.script("document.querySelector('[data-show=all]').click()")
    for curve in (0, 1):
        what = f"{{points: [{{curveNumber: {curve}, pointIndex: 0}}]}}"
        browser.script(f"document.querySelector('.chart').emit('plotly_click', {what})")
        assert "window.hacked=1" in browser.script(PANEL)
    assert browser.script("return window.hacked") is None and browser.errors() == []


def test_an_empty_comparison_opens(browser: Browser, tmp_path):
    from secateurs.records import Comparison

    browser.view(390)
    browser.open(report.write_comparison(Comparison(model="m", data="d", epochs=1, seeds=[], methods=[]), tmp_path))
    assert browser.errors() == [] and browser.script(OVERFLOW) == 0


def test_at_one_budget_methods_stand_side_by_side(opened: Browser, whole):
    change(opened, "budget", "1")  # and all have the same MACs
    axis = "return document.querySelector('.chart')._fullLayout.xaxis"
    assert opened.script(f"{axis}.title.text") == "at the same MACs, within 10%"
    shown = opened.script(
        "return [...document.querySelectorAll('[name=method]:checked ~ span')].map((e) => e.textContent)"
    )
    rows = {row.method: row.figures["accuracy"].mean for row in whole.blocks[1].rows}
    assert opened.script(f"{axis}.ticktext") == sorted(shown, key=lambda name: -rows[name])
    xs = opened.script("return document.querySelector('.chart').data.slice(1, -1).flatMap((t) => t.x)")
    assert sorted(xs) == list(range(len(shown)))
    change(opened, "budget", "")
    assert opened.script(f"{axis}.title.text") == "MACs"


def test_intervals_are_seen_whole_unless_they_squeeze_the_rest(browser: Browser, tmp_path):
    given = example_comparison(("equilibrium", "magnitude", "random"), ("macs=0.5",), 3)
    rows = given.blocks[0].rows
    for row, (mean, half) in zip(rows, [(0.9, 0.005), (0.88, 0.01), (0.86, 0.3)]):
        row.figures["accuracy"] = Estimate(mean=mean, low=mean - half, high=mean + half, n=3)
    browser.open(report.write_comparison(given, tmp_path))
    dense = given.dense.figures["accuracy"].mean
    runs = [run.accuracy for run in given.runs if run.method != "dense"]
    top, bottom = max(dense, *runs), 0.86
    low, high = browser.script("return document.querySelector('.chart')._fullLayout.yaxis.range")
    assert low == pytest.approx(bottom - (top - bottom), abs=0.1 * (top - bottom) * 3), "not down to 0.56"
    assert low < 0.85 and high > 0.905


@pytest.mark.parametrize("width", [1400, 420])
def test_long_names_stay_in_their_tile(browser: Browser, tmp_path, width):
    given = example_comparison(("equilibrium", "random"), ("macs=0.5",), 1)
    given.data = "benchmarks/some_longer_folder/of_a_user/loaders_of_cifar10.py:loaders"
    browser.view(width)
    browser.open(report.write_comparison(given, tmp_path))
    wide = "return [...document.querySelectorAll('.tile')].filter((t) => t.scrollWidth > t.clientWidth).length"
    assert browser.script(wide) == 0
