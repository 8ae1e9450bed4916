"""Running a network to look inside it, and leaving it as it was.

A run ends as soon as what was asked for has been seen: a layer near the input costs no pass through the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..structure.copying import no_fastpath

Look: TypeAlias = Callable[[nn.Module, Tensor, Tensor], None]
"""Called with a module, what it was given, and what it returned."""


class _Seen(BaseException):
    """All was seen; not an Exception, so that a model's own handlers let it pass."""


@contextmanager
def still(*models: nn.Module) -> Iterator[None]:
    """The models in evaluation mode; modes and buffers are put back afterwards."""
    modes = [(m, m.training) for model in models for m in model.modules()]
    held = [(b, b.detach().clone()) for model in models for b in model.buffers()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, value in held:
                buffer.copy_(value)


def run(model: nn.Module, x: Tensor, watched: Mapping[nn.Module, Look], calls: int | None = None) -> None:
    """Run a model on a batch without gradients, to the end or until the watched modules were called ``calls`` times in
    all. Whatever it draws is drawn from the same state each time, and torch's own state stays."""
    left = calls

    def hook(look: Look) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            nonlocal left
            look(module, args[0] if args else next(iter(kwargs.values())), out)
            if left is not None:
                left -= 1
                if left == 0:
                    raise _Seen

        return seen

    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with ExitStack() as stack:
        for module, look in watched.items():
            stack.callback(module.register_forward_hook(hook(look), with_kwargs=True).remove)
        stack.enter_context(torch.random.fork_rng(devices=devices))
        torch.manual_seed(0)
        # Fused transformer layers do not call the modules that they are made of.
        stack.enter_context(no_fastpath())
        stack.enter_context(torch.no_grad())
        with suppress(_Seen):
            model(x.to(device))
