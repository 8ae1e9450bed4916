"""``secateurs inspect``: chains, frozen axes by reason, and the drawn network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secateurs.cli import main

Run = Callable[..., tuple[int, str, str]]
RESNET = ("inspect", "--model", "zoo:resnet20", "--data", "3x32x32")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point; what reaches the file descriptors is what counts."""

    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["secateurs", *argv])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        out, err = capfd.readouterr()
        return code, out, err

    return call


def test_why_prints_chains_alone_one_a_line(run: Run) -> None:
    code, out, _ = run(*RESNET, "--why", "layer2.0.conv1.weight[out]", "--why", "out.weight[out]")
    assert code == 0
    start = "  layer2.0.conv1.weight[out] → conv2d (layer2.0.conv1) → batch_norm (layer2.0.bn1)"
    assert out.splitlines() == [
        "layer2.0.conv1.weight[out] belongs to layer2.0.conv1: 32 channels. "
        "Each is cut in all these places, for they are tied:",
        f"{start} ← layer2.0.bn1.{{weight, bias, running_mean, running_var}}",
        f"{start} → relu (layer2.0) → conv2d (layer2.0.conv2) ← layer2.0.conv2.weight[in]",
        "out.weight[out]: 10 fixed: the model's output",
        "  out.weight[out] → linear (out) → output",
    ]


def test_why_as_json_stands_beside_the_rest(run: Run) -> None:
    code, out, _ = run(*RESNET, "--why", "conv1", "--json")
    assert code == 0
    found = json.loads(out)
    (answer,) = found["why"]
    assert answer["where"] == "conv1" and answer["tied"][0]["family"] == "conv1" and len(found["layers"]) == 12
    ends = {chain["to"] for chain in answer["tied"][0]["chains"]}
    assert ends | {"conv1.weight[out]"} == set(found["layers"][0]["tied_to"])
    assert answer["fixed"][0]["chain"]["text"] == "conv1.weight[in] → conv2d (conv1)"


def test_an_unknown_place_is_one_line_with_the_nearest_names(run: Run) -> None:
    code, out, err = run(*RESNET, "--why", "layer2.0.conv9")
    assert code == 1 and out == "" and err.count("\n") == 1 and "did you mean 'layer2.0.conv" in err


def test_frozen_axes_are_listed_by_reason(run: Run) -> None:
    argv = ("inspect", "--model", "zoo:vit-tiny", "--data", "3x32x32", "--granularity", "channel+head")
    code, out, _ = run(*argv, "--json")
    rows = json.loads(out)["frozen_by_reason"]
    first = rows[0]
    assert code == 0 and first["reason"].startswith("layer norm: its statistics run over this axis")
    assert len(first["where"]) > 10 and first["size"] == 96 * len(first["where"])
    code, out, _ = run(*argv)
    assert out.count("layer norm:") == 1 and "more (--json names all)" in out


def test_the_network_is_drawn_into_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.html"
    code, out, _ = run(*RESNET, "--html", str(path))
    assert code == 0 and out.splitlines()[-1] == str(path)
    page = path.read_text(encoding="utf-8")
    assert page.count('class="net-row"') == 31 and "http://" not in page and "https://" not in page
    code, out, _ = run(*RESNET, "--html", str(path), "--json")
    assert code == 0 and "network" not in json.loads(out)


def test_a_file_that_cannot_be_written_is_said_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(*RESNET, "--html", str(tmp_path / "file" / "net.html"))
    assert code == 1 and "cannot write" in err and "Traceback" not in err
