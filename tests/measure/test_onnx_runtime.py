"""Timing ONNX files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secateurs.errors import ArtifactError
from secateurs.measure import compare_onnx, onnx_latency

pytest.importorskip("onnxruntime")
helper = pytest.importorskip("onnx.helper")


def matrix_product(path: Path, columns: int) -> Path:
    """A file that multiplies (batch, 512) by (512, columns)."""
    import onnx

    weight = torch.randn(512, columns)
    number = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", number, ["batch", 512])],
        [helper.make_tensor_value_info("y", number, ["batch", columns])],
        [helper.make_tensor("w", number, weight.shape, weight.flatten().tolist())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def test_a_smaller_file_is_seen_to_be_faster(tmp_path: Path) -> None:
    paths = {
        "dense": matrix_product(tmp_path / "d.onnx", 512),
        "pruned": matrix_product(tmp_path / "p.onnx", 8),
    }
    found = compare_onnx(paths, torch.randn(64, 512), repeats=5)
    assert found.speedup["pruned"].median > 2
    assert (found["dense"].batch, found["dense"].threads) == (64, 1)
    assert "ONNX Runtime" in found["dense"].device


def test_one_file(tmp_path: Path) -> None:
    found = onnx_latency(matrix_product(tmp_path / "a.onnx", 8), (torch.randn(2, 512),), threads=2, repeats=3)
    assert 0 < found.q25_ms <= found.median_ms <= found.q75_ms
    assert found.threads == 2


def test_what_cannot_be_timed_is_said(tmp_path: Path) -> None:
    path = matrix_product(tmp_path / "a.onnx", 8)
    with pytest.raises(ArtifactError, match="no ONNX file"):
        onnx_latency(tmp_path / "absent.onnx", torch.randn(1, 512))
    with pytest.raises(ArtifactError, match="takes 1 inputs"):
        onnx_latency(path, (torch.randn(1, 512), torch.randn(1, 512)))
    with pytest.raises(ArtifactError, match="cannot run"):
        onnx_latency(path, torch.randn(1, 7))
    (tmp_path / "b.onnx").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cannot run"):
        onnx_latency(tmp_path / "b.onnx", torch.randn(1, 512))
