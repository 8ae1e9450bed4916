"""ONNX files: quiet, one file, any batch, and never in place unless ONNX Runtime agrees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateurs.artifact import export_onnx, load, onnx_export, save
from secateurs.errors import ArtifactError, MissingExtraError, RunError
from secateurs.structure import shrink, trace
from secateurs.zoo import build_model

from .conftest import Attention

onnxruntime = pytest.importorskip("onnxruntime")


def run(path: Path, *inputs: torch.Tensor) -> list[torch.Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {node.name: x.numpy() for node, x in zip(session.get_inputs(), inputs)}
    return [torch.as_tensor(y) for y in session.run(None, feed)]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_shrunk_network_at_any_batch(batch: int, tmp_path: Path) -> None:
    x = torch.randn(batch, 3, 16, 16)
    model = build_model("zoo:conv-small", input_shape=(3, 16, 16))
    structure = trace(model, x)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        keep[family.atoms[len(family.atoms) // 2 :]] = False
    small = shrink(model, structure, keep).model
    check = export_onnx(small.train(), (x,), tmp_path / "small.onnx")
    assert small.training
    assert check.dynamic_batch and check.note == "" and check.max_abs_difference < 1e-4
    assert 1 in check.batches and len(check.batches) >= 2
    assert check.bytes == (tmp_path / "small.onnx").stat().st_size
    weights = sum(4 * p.numel() for p in small.parameters())
    assert weights * 0.9 < check.bytes < weights + 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]
    y = torch.randn(7, 3, 16, 16)
    torch.testing.assert_close(run(check.path, y)[0], small.eval()(y), atol=1e-4, rtol=1e-4)


def test_nothing_is_printed(tmp_path: Path) -> None:
    # In a process of its own: the exporter speaks once, through a handler that pytest has replaced. The
    # second network fails its check at other batch sizes, of which ONNX Runtime would speak.
    program = """if True:
        import sys, torch
        from secateurs.artifact import export_onnx
        class Fixed(torch.nn.Module):
            def forward(self, x):
                return x.reshape(2, 6) * 2
        export_onnx(torch.nn.Linear(3, 2), torch.randn(2, 3), sys.argv[1])
        assert not export_onnx(Fixed(), torch.randn(2, 2, 3), sys.argv[1]).dynamic_batch
    """
    command = [sys.executable, "-c", program, str(tmp_path / "a.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_keywords_and_several_outputs(tmp_path: Path) -> None:
    model = Attention().eval()
    x, shift = torch.randn(2, 3, 8, 8), torch.randn(2, 1, 1)
    check = export_onnx(model, {"x": x, "extra": {"shift": shift}}, tmp_path / "a.onnx")
    assert check.dynamic_batch
    x, shift = torch.randn(3, 3, 8, 8), torch.randn(3, 1, 1)
    wanted = model(x, extra={"shift": shift})
    torch.testing.assert_close(run(check.path, x, shift)[0], wanted["logits"], atol=1e-4, rtol=1e-4)


def test_a_loaded_program_exports(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 8, 8)
    save(Attention(), tmp_path / "a", factory=None, example_inputs=x)
    assert export_onnx(load(tmp_path / "a"), x, tmp_path / "a.onnx").dynamic_batch


def test_a_network_of_one_batch_size_says_so(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 6) * 2

    check = export_onnx(Fixed(), torch.randn(2, 2, 3), tmp_path / "a.onnx")
    assert not check.dynamic_batch and check.batches == (2,)
    assert "fixed to batches of 2" in check.note


def test_token_inputs(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    check = export_onnx(model, torch.randint(0, 9, (3, 5)), tmp_path / "a.onnx")
    tokens = torch.randint(0, 9, (6, 5))
    torch.testing.assert_close(run(check.path, tokens)[0], model(tokens), atol=1e-5, rtol=1e-5)


def test_a_file_that_answers_differently_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 5)
    model, other = nn.Linear(5, 3), nn.Linear(5, 3)
    (tmp_path / "a.onnx").write_text("older")
    write = onnx_export._write
    # The exporter is made to write another network's file, as an exporter with a fault would.
    monkeypatch.setattr(onnx_export, "_write", lambda _, *rest: write(other, *rest))
    with pytest.raises(ArtifactError, match=r"a\.onnx' was not written: ONNX Runtime's answer differs"):
        export_onnx(model, x, tmp_path / "a.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "older"


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ArtifactError, match="torch cannot export Branches"):
        export_onnx(Branches(), torch.randn(2, 3), tmp_path / "a.onnx")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write"):
        export_onnx(nn.Linear(3, 2), torch.randn(2, 3), tmp_path / "file" / "a.onnx")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    values: Any = (nn.Linear(3, 2), torch.randn(2, 3), tmp_path / "a.onnx")
    with pytest.raises(MissingExtraError, match=r"pip install 'secateurs\[onnx\]'"):
        export_onnx(*values)
