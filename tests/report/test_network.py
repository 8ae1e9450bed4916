"""The network's part of a page, as text."""

from __future__ import annotations

import re

import pytest
from example_network import dense, residual
from example_record import example_record

from secateurs import report
from secateurs.records import Network, NetworkGroup, NetworkNode, Record
from secateurs.report.network import Wires, picture


def test_a_value_has_a_lane_to_itself_while_it_is_read() -> None:
    for drawn in (residual(), dense(20)):
        wires = Wires.of(drawn.nodes)
        for row in range(1, len(drawn.nodes)):
            lanes = [wires.lane[i] for i in wires.through(row)]
            assert len(lanes) == len(set(lanes))
            others = [wires.lane[i] for i in wires.through(row) if wires.last[i] > row]
            assert wires.lane[row] not in others  # and no node stands on another's wire
            assert set(drawn.nodes[row].inputs) <= set(wires.through(row))


def test_a_chain_stays_in_one_lane_and_a_branch_takes_the_next() -> None:
    wires = Wires.of(residual().nodes)
    # input, stem, (conv1, conv2, +) × 4, fc, output
    assert wires.lane == [0, 0, *[1, 1, 0] * 4, 0, 0]


def test_wires_stay_narrow_however_many_there_are() -> None:
    assert Wires.of(residual().nodes).width == 37 and Wires.of(dense(40).nodes).width <= 142


def test_rows_say_widths_before_and_after() -> None:
    text = picture(residual())
    assert "16 → <b>9</b>" in text and "32 → <b>11</b>" in text
    assert "<b>" not in re.sub(r"<b (style|class)[^>]*></b>", "", picture(residual(cut=False)))
    assert text.count('class="net-row"') == len(residual().nodes)
    assert 'title="fc: fixed: the model&#x27;s output"' in text


def test_stages_fold_and_long_networks_are_shut_at_first() -> None:
    assert re.findall(r'<details class="net-stage"( open)?', picture(residual())) == [" open", " open"]
    several = residual()
    for number, node in enumerate(dense(60).nodes[1:], start=len(several.nodes)):
        inputs = [number - 1] if node.name == "output" else []
        several.nodes.append(node.model_copy(update={"groups": [], "counts": [], "inputs": inputs}))
    assert re.findall(r'<details class="net-stage"( open)?', picture(several)) == [" open", " open", ""]


def test_every_group_has_a_colour_of_its_own() -> None:
    hues = re.findall(r'data-group="\d+" aria-pressed="false"><i class="chip" style="--h:(\d+)"', picture(dense(60)))
    assert len(hues) == 60 and len(set(hues)) == 60


def test_a_report_without_a_network_omits_the_section() -> None:
    record = example_record()
    assert record.network is None and 'id="network"' not in report.render(record)
    record.network = residual()
    assert 'id="network"' in report.render(record)


def test_the_record_survives_being_written(tmp_path) -> None:
    record = example_record()
    record.network = residual()
    record.write(tmp_path)
    assert Record.read(tmp_path).network == record.network


@pytest.mark.parametrize("nodes", [[], [NetworkNode(name="input"), NetworkNode(name="output", inputs=[0])]])
def test_a_network_of_nothing_is_drawn(nodes: list[NetworkNode]) -> None:
    assert "net-rows" in picture(Network(nodes=nodes, groups=[]))


def test_names_are_text() -> None:
    hostile = '</script><img src=x onerror="alert(1)">'
    node = NetworkNode(name=hostile, kind=hostile, also=[hostile], groups=[0], counts=[4], width=4, reason=hostile)
    group = NetworkGroup(name=hostile, kind=hostile, total=4)
    text = picture(Network(nodes=[NetworkNode(name="input"), node], groups=[group]))
    assert "<img" not in text and text.count("</script>") == 1
