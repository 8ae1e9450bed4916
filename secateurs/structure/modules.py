"""Modules that stand in for PyTorch's own where those cannot have the shape that a cut leaves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PrunedMultiheadAttention(nn.MultiheadAttention):
    """Multi-head attention whose heads × head_dim may differ from embed_dim.

    ``nn.MultiheadAttention`` derives the width of a head from embed_dim, so it cannot lose a head. This
    subclass takes the place of its class on the same object: same parameters, same names, same call.
    Inputs and outputs are (length, batch, embed_dim), or batch first, or unbatched, as before.
    """

    def adopt(self) -> None:
        """Called once the class has been put in place."""
        # The encoder layers' fused fast path assumes embed_dim = heads × head_dim; this turns it off.
        self._qkv_same_embed_dim = False

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        batched = query.dim() == 3
        if not batched:
            query, key, value = (t.unsqueeze(0) for t in (query, key, value))
            key_padding_mask = key_padding_mask.unsqueeze(0) if key_padding_mask is not None else None
        elif not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = self._project(query, key, value)
        k, v, extra = self._extend(k, v)
        heads = [t.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for t in (q, k, v)]
        mask = self._mask(attn_mask, key_padding_mask, heads[0], heads[1].shape[2], extra)
        causal = is_causal and mask is None
        y, weights = self._attend(heads[0], heads[1], heads[2], mask, need_weights, causal)
        y = F.linear(y.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return y.squeeze(0), None if weights is None else weights.squeeze(0)
        return (y if self.batch_first else y.transpose(0, 1)), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        inner = self.num_heads * self.head_dim
        packed = self.in_proj_weight
        weights = (
            packed.split(inner) if packed is not None else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        biases = self.in_proj_bias.split(inner) if self.in_proj_bias is not None else (None,) * 3
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]

    def _extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        extra = 0
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(k.shape[0], 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(v.shape[0], 1, -1)], 1)
            extra += 1
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
            extra += 1
        return k, v, extra

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, keys: int, extra: int
    ) -> Tensor | None:
        total: Tensor | None = None
        for given in (attn_mask, padding):
            if given is None:
                continue
            mask = given
            if mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask, float("-inf"))
            mask = F.pad(mask, (0, extra)) if extra else mask
            if given is padding:
                mask = mask[:, None, None, :]
            elif mask.dim() == 3:
                mask = mask.view(q.shape[0], -1, q.shape[2], keys)
            total = mask if total is None else total + mask
        return total

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal), None
        scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        if mask is not None:
            scores = scores + mask
        weights = F.dropout(scores.softmax(-1), dropout, self.training)
        return weights @ v, weights


REGISTERED: dict[str, type[nn.Module]] = {"PrunedMultiheadAttention": PrunedMultiheadAttention}
