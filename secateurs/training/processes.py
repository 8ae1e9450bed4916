"""One process or several: made by Accelerate, agreed with by collectives, wrapped for gradient averaging."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import RunError, SecateursError

PRECISIONS = ("no", "bf16", "fp16")
T = TypeVar("T")


def make_accelerator(mixed_precision: str) -> Accelerator:
    """An Accelerator for this process, as ``accelerate launch`` or ``torchrun`` set it up.

    Raises:
        RunError: a precision that is unknown or that the device cannot do.
    """
    if mixed_precision not in PRECISIONS:
        raise RunError(f"mixed_precision={mixed_precision!r}: known: {', '.join(PRECISIONS)}")
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed_precision:
        # Accelerate keeps one precision per process; a second training may use another.
        AcceleratorState._reset_state()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # Under torchrun without a GPU, Accelerate would take each process for the only one.
    cpu = several and not torch.accelerator.is_available()
    try:
        accelerator = Accelerator(mixed_precision=mixed_precision, cpu=cpu)
    except (ValueError, ImportError) as error:
        raise RunError(f"mixed_precision={mixed_precision!r} does not work on this device: {error}") from error
    if accelerator.num_processes > 1:
        atexit.register(_part)
    return accelerator


def _part() -> None:
    # gloo's threads may abort a process that ends without this, or while a wrapper still holds the group.
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


def average_gradients(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """``model`` so wrapped that gradients are means over the processes; itself when there is one.

    The wrapper is torch's, not Accelerate's, for it must be made anew whenever the model has been shrunk, and
    Accelerate's would patch the user's ``forward``.
    """
    if accelerator.num_processes == 1:
        return model
    devices = None if accelerator.device.type == "cpu" else [accelerator.device]
    return DistributedDataParallel(model, device_ids=devices)


def means(values: list[float], accelerator: Accelerator) -> list[float]:
    """The means over the processes of equally long lists, on all of them. NaN and infinity stay."""
    if accelerator.num_processes == 1 or not values:
        return values
    shared = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    torch.distributed.all_reduce(shared)
    return (shared / accelerator.num_processes).tolist()


def least(value: int, accelerator: Accelerator) -> int:
    """The least of the processes' values, on all of them."""
    if accelerator.num_processes == 1:
        return value
    shared = torch.tensor([value], device=accelerator.device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MIN)
    return int(shared)


def decided(make: Callable[[], T], accelerator: Accelerator) -> T:
    """What ``make`` returns on the main process, on all of them; an error of ours there is raised everywhere.

    For what must not be done or measured twice: opening a folder, timing a network.
    """
    if accelerator.num_processes == 1:
        return make()
    held: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            held = [(make(), None)]
        except SecateursError as error:
            held = [(None, error)]
    torch.distributed.broadcast_object_list(held, 0, device=accelerator.device)
    value, failure = held[0]
    if failure is not None:
        raise failure
    return value


def share_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Give all processes the first one's buffers (running statistics), which are those that are saved."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def fitting(batch_size: int, count: int, world: int) -> int:
    """The global batch size, cut down where the data are fewer.

    Args:
        batch_size: asked for, over all processes.
        count: training examples.
        world: processes.
    Raises:
        RunError: below 1, not evenly shared by the processes, or there are fewer examples than processes.
    """
    if batch_size < 1:
        raise RunError(f"batch size {batch_size}: must be at least 1")
    if batch_size % world:
        raise RunError(f"batch size {batch_size} cannot be shared evenly by {world} processes; use a multiple")
    fit = min(batch_size, count)
    fit -= fit % world
    if fit == 0:
        raise RunError(f"{count} training examples do not go round {world} processes; use fewer processes")
    return fit
