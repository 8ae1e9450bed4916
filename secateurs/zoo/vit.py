"""A small vision transformer (Dosovitskiy et al., 2021): pre-norm, GELU, mean pooling, no class token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention with q, k and v in one matrix.

    Shapes are read from ``num_heads`` and ``head_dim``, not from the input's width, so that the layer
    still runs after heads were removed and ``num_heads`` was set to what is left.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.head_dim = width // heads
        self.qkv = nn.Linear(width, 3 * heads * self.head_dim)
        self.proj = nn.Linear(heads * self.head_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, self.num_heads * self.head_dim))


class Block(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Patches → transformer blocks → mean over tokens → linear."""

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
    ) -> None:
        super().__init__()
        channels, height, side = input_shape
        tokens = (height // patch) * (side // patch)
        self.patch = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.zeros(1, tokens, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) → (batch, classes)."""
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x).mean(1))


def vit_tiny(classes: int, input_shape: Sequence[int]) -> ViT:
    """Width 96, four blocks of four heads, MLPs of 192; patches of 4, or of 2 under 16 pixels."""
    patch = 4 if min(input_shape[1:]) >= 16 else 2
    return ViT(input_shape, classes, patch=patch, width=96, depth=4, heads=4, hidden=192)
