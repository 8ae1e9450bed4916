"""The coverage benchmark in small: what it calls exact is, and what is not exact it does not call so."""

from __future__ import annotations

import copy
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import secateurs
from benchmarks.architectures import __main__ as command
from benchmarks.architectures import depth, ours, plain, processes, rivals, table, uses
from benchmarks.architectures.addresses import Addressed, restored
from benchmarks.architectures.judge import Judged, compare, randomise, trains
from benchmarks.architectures.models import TRACED_BATCH, Case, listed

CASES = listed()


def measured(case: Case, measure: Any = ours.measure) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    measure(case, lambda row: rows.append(dict(row)))
    return rows[-1]


@pytest.mark.parametrize("name", ["unet", "channel_shuffle", "gru_classifier"])
def test_a_plain_model_is_cut_to_less_than_half_and_exact(name: str) -> None:
    row = measured(CASES[name])
    assert row["status"] == "exact" and not row["blind"] and row["predicted"] == []
    assert row["params_left"] < row["params"] / 2 and row["gap"] < 1e-12 and row["saved"] == "yes"


def test_frozen_weights_are_shown_with_their_reasons() -> None:
    row = measured(CASES["transformer_encoder"])
    assert row["status"] == "exact, partly frozen" and row["heads"] == 2 and 0 < row["untouched"] < 0.5
    assert "embed.weight" in row["untouched_tensors"]
    assert table.reasons(row)[0][0].startswith("layer norm")
    assert "embed.weight[width] (32)" in table.why("transformer_encoder", row)


@pytest.mark.parametrize("library, name", [("torchvision", "squeezenet1_1"), ("transformers", "bert")])
def test_a_library_s_model_is_exact(library: str, name: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed", exc_type=ImportError)
    assert measured(CASES[name])["status"].startswith("exact")


def test_a_cut_network_can_be_used_as_the_dense_one_can() -> None:
    model, _, cut = halves("channel_shuffle")
    example = CASES["channel_shuffle"].inputs(TRACED_BATCH, None)
    assert uses.used(model, cut, example) == dict.fromkeys(uses.USES, "yes")

    class Counting(nn.Module):
        """Python state that a trace takes for a constant, and an export refuses to forget."""

        def __init__(self, steps: int) -> None:
            super().__init__()
            self.steps = steps

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.steps += 1
            return x * self.steps

    once = uses.failing(uses.USES["jit.trace"], Counting(1), example)
    assert once.startswith("its answer differs")
    assert uses.used(Counting(1), Counting(1), example)["jit.trace"] == "neither"
    assert uses.used(nn.Softplus(), Counting(1), example)["jit.trace"].startswith("its answer differs")
    row = {"uses": {"a": "yes", "b": "neither", "c": "it fails"}}
    assert table.uses(row) == "1/2" and "c: it fails" in table.notes({"status": "exact", **row})


# -- the oracle ----------------------------------------------------------------------------------------------
def halves(name: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """A model, masked and cut."""
    torch.manual_seed(0)
    case = CASES[name]
    model = randomise(case.build(), case.inputs(8, None))
    structure = secateurs.trace(model, case.inputs(TRACED_BATCH, None))
    keep = ours.half(structure)
    return (
        model,
        secateurs.structure.mask(copy.deepcopy(model), structure, keep),
        secateurs.shrink(model, structure, keep).model,
    )


def test_wrong_indices_are_seen() -> None:
    model, masked, cut = halves("unet")
    assert compare(CASES["unet"], model, masked, cut).same
    weight = cut.get_parameter("right2.0.weight")
    weight.data = weight.data.roll(1, 1)  # every input channel one place off: all shapes still fit
    verdict = compare(CASES["unet"], model, masked, cut)
    assert not verdict.same and verdict.effect > 0.1


def test_a_wrong_batch_norm_statistic_is_seen() -> None:
    model, masked, cut = halves("channel_shuffle")
    cut.norm.running_mean.copy_(cut.norm.running_mean.roll(1))
    assert not compare(CASES["channel_shuffle"], model, masked, cut).same


def test_a_network_of_one_batch_size_is_an_error() -> None:
    model, masked, cut = halves("lstm_classifier")
    cut.hidden = nn.Sequential(nn.Unflatten(0, (TRACED_BATCH, 1)), nn.Flatten(0, 1), cut.hidden)
    with pytest.raises(Judged, match="does not run on batch 1"):
        compare(CASES["lstm_classifier"], model, masked, cut)


def test_randomise_leaves_no_constant_behind() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 4))
    nn.init.zeros_(model[3].weight)
    randomise(model, torch.randn(4, 3, 8, 8))
    for name, tensor in model.state_dict().items():
        assert tensor.dim() == 0 or tensor.float().std() > 0.01, name


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    case = CASES["lstm_classifier"]
    model = case.build()
    model.out.weight.data.fill_(float("nan"))
    with pytest.raises(Judged, match="not finite"):
        trains(case, model)


# -- other libraries -----------------------------------------------------------------------------------------
def every_second(model: nn.Module, example: Any, *, shifted: bool = False) -> nn.Module:
    """A library of one trick: it cuts a plain network's hidden layer, perhaps with the wrong inputs."""
    kept = torch.arange(0, 8, 2)
    model[0].weight.data, model[0].bias.data = model[0].weight.data[kept], model[0].bias.data[kept]
    model[2].weight.data = model[2].weight.data[:, kept + shifted]
    return model


NET = Case("net", "plain", lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), plain.vector(4))


def test_what_a_library_kept_is_read_off_its_result() -> None:
    torch.manual_seed(0)
    dense = NET.build()
    addressed = Addressed.of(dense, torch.float64)
    masked, cut = restored(dense, addressed, every_second(addressed.model, None))
    assert torch.equal(cut[0].weight, dense[0].weight[::2])
    assert torch.equal(masked[0].weight[::2], dense[0].weight[::2]) and not masked[0].weight[1::2].any()
    assert not masked[2].weight[:, 1::2].any()


def test_a_library_s_right_cut_is_exact_and_its_wrong_one_wrong() -> None:
    right = measured(NET, lambda case, say: rivals.measure(case, say, every_second))
    assert right["status"] == "exact" and right["params_left"] == 4 * 4 + 4 + 3 * 4 + 3
    wrong = measured(NET, lambda case, say: rivals.measure(case, say, lambda m, x: every_second(m, x, shifted=True)))
    assert wrong["status"] == "wrong"


def test_a_library_that_changes_weights_is_unchecked() -> None:
    def scaled(model: nn.Module, example: Any) -> nn.Module:
        every_second(model, example)[0].weight.data *= 1.1
        return model

    assert measured(NET, lambda case, say: rivals.measure(case, say, scaled))["status"] == "unchecked"


def test_a_norm_over_fewer_channels_is_inexact() -> None:
    def narrower(model: nn.Module, example: Any) -> nn.Module:
        every_second(nn.Sequential(model[0], model[2], model[3]), example)
        model[1].weight.data, model[1].bias.data = model[1].weight.data[::2], model[1].bias.data[::2]
        model[1].normalized_shape = (4,)
        return model

    net = Case(
        "normed",
        "plain",
        lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)),
        plain.vector(4),
    )
    assert measured(net, lambda case, say: rivals.measure(case, say, narrower))["status"] == "inexact"


@pytest.mark.parametrize("side, module", [("torch-pruning", "torch_pruning"), ("torch-kirigami", "torch_kirigami")])
def test_an_installed_library_is_judged(side: str, module: str) -> None:
    pytest.importorskip(module, reason=f"{side} is not installed")
    row = measured(CASES["unet"], rivals.measurers()[side])
    assert row["status"] == "exact" and row["params_left"] < row["params"] / 2


# -- processes and pages -------------------------------------------------------------------------------------
def test_a_model_that_takes_too_long_is_one_row(tmp_path: Path) -> None:
    start = time.perf_counter()
    ((_, _, row),) = processes.run_all([("secateurs", "unet")], {"secateurs": 0.2}, 1, fresh=False, cache=tmp_path)
    assert row["status"].startswith("timeout") and time.perf_counter() - start < 10
    assert not list(tmp_path.rglob("*.json"))  # the next run tries again


def test_a_finished_row_is_kept_until_fresh_ones_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "source_hash", lambda side: "source")
    tasks = [("secateurs", "channel_shuffle")]
    (first,) = processes.run_all(tasks, {"secateurs": 60}, 1, fresh=False, cache=tmp_path)
    assert first[2]["status"] == "exact"
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(json.dumps({**first[2], "status": "unchecked"}))
    (again,) = processes.run_all(tasks, {"secateurs": 60}, 1, fresh=False, cache=tmp_path)
    assert again[2]["status"] == "unchecked"
    (fresh,) = processes.run_all(tasks, {"secateurs": 60}, 1, fresh=True, cache=tmp_path)
    assert fresh[2]["status"] == "exact"


def test_a_row_whose_source_changed_meanwhile_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = iter("ab")
    monkeypatch.setattr(processes, "source_hash", lambda side: next(sources))
    monkeypatch.setattr(processes, "run_one", lambda *_: {"status": "exact", "stage": "done"})
    list(processes.run_all([("secateurs", "unet")], {"secateurs": 60}, 1, fresh=False, cache=tmp_path))
    assert not list(tmp_path.rglob("*.json"))


def test_a_wrong_prediction_is_shown() -> None:
    row = {"status": "exact", "predicted": ["macs: predicted 1, counted 2"]}
    assert table.status(row) == "exact, miscounted" and table.notes(row) == row["predicted"]


def test_leaving_early_ends_what_runs(tmp_path: Path) -> None:
    def end_one() -> None:
        while len(processes._STARTED) < 2:
            time.sleep(0.02)
        processes._end(next(iter(processes._STARTED)))

    threading.Thread(target=end_one, daemon=True).start()
    rows = processes.run_all(
        [("secateurs", "unet"), ("secateurs", "channel_shuffle")], {"secateurs": 60}, 2, fresh=True, cache=tmp_path
    )
    first = next(rows)[2]  # ended from outside, as a crash would
    assert first["status"].startswith("error") and "ended with -9" in first["status"]
    left = list(processes._STARTED)
    assert [process.poll() for process in left] == [None]  # the other one still runs
    rows.close()
    assert left[0].poll() == -9


def test_the_command_writes_table_record_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        "unet": {"status": "exact", "params": 200, "params_left": 50, "macs": 3000, "macs_left": 700, "trace_s": 0.25},
        "channel_shuffle": {"status": "error: train: it | failed", "traceback": "secret", "reasons": {"r": [["w", 3]]}},
    }
    monkeypatch.setattr(command, "run_all", lambda tasks, *_: ((s, n, rows[n]) for s, n in tasks))
    page, record = tmp_path / "page.md", tmp_path / "record.json"
    command.main(["--models", "channel_shuffle,unet", "--markdown", str(page), "--json", str(record)])
    assert "1 exact, 1 error" in capsys.readouterr().out
    assert "| unet | exact | 0.2 |  | 200 | 25.0% | 3 k | 23.3% |" in page.read_text()
    assert "it \\| failed" in page.read_text() and "1 × r: `w (3)`" in page.read_text()
    assert "secret" not in record.read_text()
    assert list(json.loads(record.read_text())["rows"]["secateurs"]) == ["channel_shuffle", "unet"]


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(SystemExit, match="no model or family 'resnet19'"):
        command.main(["--models", "resnet19"])


def test_depth_reports_each_depth() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed", exc_type=ImportError)
    (two, four) = depth.measured((2, 4), repeats=1)
    assert two[0] == 2 and four[2] == 2 * two[2] > 0
