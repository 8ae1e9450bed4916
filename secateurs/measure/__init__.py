"""What a network costs: parameters, multiply-accumulates, bytes and milliseconds, of the network itself."""

from __future__ import annotations

from .latency import Comparison, Latency, Ratio, compare_latency, latency
from .macs import count_macs
from .onnx_runtime import compare_onnx, onnx_latency
from .size import count_bytes, count_params

__all__ = [
    "Comparison",
    "Latency",
    "Ratio",
    "compare_latency",
    "compare_onnx",
    "count_bytes",
    "count_macs",
    "count_params",
    "latency",
    "onnx_latency",
]
