"""Numbers on modules that must follow a cut: widths, head counts, groups.

Widths of PyTorch's own layers are read off their parameters' new shapes. Numbers that the user's code reads
(``num_heads`` in a reshape) are found by where the trace saw them used, by value, and by the names people
give them; a wrong guess cannot pass, because a trial cut runs the model and the oracle compares outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from .labels import Array
from .ledger import Size
from .naming import CONVOLUTIONS, TRANSPOSED
from .types import Attribute

NAMES = {
    "heads": (
        "num_heads", "n_head", "n_heads", "nheads", "nhead", "num_head", "heads", "h", "head_count",
        "num_attention_heads", "num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_kv_head",
    ),
    "width": (
        "all_head_size", "inner_dim", "attn_dim", "inner_width", "inner_size", "qkv_dim", "proj_dim",
        "attention_dim", "total_head_dim", "dim_inner", "d_inner", "projection_size", "all_head_dim",
    ),
    "groups": ("groups", "n_groups", "num_groups"),
    "norm-groups": ("num_groups", "groups", "n_groups"),
    "norm-channels": ("num_channels",),
    "features": ("num_features",),
    "piece": (
        "split_size", "chunk_size", "width", "hidden_dim", "hidden_size", "intermediate_size", "inner_dim",
        "c", "half", "hidden_features", "hidden_channels", "embed_dim", "d_inner", "split_dim",
    ),
    "hidden": (
        "hidden_size", "hidden_dim", "hidden", "hidden_units", "hidden_channels", "n_hidden", "num_hidden", "nhid",
        "n_hid", "hid_dim", "hid_size", "h_dim", "d_hidden", "rnn_size", "rnn_dim", "rnn_units", "rnn_hidden",
        "rnn_hidden_size", "rnn_hidden_dim", "lstm_size", "lstm_dim", "lstm_units", "lstm_hidden", "lstm_hidden_size",
        "lstm_hidden_dim", "gru_size", "gru_dim", "gru_units", "gru_hidden", "gru_hidden_size", "gru_hidden_dim",
        "enc_hid_dim", "dec_hid_dim", "encoder_hidden_size", "decoder_hidden_size", "state_size", "units", "num_units",
    ),
    "repeats": ("num_key_value_groups", "n_rep", "num_queries_per_kv", "q_per_kv"),
    "flat": ("flat_features", "flat_size", "num_flat_features", "flatten_dim", "flattened", "num_features"),
}  # fmt: skip


def find_attributes(model: nn.Module, sizes: Sequence[Size], atom_of: Array) -> list[Attribute]:
    """Integer attributes of the modules in which sizes were used, matched by value and name."""
    found: dict[tuple[str, str, int | None], Attribute] = {}
    for size in sizes:
        ids = atom_of[size.ids]
        if not (ids >= 0).any():
            continue
        if size.role == "heads" and len(ids) > 1 and (ids == ids[0]).all():
            continue  # an index within one head: its count does not change
        for name in holders(model, size):
            found.setdefault((size.path, name, size.index), Attribute(size.path, name, size.index, ids))
    return list(found.values())


def holders(model: nn.Module, size: Size) -> list[str]:
    """Names of the module's attributes that may hold a size."""
    module = model.get_submodule(size.path)
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)):
        return []  # they, or what stands in for them, are set by their tensors
    if size.index is not None:
        return [size.attribute]
    held = vars(module)
    names = (size.attribute,) if size.attribute else NAMES[size.role]
    return [n for n in names if type(held.get(n)) is int and held[n] == size.value]


def layer_attributes(module: nn.Module) -> dict[str, Any]:
    """Widths of a PyTorch layer as its tensors say; empty for modules that hold none."""
    weight = getattr(module, "weight", None)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return _recurrent_attributes(module)
    if isinstance(module, (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.PReLU)):
        return _vector_attributes(module, weight)
    if weight is None or weight.dim() < 2:
        return {}
    shape = tuple(weight.shape)
    if isinstance(module, nn.Linear):
        return {"in_features": shape[1], "out_features": shape[0]}
    if isinstance(module, TRANSPOSED):
        return {"in_channels": shape[0], "out_channels": shape[1] * int(module.groups)}  # type: ignore[arg-type]
    if isinstance(module, CONVOLUTIONS):
        return {"in_channels": shape[1] * int(module.groups), "out_channels": shape[0]}  # type: ignore[arg-type]
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    if isinstance(module, nn.Bilinear):
        return {"out_features": shape[0], "in1_features": shape[1], "in2_features": shape[2]}
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # transformers' transposed linear layer
        return {"nf": shape[1], **({"nx": shape[0]} if hasattr(module, "nx") else {})}
    return {}


def _recurrent_attributes(module: nn.Module) -> dict[str, Any]:
    first = "" if isinstance(module, nn.RNNCellBase) else "_l0"
    given, recurrent, projection = (getattr(module, f"weight_{n}{first}", None) for n in ("ih", "hh", "hr"))
    if given is None or recurrent is None:
        return {}
    if projection is None:
        return {"input_size": given.shape[1], "hidden_size": recurrent.shape[1]}
    return {"input_size": given.shape[1], "hidden_size": projection.shape[1], "proj_size": projection.shape[0]}


def _vector_attributes(module: nn.Module, weight: Any) -> dict[str, Any]:
    if weight is None:
        weight = getattr(module, "running_mean", None)
    if weight is None:
        return {}
    if isinstance(module, nn.LayerNorm):
        return {"normalized_shape": tuple(weight.shape)}
    name = {nn.GroupNorm: "num_channels", nn.PReLU: "num_parameters"}.get(type(module), "num_features")
    return {name: int(weight.shape[0])}


def kept_attributes(attributes: Sequence[Attribute], keep: Array, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Values after a cut, only those that change."""
    alive = np.append(keep, True)
    out: dict[str, dict[str, Any]] = {}
    for attribute in attributes:
        count = int(alive[attribute.ids].sum())
        if count == len(attribute.ids):
            continue
        held = out.setdefault(attribute.path, {})
        if attribute.index is None:
            held[attribute.name] = count
        else:
            old = held.get(attribute.name, list(getattr(model.get_submodule(attribute.path), attribute.name)))
            old[attribute.index] = count
            held[attribute.name] = old
    return out
