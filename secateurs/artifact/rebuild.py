"""A module from a saved program: every node is checked before the module exists.

The module has the saved network's own tree of names and one method, which torch.fx writes from the graph. It is not a
``GraphModule``, whose attributes (``code``, ``graph``, …) are names that a network may have given to its parts.
"""

from __future__ import annotations

import operator
import re
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import ArtifactError
from .manifest import TensorEntry
from .operators import decode, find
from .program import check_name

# What torch lets people name modules, but nothing that would end a string in generated source.
_PART = r"[A-Za-z_0-9 \-+*/:;,=<>|@#&()\[\]]+"
_ATTRIBUTE = re.compile(rf"{_PART}(\.{_PART})*")


def rebuild(
    program: Any,
    tensors: dict[str, Tensor],
    entries: dict[str, TensorEntry],
    tied: dict[str, str],
    device: torch.device,
) -> nn.Module:
    """Build the module that a program describes, in eval mode.

    Args:
        program: the content of ``program.json``.
        tensors, entries, tied: what it may refer to.
        device: where tensors lie and new ones are made.
    Raises:
        ArtifactError: the program is not one this library wrote.
    """
    try:
        # In the order of the program, which is that of the network's own parameters.
        used = [row["tensor"] for row in program["nodes"] if "tensor" in row]
        module = _root({name: tensors[name] for name in used if name in tensors}, entries)
        module.__class__ = _running(program, frozenset(tensors), device)
        guard = ShapeGuard([(check_name(name), tree) for name, tree in program["inputs"]])
    except (
        TypeError,
        KeyError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise ArtifactError(f"the saved program is not valid: {type(error).__name__}: {error}") from error
    _complete(module, entries, tied)
    # What was a constant for the exporter (a size, usually) would be silently wrong on other inputs.
    module.register_forward_pre_hook(guard, with_kwargs=True)
    return module.eval()


def _running(program: Any, tensors: frozenset[str], device: torch.device) -> Any:
    """The class of a module that holds these tensors and runs a program on them."""
    graph = fx.Graph()
    leaves: dict[int, fx.Node] = {}
    for name, tree in program["inputs"]:
        _unpack(graph, _placeholder(graph, name, tree), tree, leaves)
    built: list[Any] = []
    for row in program["nodes"]:
        built.append(_node(graph, row, built, leaves, tensors, device))
    graph.output(decode(program["output"], built, device))
    graph.lint()
    code = graph.python_code("self")
    names = dict(code.globals)
    exec(compile(code.src, f"<saved program {id(graph)}>", "exec"), names)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        # The class is made where it is needed, so copies and pickles make it from the program.
        return _blank, (program, tensors, device), nn.Module.__reduce_ex__(self, 2)[2]

    members = {"forward": names["forward"], "train": _train, "__reduce_ex__": reduce, "__module__": __name__}
    return type("Program", (nn.Module,), members)


def _train(self: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        warnings.warn(
            "this network is a saved program of evaluation mode: its weights can be trained, but dropout stays off and "
            "running statistics stay as they are; save it with a factory to get one that trains as usual",
            stacklevel=2,
        )
    return nn.Module.train(self, mode)


def _blank(program: Any, tensors: frozenset[str], device: torch.device) -> nn.Module:
    made = _running(program, tensors, device)
    return made.__new__(made)


class ShapeGuard:
    """Refuses inputs of shapes that the program was not exported for, before it runs."""

    def __init__(self, inputs: list[tuple[str, dict[str, Any]]]) -> None:
        self.inputs = inputs
        for name, tree in inputs:  # every shape is read once here, so that a forged one shows at loading
            self._check(name, tree, None, {})

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        lengths: dict[str, int] = {}
        for (name, tree), value in zip(self.inputs, args):
            self._check(name, tree, value, lengths)
        for name, tree in self.inputs[len(args) :]:
            if name in kwargs:
                self._check(name, tree, kwargs[name], lengths)

    def _check(self, name: str, tree: dict[str, Any], value: Any, lengths: dict[str, int]) -> None:
        if "leaf" in tree:
            limits = [_limits(length) for length in tree["shape"]]
            if isinstance(value, Tensor):
                _match(name, value, limits, lengths)
            return
        for place, child in [*enumerate(tree.get("list", [])), *tree.get("dict", [])]:
            self._check(f"{name}[{place!r}]", child, None if value is None else value[place], lengths)


def _limits(length: Any) -> tuple[str | None, int, float]:
    """(symbol or None, least, most) of one axis."""
    if length is None:
        return None, 0, float("inf")
    if isinstance(length, int):
        return None, length, length
    symbol, least, most = length
    return str(symbol), int(least), float("inf") if most is None else int(most)


def _match(name: str, value: Tensor, limits: list[tuple[str | None, int, float]], lengths: dict[str, int]) -> None:
    fits = value.ndim == len(limits)
    for size, (symbol, least, most) in zip(value.shape, limits):
        fits = fits and least <= size and (most == float("inf") or size <= most)
        fits = fits and (symbol is None or lengths.setdefault(symbol, size) == size)
    if not fits:
        wanted = ", ".join(symbol or ("any" if most != least else str(least)) for symbol, least, most in limits)
        raise ValueError(
            f"input {name!r} has shape {tuple(value.shape)}, and this saved program takes ({wanted}); "
            "save the network with a factory to keep other shapes"
        )


def _node(
    graph: fx.Graph,
    row: dict[str, Any],
    built: list[Any],
    leaves: dict[int, fx.Node],
    tensors: frozenset[str],
    device: torch.device,
) -> Any:
    if "tensor" in row:
        if row["tensor"] not in tensors:
            raise ArtifactError(f"the saved program uses {str(row['tensor'])[:80]!r}, which is not stored")
        return graph.create_node("get_attr", row["tensor"])
    if "input" in row:
        return leaves.get(len(built))  # None for a constant: the program has its value where it is used
    arguments = decode(row["args"], built, device)
    if row["op"] == "tuple":
        return tuple(arguments[0])
    target = find(row["op"])
    keywords = {check_keyword(key): decode(value, built, device) for key, value in row.get("kwargs", {}).items()}
    if target is operator.getitem and isinstance(arguments[0], (tuple, list)):
        return arguments[0][arguments[1]]  # of an inlined region: no call is needed
    return graph.call_function(target, tuple(arguments), keywords)  # type: ignore[arg-type]


def check_keyword(name: str) -> str:
    """``self`` and ``from`` are names that operators do use; anything else must be an ordinary one."""
    return name if name in ("self", "from") else check_name(name)


def _placeholder(graph: fx.Graph, name: str, tree: dict[str, Any]) -> fx.Node:
    check_name(name)
    if "constant" in tree:  # whatever is passed, the program has the value it was exported with
        return graph.placeholder(name, default_value=None)
    return graph.placeholder(name)


def _unpack(graph: fx.Graph, node: fx.Node, tree: dict[str, Any], leaves: dict[int, fx.Node]) -> None:
    kind, content = next(iter(tree.items()))
    if kind == "leaf":
        leaves[int(content)] = node
    elif kind == "list":
        for index, child in enumerate(content):
            _unpack(graph, graph.call_function(operator.getitem, (node, index)), child, leaves)
    elif kind == "dict":
        for key, child in content:
            if not isinstance(key, (str, int)):
                raise ArtifactError(f"a saved program's input has the key {str(key)[:80]!r}")
            _unpack(graph, graph.call_function(operator.getitem, (node, key)), child, leaves)
    elif kind != "constant":
        raise ArtifactError(f"a saved program's input is {str(kind)[:80]!r}, which means nothing")


def _root(tensors: dict[str, Tensor], entries: dict[str, TensorEntry]) -> nn.Module:
    """Empty modules that hold the tensors under the names they had."""
    root = nn.Module()
    for name, tensor in tensors.items():
        entry = entries[name]
        _attach(root, name, nn.Parameter(tensor, entry.requires_grad) if entry.role == "parameter" else tensor)
    return root


def _attach(root: nn.Module, name: str, value: Tensor) -> None:
    if not _ATTRIBUTE.fullmatch(name) or "__" in name:
        raise ArtifactError(f"a saved tensor is called {name[:80]!r}, which is not a usable name")
    module = root
    *path, key = name.split(".")
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module._modules[part]  # type: ignore[assignment]
    if isinstance(value, nn.Parameter):
        module.register_parameter(key, value)
    else:
        module.register_buffer(key, value)


def _complete(module: nn.Module, entries: dict[str, TensorEntry], tied: dict[str, str]) -> None:
    """Second names, and which buffers are not part of the state."""
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    for alias, name in tied.items():
        if name not in held:
            raise ArtifactError(f"the saved network ties {alias[:80]!r} to {name[:80]!r}, which is not stored")
        _attach(module, alias, held[name])
    for name in held:
        if not entries[name].persistent:
            path, _, key = name.rpartition(".")
            module.get_submodule(path)._non_persistent_buffers_set.add(key)
