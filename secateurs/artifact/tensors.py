"""A model's tensors to safetensors and back: shared storage stored once, dtypes and memory order kept.

Names and values come from the modules themselves and not from ``state_dict``, whose hooks may rename; for an
ordinary model the two agree, so that the file also loads with ``load_state_dict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArtifactError
from .inputs import dtype_name
from .manifest import RESAVE, TensorEntry


def gather(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, TensorEntry], dict[str, str]]:
    """Tensors by name, their entries, and aliases (name → the name under which the storage is saved).

    Raises:
        ArtifactError: state that safetensors cannot hold; the message names it.
    """
    _refuse_extra_state(model)
    tensors: dict[str, Tensor] = {}
    entries: dict[str, TensorEntry] = {}
    tied: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, tensor, role, persistent in _named(model):
        check_storable(name, tensor)
        same = _identity(tensor)
        if same in seen:
            tied[name] = seen[same]
            continue
        seen[same] = name
        tensors[name] = tensor.detach()
        entries[name] = entry_of(tensor, role, persistent)
    return tensors, entries, tied


def entry_of(tensor: Tensor, role: str, persistent: bool = True) -> TensorEntry:
    """What the manifest says of a tensor."""
    return TensorEntry(
        shape=list(tensor.shape),
        dtype=dtype_name(tensor.dtype),
        role=role,  # type: ignore[arg-type]
        persistent=persistent,
        requires_grad=tensor.requires_grad,
        order=_order(tensor),
    )


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Save to safetensors; every tensor contiguous, on the CPU and with storage of its own."""
    from safetensors.torch import save_file

    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        path,
        metadata={"format": "pt"},
    )


def read(path: Path, entries: dict[str, TensorEntry], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Load a file whose content must be exactly what the manifest lists.

    Raises:
        ArtifactError: not a safetensors file, or other names, shapes or dtypes than listed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            names = set(file.keys())
            if names != set(entries):
                odd = sorted(names ^ set(entries))
                raise ArtifactError(f"{str(path)!r} does not hold the tensors its manifest lists: {odd[0]}; {RESAVE}")
            # Copied out of the mapped file: what happens to it later cannot touch the model.
            return {name: _laid_out(path, name, file.get_tensor(name), entries[name], device) for name in sorted(names)}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged: {error}; {RESAVE}") from error


def restore(
    model: nn.Module, tensors: dict[str, Tensor], entries: dict[str, TensorEntry], tied: dict[str, str]
) -> None:
    """Put tensors into a model that has exactly these names and shapes; dtypes follow the tensors.

    Raises:
        ArtifactError: names or shapes differ; the message names the first.
    """
    own = {name: tensor for name, tensor, _, _ in _named(model)}
    names = set(entries) | set(tied)
    if set(own) != names:
        lacking, surplus = sorted(names - set(own)), sorted(set(own) - names)
        said = [f"it has no {lacking[0]!r}"] * bool(lacking) + [f"it has {surplus[0]!r} besides"] * bool(surplus)
        raise ArtifactError(f"the rebuilt network does not fit the saved one: {' and '.join(said)}")
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            raise ArtifactError(
                f"the rebuilt network does not fit the saved one: {name!r} has shape "
                f"{tuple(own[name].shape)} and the saved one {tuple(tensor.shape)}"
            )
    for name, tensor in tensors.items():
        own[name].data = tensor
        if own[name].is_floating_point() or own[name].is_complex():
            own[name].requires_grad_(entries[name].requires_grad)
    for alias, name in tied.items():
        if _identity(own[alias]) != _identity(own[name]):
            _set(model, alias, own[name])


def check_storable(name: str, tensor: Any) -> None:
    """Raises: ArtifactError for a tensor that is sparse, quantised, on no device, or of its own class."""
    ordinary = type(tensor) in (Tensor, nn.Parameter, nn.Buffer)
    if not ordinary or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        what = type(tensor).__name__ if not ordinary else f"{tensor.layout} {tensor.dtype} on {tensor.device}"
        raise ArtifactError(f"{name!r} is a {what}, which safetensors cannot hold; make it an ordinary dense tensor")


def _refuse_extra_state(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ArtifactError(
                f"module {path or type(model).__name__!r} keeps state of its own (get_extra_state), which is "
                "not tensors and could only be saved by pickle; keep it in buffers instead"
            )


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor, str, bool]]:
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, parameter, "parameter", True
    for path, module in model.named_modules(remove_duplicate=False):
        for key, buffer in module._buffers.items():
            if buffer is not None:
                name = f"{path}.{key}" if path else key
                yield name, buffer, "buffer", key not in module._non_persistent_buffers_set


def _identity(tensor: Tensor) -> Any:
    """Equal for two names of the same memory seen the same way; empty tensors are never shared."""
    if tensor.numel() == 0:
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _order(tensor: Tensor) -> list[int] | None:
    """Axes from the outermost in memory to the innermost, where that is not their own order."""
    if tensor.is_contiguous() or not torch.ops.aten.is_non_overlapping_and_dense(tensor.detach()):
        return None
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))


def _laid_out(path: Path, name: str, tensor: Tensor, entry: TensorEntry, device: torch.device | str) -> Tensor:
    if list(tensor.shape) != entry.shape or dtype_name(tensor.dtype) != entry.dtype:
        raise ArtifactError(
            f"{str(path)!r}: {name!r} is {dtype_name(tensor.dtype)} of shape {list(tensor.shape)}, "
            f"and the manifest says {entry.dtype} of shape {entry.shape}; {RESAVE}"
        )
    if entry.order is None:
        return tensor.clone().to(device)
    if sorted(entry.order) != list(range(tensor.ndim)):
        raise ArtifactError(f"{str(path)!r}: {name!r} has no memory order {entry.order}; {RESAVE}")
    inverse = [entry.order.index(axis) for axis in range(tensor.ndim)]
    return tensor.permute(entry.order).clone(memory_format=torch.contiguous_format).permute(inverse).to(device)


def _set(model: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, key = name.rpartition(".")
    setattr(model.get_submodule(path), key, tensor)  # not register_parameter: recurrent modules watch setattr
