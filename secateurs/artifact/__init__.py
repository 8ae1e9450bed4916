"""A pruned network as a folder: tensors in safetensors, the rest in JSON, nothing that runs by being read."""

from __future__ import annotations

from .loading import load
from .manifest import Manifest, read_manifest
from .onnx_export import OnnxCheck, export_onnx
from .saving import save

__all__ = ["Manifest", "OnnxCheck", "export_onnx", "load", "read_manifest", "save"]
