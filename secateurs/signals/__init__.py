"""Signals: what scores look at besides the weights. Gradients, curvature and activations of calibration batches."""

from .signals import Batch, Signals

__all__ = ["Batch", "Signals"]
