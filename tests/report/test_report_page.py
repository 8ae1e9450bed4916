"""The report of a run as text: every section, what it says when there is nothing, escaping, no network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from secateurs import report
from secateurs.errors import RunError
from secateurs.records import LayerRow, Measured, PlayersBlock, Record, RungRow
from secateurs.report import figures, page, tables

SECTIONS = ("Summary", "Training", "Players", "Market", "Layers", "Certificate", "Cost", "Provenance")
HOSTILE = '</script><img src=x onerror="window.hacked=1"><a href="https://evil.example">x</a>'


class Reader(HTMLParser):
    """What a browser sees of a page: tags with their attributes, and text outside scripts and styles."""

    VOID = {"meta", "link", "br", "col", "img", "input", "hr"}

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.specs: list[dict] = []
        self.feed(source)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            if self.tags[-1][1].get("type") == "application/json":
                self.specs.append(json.loads(data))
            return
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_headline_says_what_was_asked_and_got(record):
    assert report.headline(record) == (
        "groups=0.0482, macs=0.04: 37 of 768 groups, 0.0317 of the MACs, accuracy 97.0% (dense 98.1%), "
        "3.2× faster at batch 1, one thread"
    )


@pytest.mark.parametrize(
    ("budget", "change", "expected"),
    [
        ({"macs": 0.4}, {}, "macs=0.4: 0.0317 of the MACs, accuracy 97.0%"),
        ({"macs": 40e6}, {}, "macs=40.0M: 0.0317 of the MACs"),
        ({"latency": 2.5}, {}, "latency=2.5ms: 0.0421 ms a batch, accuracy"),
        ({"params": 0.25}, {"latency_ms": 0.2}, "1.5× slower at batch 1, one thread"),
        ({"params": 0.25}, {"latency_ms": 0.1343}, "as fast at batch 1, one thread"),
        (
            {"params": 0.25},
            {"accuracy": None},
            "params=0.25: 0.0317 of the parameters, loss 0.101 (dense 0.0714)",
        ),
    ],
)
def test_headline_for_each_resource(record, budget, change, expected):
    pruned = record.pruned.model_copy(update=change)
    assert expected in report.headline(record.model_copy(update={"budget": budget, "pruned": pruned}))


def test_every_section_is_there_and_reachable(record):
    reader = Reader(report.render(record))
    anchors = {a["href"] for t, a in reader.tags if t == "a"}
    ids = {a["id"] for t, a in reader.tags if t == "section"}
    assert ids == {name.lower() for name in SECTIONS}
    assert {f"#{i}" for i in ids} <= anchors
    titles = [spec["data"][0]["name"] for spec in reader.specs]
    assert len(reader.specs) == 8, titles


def test_summary_labels_which_data_an_accuracy_is_on(record):
    text = Reader(report.render(record)).text
    assert "test accuracy 97.04% dense 98.12%; read once, after removal" in text
    assert "Accuracy (validation)" in text
    assert "accuracy test, read once 98.12% 94.90% 94.46% 97.04% −1.08 points" in text


def test_numbers_of_the_summary(record):
    text = Reader(report.render(record)).text
    assert "parameters 535,818 – – 17,007 32× fewer" in text
    assert "MACs one example 0.535 M – – 16,960 32× fewer" in text
    assert "groups players 768 49 active 37 37 4.8% kept" in text
    assert "0.134 ms 0.132 to 0.140" in text
    assert "file saved weights 2.14 MB – – 68.8 kB 31× smaller" in text


LADDER = [
    RungRow(name="before", accuracy=0.949),
    RungRow(name="earlier", accuracy=0.9512),
    RungRow(name="none", accuracy=0.8, kept=True),
    RungRow(name="reweight+batchnorm", accuracy=0.94, seconds=1.25, kept=True),
    RungRow(name="<b>", accuracy=0.91, seconds=80.0),
    RungRow(name="finetune", accuracy=0.93, seconds=12.0),
]


def test_repairs_are_listed_and_drawn_beside_the_best_network_before_the_cut(record):
    record.recovery = LADDER
    reader = Reader(report.render(record))
    assert "recovery" in {a["id"] for t, a in reader.tags if t == "section"}
    assert "What was kept in the end, reweight + batchnorm, is at 94.00%: −1.12 points beside" in reader.text
    for row in (
        "just before the cut 94.90% – –",
        "best epoch before the cut 95.12% – –",
        "as the cut left it 80.00% −15.12 points –",
        "reweight + batchnorm kept 94.00% −1.12 points 1.25 s",
        "<b> 91.00% −4.12 points 1 min 20 s",
        "finetune 93.00% −2.12 points 12.0 s",
    ):
        assert row in reader.text, row
    (spec,) = [spec for spec in reader.specs if spec["data"][0].get("y", [""])[0] == "just before the cut"]
    assert spec["data"][0]["x"] == [row.accuracy for row in LADDER]
    assert spec["data"][0]["y"][4] == "&lt;b&gt;"
    assert [c == figures.KEPT for c in spec["data"][0]["marker"]["color"]] == [False, False, False, True, False, False]
    assert spec["layout"]["shapes"][0]["x0"] == 0.9512
    low, high = spec["layout"]["xaxis"]["range"]
    assert low < 0.8 and high > 0.9512


def test_budget_not_met_is_said(record):
    record.pruned.macs = 30_000
    assert "MACs 21,407 30,000 0.0561 not met" in Reader(report.render(record)).text


def test_a_bare_record_says_what_is_missing_in_every_section():
    reader = Reader(report.render(Record(method="magnitude", model="m", data="d", budget={})))
    for sentence in (
        "no budget: nothing was measured",
        "This run measured no network",
        "The record holds no history",
        "The record lists no players",
        "No market: this run set no price",
        "The record lists no layers",
        "No certificate: the method 'magnitude'",
        "The record holds no training times",
        "No configuration was recorded",
        "No versions were recorded",
        "No files were recorded",
        "The run left no notes",
    ):
        assert sentence in reader.text
    assert not reader.specs
    assert len(report.render(Record(method="m", model="m", data="d", budget={}))) < 40_000  # no chart, no library


def test_history_without_accuracy_or_market(record):
    record.history = [
        p.model_copy(update={"accuracy": None, "path": {}, "price": {}, "demand": {}}) for p in record.history
    ]
    reader = Reader(report.render(record))
    assert "No validation accuracy was recorded" in reader.text and "No market" in reader.text
    assert len(reader.specs) == 5


def test_several_resources_get_a_chart_each(record):
    for point in record.history:
        for part in (point.path, point.price, point.demand):
            if part:
                part["params"] = part["macs"] / 2
    assert len(Reader(report.render(record)).specs) == 10


def test_phases_touch_and_cover_the_run(record):
    from secateurs.report.training import phases

    bands = phases(record)
    assert [b.name for b in bands] == ["warm-up", "market", "recovery"]
    assert [(b.start, b.stop) for b in bands] == [(0, 2), (2, 8), (8, 20)]


def test_histogram_counts_every_player_on_the_right_side_of_epsilon(record):
    (spec,) = [s for s in Reader(report.render(record)).specs if s["data"][0]["type"] == "bar"]
    removed, kept = ([c or 0 for c in trace["y"]] for trace in spec["data"])
    players = record.players
    assert sum(removed) == 731 and sum(kept) == 37
    assert removed[0] == sum(s < 0.01 for s in players.participation)
    assert spec["layout"]["shapes"][0]["x0"] == players.epsilon


def test_scatter_marks_the_pruned_and_names_layers(record):
    spec = next(s for s in Reader(report.render(record)).specs if s["data"][0].get("mode") == "markers")
    symbols = {t["marker"]["symbol"]: 0 for t in spec["data"]}
    for trace in spec["data"]:
        symbols[trace["marker"]["symbol"]] += sum(v is not None for v in trace["x"])
    assert symbols["circle"] == 37 and symbols["x-thin"] == 731
    assert any(label.startswith("fc2, kept, s = ") for t in spec["data"] for label in t.get("customdata", ()))


def test_many_players_are_sampled_and_it_says_so(record):
    n = 20_000
    record.players = PlayersBlock(
        layer=[0] * n,
        participation=[0.5] * n,
        benefit=[1.0] * n,
        cost=[1.0] * n,
        kept=[i % 10 == 0 for i in range(n)],
        epsilon=0.1,
        sampled=True,
    )
    reader = Reader(report.render(record))
    assert "4,000 of 20,000 players are drawn" in reader.text
    assert "These counts are of a sample" in reader.text


def test_user_strings_cannot_become_markup(record):
    record.model = record.data = record.method = HOSTILE
    record.layers = [LayerRow(name=HOSTILE, kind=HOSTILE, total=4, kept=2, tied_to=[HOSTILE]) for _ in range(2)]
    record.certificate.sentence = HOSTILE
    record.certificate.condition_numbers = {HOSTILE: 2.0}
    record.notes, record.versions = [HOSTILE], {HOSTILE: HOSTILE}
    record.config = {HOSTILE: {HOSTILE: [HOSTILE]}}
    record.files = {
        HOSTILE: HOSTILE,
        "js": "javascript:alert(1)",
        "up": "../../secret",
        "web": "//evil.example/x",
    }
    record.budget, record.device, record.created = {HOSTILE: 0.5}, HOSTILE, HOSTILE
    for point in record.history:
        point.phase, point.price = HOSTILE, {HOSTILE: 1.0}
    reader = Reader(report.render(record))
    assert not [tag for tag, _ in reader.tags if tag == "img"]
    links = [a["href"] for tag, a in reader.tags if tag == "a"]
    assert all(link.startswith("#") for link in links), links
    assert HOSTILE.split("<a")[0] in reader.text
    for spec in reader.specs:  # Plotly reads some HTML in labels, so nothing may look like a tag there
        labels = re.findall(r"<(?!br>|extra>|/extra>)", json.dumps(spec))
        assert not labels


def test_nothing_is_fetched(record):
    source = report.render(record)
    fetched = [
        (tag, name, value)
        for tag, attributes in Reader(source).tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "srcset", "poster")
        and not re.match(r"#|data:,|[\w.]+$", value or "")
    ]
    assert not fetched
    assert not re.search(r"@import|url\(|https?://", source)
    assert "default-src 'none'" in source


def test_same_record_same_bytes(record):
    assert report.render(record) == report.render(record.model_copy(deep=True))


def test_infinite_and_missing_numbers_do_not_break_the_page(record):
    record.certificate.condition_numbers = {"fc1": float("inf")}
    record.certificate.nash_gap = float("nan")
    record.history[3].loss = record.history[3].mean_participation = float("nan")
    record.players.benefit[0] = float("inf")
    record.players.participation[1] = float("nan")
    reader = Reader(report.render(record))
    assert "fc1 ∞" in reader.text and "not a number" in reader.text


def test_layers_as_bars(record):
    reader = Reader(report.render(record))
    widths = [a["style"] for t, a in reader.tags if t == "div" and a.get("class") in ("total", "kept")]
    assert widths == ["width:100.00%", "width:4.10%", "width:50.00%", "width:6.25%"]
    assert "21 of 512" in reader.text and "fc2.weight[in]" in reader.text


def test_write_reads_the_record_and_leaves_only_the_page(record, tmp_path):
    record.write(tmp_path)
    path = report.write(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == report.render(record)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["record.json", "report.html"]


def test_write_without_a_record_says_so(tmp_path):
    with pytest.raises(RunError, match=r"no record\.json"):
        report.write(tmp_path)


def test_report_imports_no_torch(record, tmp_path):
    record.write(tmp_path)
    code = f"from secateurs import report; report.write({str(tmp_path)!r}); import sys; "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_size_stays_small(record):
    assert len(report.render(record).encode()) < 2_600_000


def test_figures_are_valid_plotly(record):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for spec in Reader(report.render(record)).specs:
        plain = json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(spec)))
        graph_objects.Figure(plain)  # raises on any property it does not know


def test_every_colour_a_figure_names_is_defined_in_both_themes(record):
    source = report.render(record)
    css = (Path(report.__file__).parent / "page.css").read_text()
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    for name in set(re.findall(r"var\((--[\w-]+)\)", source)):
        assert f"{name}:" in light and f"{name}:" in dark, name


def test_pieces_make_another_page():
    verdict = tables.tag("disagrees", "bad")
    rows = tables.table(["row", "ours", "paper", ""], [["β = 0.1 <b>", 0.97, None, verdict]], caption="Table 2")
    series = [
        figures.Series("a", [1, 2], [0.1, None], error=[0.01, 0.02]),
        figures.Series("b", [1, 2], [0.2, 0.3]),
    ]
    chart = figures.lines("t", series, figures.Axis("x"), figures.Axis("y"), alt="two lines")
    reader = Reader(page.page("Game", [], [page.Section("One", [rows, chart])]))
    assert "β = 0.1 <b> 0.97 – disagrees" in reader.text
    assert reader.specs[0]["layout"]["showlegend"] and reader.specs[0]["data"][0]["y"] == [0.1, None]


def test_picture_is_svg_without_markup_from_names(record):
    import xml.etree.ElementTree as tree

    record.layers = [LayerRow(name=f"layer{i}.{HOSTILE}", kind="channel", total=64, kept=9) for i in range(40)]
    root = tree.fromstring(report.picture(record))
    assert root.tag.endswith("svg") and not [e for e in root.iter() if e.tag.endswith(("}a", "}img", "}script"))]
    bars = [e for e in root.iter() if e.get("class") in ("all", "kept")]
    assert len(bars) == 80
    assert max(float(e.get("y")) + float(e.get("height")) for e in bars) <= float(root.get("height"))
    (line,) = [e for e in root.iter() if e.get("class") == "line"]
    assert len(line.get("points").split()) == 20


def test_picture_of_a_bare_record():
    text = report.picture(Record(method="m", model="x", data="d", budget={}, pruned=Measured(accuracy=0.5)))
    assert "no layers recorded" in text and "no validation accuracy recorded" in text and "accuracy 50.0%" in text


def test_a_record_with_infinite_numbers_is_read_back(record, tmp_path):
    record.certificate.condition_numbers = {"fc1": float("inf")}
    record.history[0].price = {"macs": float("nan")}
    record.write(tmp_path)
    assert "fc1 ∞" in Reader(report.write(tmp_path).read_text(encoding="utf-8")).text
    json.loads((tmp_path / "record.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


def test_many_layers_are_listed_and_coloured_by_fate(record):
    record.layers = [LayerRow(name=f"block{i}.conv", kind="channel", total=32, kept=i + 1) for i in range(20)]
    record.players.layer = [i % 20 for i in range(768)]
    reader = Reader(report.render(record))
    assert "20 layers" in reader.text and "block19.conv channel 20 of 32 62.5%" in reader.text
    spec = next(s for s in reader.specs if s["data"][0].get("mode") == "markers")
    assert [t["name"] for t in spec["data"]] == ["kept", "removed"]


def test_a_specification_cannot_leave_its_script_element():
    raw = "</script><b>"
    chart = figures.Figure("t", [{"type": "bar", "x": [1], "y": [1]}], {"meta": raw}, alt="one bar")
    assert Reader(page.page("p", [], [page.Section("s", [chart])])).specs[0]["layout"]["meta"] == raw


def test_the_certificates_figures_say_what_they_mean(record):
    text = Reader(report.render(record)).text
    assert "Nash gap, largest 0.00213 the most that one player could gain by moving alone" in text
    assert "dominated players 729 (of them removed: 729) taking part costs them more than it brings" in text
    assert "spectral radius 0.410 how strongly players’ best answers react to each other" in text
    assert "1 is evenly, 100 a hundredfold difference. layer condition number fc1 8.41" in text


def one_shot(record: Record) -> Record:
    """The record as a one-shot method would leave it: scores, no game, two phases of which points tell little."""
    record.method, record.certificate, record.config = "taylor", None, {}
    players, number = record.players, 768
    players.participation, players.cost = [1.0] * number, [0.0] * number
    players.benefit = [0.0 if i < 3 else 10.0 ** (-6 + 6 * i / number) for i in range(number)]
    players.kept = [i >= number - 37 for i in range(number)]
    record.train.steps = {"training": 4300, "recovery": 4300, "total": 8600}
    for point in record.history:
        point.phase = "training" if point.epoch <= 10 else "recovery"
        point.price, point.demand, point.path = {}, {}, {}
    return record


def test_a_one_shot_method_is_told_in_its_own_words(record):
    reader = Reader(report.render(one_shot(record)))
    ids = {a["id"] for t, a in reader.tags if t == "section"}
    assert "groups" in ids and not ids & {"players", "market", "certificate"}
    for word in ("players", "Participation", "benefit", "ε", "equilibrium", "warm-up", "gated", "price"):
        assert word not in reader.text, word
    assert "training: epochs 0 to 10 recovery: epochs 10 to 20" in reader.text
    assert "dense for comparison trained before removal" in reader.text
    assert "Those with the highest stayed: 37 of 768" in reader.text
    (spec,) = [s for s in reader.specs if s["data"][0]["type"] == "bar"]
    removed, kept = ([c or 0 for c in trace["y"]] for trace in spec["data"])
    assert sum(removed) == 731 and sum(kept) == 37 and removed[0] >= 3  # zeros have no logarithm
    assert not any(r and k for r, k in zip(removed[:-5], kept[:-5]))
    older = one_shot(record)
    older.train.steps = {"warmup": 4300, "recovery": 4300, "total": 8600}
    assert "training: epochs 0 to 10" in Reader(report.render(older)).text


def test_levels_are_shaded_in_turn_and_one_before_the_first_point_is_not_drawn(record):
    import xml.etree.ElementTree as tree

    from secateurs.report.training import phases

    one_shot(record)
    record.train.steps = {"level 1": 200, "level 2": 4100, "level 3": 2150, "recovery": 2150, "total": 8600}
    bands = phases(record)
    assert [(b.name, b.colour) for b in bands] == [
        ("level 1", "var(--warmup)"), ("level 2", "var(--market)"), ("level 3", "var(--warmup)"),
        ("recovery", "var(--recovery)"),
    ]  # fmt: skip
    text = Reader(report.render(record)).text
    assert "level 2: epochs" in text and "At the end of each level. It ends" in text
    assert "At the end of each level the groups with the lowest scores left; 37 of 768 stayed." in text
    record.history = [p for p in record.history if p.epoch >= 1]
    root = tree.fromstring(report.picture(record))
    shades = [e for e in root.iter() if "band" in e.get("class", "")]
    assert all(float(e.get("width")) > 0 for e in shades)
    assert [e.get("class") for e in shades] == ["band market", "band warm-up", "band recovery"]


def test_scores_that_are_not_positive_or_all_alike_are_drawn_too(record):
    one_shot(record)
    for scores in ([-1.0 + i / 384 for i in range(768)], [0.5] * 768, [0.0] * 768, [float("nan")] * 768):
        record.players.benefit = scores
        (spec,) = [s for s in Reader(report.render(record)).specs if s["data"][0]["type"] == "bar"]
        drawn = sum(c or 0 for trace in spec["data"] for c in trace["y"])
        assert drawn == (0 if scores[0] != scores[0] else 768)


def test_phases_come_from_steps_not_from_points(record):
    from secateurs.report.training import phases

    record.train.steps = {"warmup": 430, "market": 3010, "recovery": 5160, "total": 8600}
    record.history = [p for p in record.history if p.step % 860 == 0]  # a point every other epoch
    assert [(b.name, b.start, b.stop) for b in phases(record)] == [
        ("warm-up", 0, 1),
        ("market", 1, 8),
        ("recovery", 8, 20),
    ]
    record.train.steps = {}
    assert phases(record)[0].stop == 2
