"""What a network costs: parameters, multiply-accumulates, bytes and milliseconds, of the network itself."""

from __future__ import annotations

from .latency import Comparison, Latency, Ratio, compare_latency, latency
from .macs import count_macs
from .onnx_runtime import compare_onnx, onnx_latency
from .size import count_bytes, count_params
from .table import LatencyTable, breakdown, latency_table, quiet_ms, timings_of

__all__ = [
    "Comparison",
    "Latency",
    "LatencyTable",
    "Ratio",
    "breakdown",
    "compare_latency",
    "compare_onnx",
    "count_bytes",
    "count_macs",
    "count_params",
    "latency",
    "latency_table",
    "onnx_latency",
    "quiet_ms",
    "timings_of",
]
