"""Places as people name them: ``layer1.0.conv1.weight[out]``."""

from __future__ import annotations

from torch import nn

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def role(module: nn.Module, tensor: str, axis: int, rank: int) -> str:
    """What an axis of a module's tensor means: "out", "in", "kernel", "rows", or its number."""
    if rank == 1:
        return "out" if tensor == "bias" else "channel"
    if isinstance(module, TRANSPOSED):
        return ("in", "out")[axis] if axis < 2 else "kernel"
    if isinstance(module, CONVOLUTIONS):
        return ("out", "in")[axis] if axis < 2 else "kernel"
    if isinstance(module, (nn.Linear, nn.RNNBase, nn.RNNCellBase)) or (
        tensor.endswith("weight") and isinstance(module, nn.MultiheadAttention)
    ):
        return ("out", "in")[axis]
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return ("rows", "width")[axis]
    return str(axis)


def place(model: nn.Module, tensor: str, axis: int, rank: int) -> str:
    """``tensor[role]``, where a vector needs no role."""
    path, _, leaf = tensor.rpartition(".")
    if rank == 1:
        return tensor
    return f"{tensor}[{role(model.get_submodule(path), leaf, axis, rank)}]"


def inside(place: str, *modules: str) -> bool:
    """Whether a tensor or module is one of these modules, by path, or lies in one; all lie in the model, ``""``."""
    return any(not path or place == path or place.startswith((path + ".", path + "[")) for path in modules)
