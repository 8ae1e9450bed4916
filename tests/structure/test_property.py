"""Random networks from the operator families, random masks: the invariant holds or the axis is fixed."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.measure import count_macs
from secateurs.structure import mask, shrink, trace

from .networks import randomise
from .test_exactness import random_keep

STEPS = (
    "conv", "pointwise", "grouped", "depthwise", "norm", "groupnorm", "instance", "act", "sigmoid", "pool",
    "residual", "shortcut", "concat", "chunk", "gate", "shuffle", "excite", "attention", "scale",
    "transposed", "pad", "slice", "shift",
)  # fmt: skip


class Random(nn.Module):
    """A chain of steps on (batch, 8, 6, 6) images; each step reads sizes from its input."""

    def __init__(self, steps: list[str], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.steps = steps
        self.layers = nn.ModuleList()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        width = 8
        self.pool = [0]
        for step in steps:
            layer, width = self._layer(step, width)
            self.layers.append(layer)
        self.out = nn.Linear(width, 3)

    def _layer(self, step: str, c: int) -> tuple[nn.Module, int]:
        conv = nn.Conv2d(c, c, 3, 1, 1)
        simple: dict[str, Any] = {
            "conv": (nn.Conv2d(c, 12, 3, 1, 1), 12),
            "pointwise": (nn.Conv2d(c, 8, 1, bias=False), 8),
            "grouped": (nn.Conv2d(c, c, 3, 1, 1, groups=2), c),
            "depthwise": (nn.Conv2d(c, 2 * c if c <= 8 else c, 3, 1, 1, groups=c), 2 * c if c <= 8 else c),
            "norm": (nn.BatchNorm2d(c), c),
            "groupnorm": (nn.GroupNorm(4, c), c),
            "instance": (nn.InstanceNorm2d(c, affine=True), c),
            "concat": (nn.Conv2d(c, 4, 3, 1, 1), c + 4),
            "chunk": (nn.Identity(), c // 2),
            "gate": (nn.Conv2d(c, 2 * c, 1), c),
            "excite": (nn.Sequential(nn.Conv2d(c, 4, 1), nn.ReLU(), nn.Conv2d(4, c, 1)), c),
            "attention": (_Attention(c), c),
            "scale": (nn.BatchNorm2d(c, affine=False), c),
            "transposed": (nn.ConvTranspose2d(c, 8, 3, 1, 1), 8),
            "shortcut": (nn.ModuleList([conv, nn.Conv2d(c, c, 1)]), c),
            "slice": (nn.Identity(), c // 2),
            "pad": (nn.Identity(), c + 4),
        }
        return simple.get(step, (conv, c))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step, layer in zip(self.steps, self.layers):
            x = _step(step, layer, x)
        return self.out(x.mean((2, 3)))


class _Attention(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = 4, c // 4
        self.qkv, self.proj = nn.Linear(c, 3 * 4 * (c // 4)), nn.Linear(4 * (c // 4), c)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.qkv(x.flatten(2).transpose(1, 2)).view(b, h * w, 3, self.num_heads, self.head_dim)
        q, k, v = y.permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, h * w, -1)).transpose(1, 2).view(b, c, h, w)


def _step(step: str, layer: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    table = {
        "act": lambda: F.gelu(x),
        "sigmoid": lambda: x.sigmoid(),
        "pool": lambda: F.max_pool2d(x, 3, 1, 1),
        "residual": lambda: x + layer(x).relu(),
        "shortcut": lambda: layer[0](x).relu() + layer[1](x) if isinstance(layer, nn.ModuleList) else x,
        "concat": lambda: torch.cat([x, layer(x)], 1),
        "chunk": lambda: (lambda p: p[0] * p[1].tanh())(x.chunk(2, 1)),
        "gate": lambda: F.glu(layer(x), 1),
        "shuffle": lambda: x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w),
        "excite": lambda: x * layer(x.mean((2, 3), keepdim=True)).sigmoid(),
        "pad": lambda: F.pad(x, (0, 0, 0, 0, 2, 2)),
        "slice": lambda: x[:, : c // 2] - x[:, c // 2 :],
        "shift": lambda: layer(x * 2 + 0.5),
    }
    return table[step]() if step in table else layer(x)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@example(["shuffle", "shuffle", "chunk"], 0, 0.3)  # right shapes, wrong indices
@example(["chunk", "attention"], 0, 0.3)  # one layer's width taken for another's
@example(["pad", "attention"], 0, 0.3)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7), st.integers(0, 99), st.sampled_from([0.3, 0.7]))
def test_random_networks_masked_equal_shrunk(steps: list[str], seed: int, density: float) -> None:
    width = 8
    kept = []
    for step in steps:  # only steps whose sizes fit
        after = Random([*kept, step], seed).out.in_features
        if after >= 4 and after % 4 == 0 and after <= 32:
            kept.append(step)
            width = after
    model = randomise(Random(kept, seed)).eval()
    assert model.out.in_features == width
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    structure = trace(model, x)
    keep = random_keep(structure, seed, density)
    small = shrink(model, structure, keep, check=False).model.eval()
    with torch.no_grad():
        expected = mask(copy.deepcopy(model), structure, keep)(x)
        torch.testing.assert_close(small(x), expected, rtol=1e-8, atol=1e-9)
    assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
    assert round(structure.amount("macs", keep)) == count_macs(small, (x,))
    again = shrink(small, structure.restrict(keep), torch.ones(int(keep.sum()), dtype=torch.bool), x)
    assert not again.surgery.kept
