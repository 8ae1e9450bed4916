"""What stands where a block was: it hands its input on, in the form that its caller expects."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from torch import nn

# The position of an argument (−1: given by keyword only) and its name ("": it has none).
Source = tuple[int, str]


class Wiring(BaseModel):
    """Which arguments a call returns, and in what form.

    Attributes:
        form: a tensor, or a tuple or list of ``items``.
        items: for each item that is returned, the argument that it equals; None where it is None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["tensor", "tuple", "list"] = "tensor"
    items: tuple[Source | None, ...]


class Passthrough(nn.Module):
    """Returns what it is given, whatever else comes with it.

    ``nn.Identity`` for modules that take several arguments, or return a tuple.
    """

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self.form, self.items = wiring.form, wiring.items

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = [None if item is None else given(item, args, kwargs) for item in self.items]
        return out[0] if self.form == "tensor" else out if self.form == "list" else tuple(out)


def given(source: Source, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The argument of a call that ``source`` names."""
    position, name = source
    return args[position] if 0 <= position < len(args) else kwargs[name]


def parameters_of(module: nn.Module) -> list[inspect.Parameter]:
    """The parameters of a module's ``forward``; none where Python cannot tell."""
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def bypass(model: nn.Module, path: str, wiring: Wiring) -> None:
    """Put a module that hands its input on in the place of ``path``."""
    old = model.get_submodule(path)
    parent, _, leaf = path.rpartition(".")
    taken = [p.kind for p in parameters_of(old)]
    alone = taken in ([inspect.Parameter.POSITIONAL_ONLY], [inspect.Parameter.POSITIONAL_OR_KEYWORD])
    plain = alone and wiring.form == "tensor" and wiring.items[0] is not None and wiring.items[0][0] == 0
    new = nn.Identity() if plain else Passthrough(wiring)
    for name, value in _plain(old):
        if not hasattr(new, name):
            setattr(new, name, value)
    new.train(old.training)
    setattr(model.get_submodule(parent), leaf, new)


def _plain(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Settings that code around a block reads off it or its parts: numbers, strings, flags; no tensors."""
    for name, value in vars(module).items():
        if not name.startswith("_") and (value is None or isinstance(value, (bool, int, float, str))):
            yield name, value
    for name, child in module.named_children():
        yield name, SimpleNamespace(**dict(_plain(child)))
