"""What a network costs: parameters, multiply-accumulates, bytes and milliseconds, of the network itself."""

from __future__ import annotations

from .answers import agreement, calibration_error, class_accuracy, divergence, fidelity, losses, membership
from .energy import Energy
from .latency import Comparison, Latency, Ratio, compare_latency, latency
from .macs import count_macs
from .memory import PeakMemory
from .onnx_runtime import compare_onnx, onnx_latency
from .predictions import PREDICTIONS_FILE, read_predictions, write_predictions
from .size import count_bytes, count_params
from .table import LatencyTable, breakdown, latency_table, quiet_ms, timings_of

__all__ = [
    "Comparison",
    "Energy",
    "Latency",
    "LatencyTable",
    "PREDICTIONS_FILE",
    "PeakMemory",
    "Ratio",
    "agreement",
    "breakdown",
    "calibration_error",
    "class_accuracy",
    "compare_latency",
    "compare_onnx",
    "count_bytes",
    "count_macs",
    "count_params",
    "divergence",
    "fidelity",
    "latency",
    "latency_table",
    "losses",
    "membership",
    "onnx_latency",
    "quiet_ms",
    "read_predictions",
    "timings_of",
    "write_predictions",
]
