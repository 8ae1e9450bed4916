"""A network without its Python: the graph that ``torch.export`` finds, as JSON, and a module built from it.

Why not torch's own file: ``torch.export.load`` unpickles, and its JSON too is executed as it is read: shape
expressions go through ``sympify`` (an ``eval``), guards through ``exec``, node names into generated source,
container types through ``import_module`` (torch 2.13: ``torch/_export/serde``, ``torch/export/_unlift.py``).
This format holds numbered nodes that name an allowed operator, and arguments that are numbers or earlier
nodes. The module that is built from it (see :mod:`.rebuild`) gets node names made there.
"""

from __future__ import annotations

import inspect
import keyword
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils._pytree import tree_map, tree_unflatten

from ..errors import ArtifactError
from .inputs import as_call, batch_of, batched, exporting, resized
from .manifest import TensorEntry
from .operators import IDLE, encode, spell
from .tensors import check_storable, entry_of

Captured = tuple[dict[str, Any], dict[str, Tensor], dict[str, TensorEntry], dict[str, str]]


def capture(model: nn.Module, example_inputs: Any) -> Captured:
    """Export a network.

    The batch axis stays free where the network allows it.

    Returns:
        The program as JSON values, its tensors, their entries, and the aliases among them.
    Raises:
        ArtifactError: torch cannot export the network, or the program cannot be written down.
    """
    exported = _export(model, example_inputs)
    for spec in exported.graph_signature.output_specs:
        if spec.kind != OutputKind.USER_OUTPUT:
            raise ArtifactError(
                f"the network writes into {spec.target!r} whenever it runs, which a saved program cannot; "
                "save it with a factory instead"
            )
    return _Writer(model, exported).written()


def _export(model: nn.Module, example_inputs: Any) -> ExportedProgram:
    # A batch of one would be taken for a constant of the network.
    batch = batch_of(example_inputs)
    wide = resized(example_inputs, 2) if batch == 1 else as_call(example_inputs)
    problem: Exception | None = None
    for (args, kwargs), free in ((wide, True), (as_call(example_inputs), False)):
        shapes = _free_batch(model, args, kwargs, max(batch, 2)) if free else None
        try:
            with exporting(model):
                return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
        except Exception as error:  # torch raises a dozen unrelated classes here
            problem = problem or error
    raise ArtifactError(
        f"torch.export cannot read {type(model).__name__}: {str(problem).splitlines()[0]}; "
        "save it with a factory (zoo:NAME or file.py:factory) instead"
    ) from problem


def _parameters(model: nn.Module, args: tuple[Any, ...]) -> list[str]:
    """The names in ``forward`` of positional arguments; without those that a starred one takes."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in kinds]
    return names[: len(args)]


def _free_batch(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int) -> dict[str, Any]:
    """``dynamic_shapes``: the first axis of every input as long as the batch may vary, the rest is fixed."""

    def shape(leaf: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(leaf, Tensor) and batched(leaf, batch) else None

    positional, named = tree_map(shape, args), tree_map(shape, kwargs)
    names = _parameters(model, args)
    shapes = dict(zip(names, positional))
    if len(names) < len(args):
        parameters = inspect.signature(model.forward).parameters.values()
        starred = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
        shapes[starred] = tuple(positional[len(names) :])
    return shapes | named


class _Writer:
    """Numbers the nodes of an exported graph: first stored tensors and inputs, then calls in order."""

    def __init__(self, model: nn.Module, exported: ExportedProgram) -> None:
        self.exported = exported
        self.model = model
        self.numbers: dict[torch.fx.Node, int] = {}
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, Tensor] = {}
        self.entries: dict[str, TensorEntry] = {}
        self.tied: dict[str, str] = {}
        self.inputs: list[dict[str, Any]] = []

    def written(self) -> Captured:
        leaves = self._placeholders()
        outputs = self._body(self.exported.graph_module, None)
        tree = tree_unflatten(list(outputs), self.exported.call_spec.out_spec)
        program = {"inputs": leaves, "nodes": self.nodes, "output": encode(_plain(tree), self._number)}
        return program, self.tensors, self.entries, self.tied

    def _number(self, node: torch.fx.Node) -> int:
        return self.numbers[node]

    def _add(self, node: torch.fx.Node | None, row: dict[str, Any]) -> int:
        self.nodes.append(row)
        if node is not None:
            self.numbers[node] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def _placeholders(self) -> Any:
        """Rows for stored tensors; returns the call's arguments as a tree of leaf numbers."""
        found = [node for node in self.exported.graph.nodes if node.op == "placeholder"]
        leaves: list[Any] = []
        names: dict[Any, str] = {}
        for node, spec in zip(found, self.exported.graph_signature.input_specs):
            if spec.kind == InputKind.USER_INPUT:
                is_tensor = isinstance(spec.arg, TensorArgument)
                if not is_tensor and not isinstance(spec.arg, ConstantArgument):
                    raise ArtifactError(f"input {node.name!r} is not a tensor or a constant; save with a factory")
                row = self._add(node, {"input": len(leaves)})
                leaves.append({"leaf": row, "shape": self._shape(node)} if is_tensor else {"constant": None})
                continue
            name = str(spec.target)
            self._tensor(name, spec, names)
            self._add(node, {"tensor": self.tied.get(name, name)})
        args, kwargs = tree_unflatten(leaves, self.exported.call_spec.in_spec)
        labels = _parameters(self.model, args)
        if len(labels) < len(args):
            labels += [f"arg{index}" for index in range(len(labels), len(args))]
        rows = [[name, _leaves(value)] for name, value in (*zip(labels, args), *kwargs.items())]
        for name, _ in rows:
            check_name(name)
        return rows

    def _shape(self, node: torch.fx.Node) -> list[Any]:
        """What the program takes: a length, ``[symbol, least, most]`` (one symbol, one length), or None."""
        shape: list[Any] = []
        for length in node.meta["val"].shape:
            expression = getattr(getattr(length, "node", None), "expr", None)
            if isinstance(length, int):
                shape.append(length)
            elif expression is None or not expression.is_Symbol:
                shape.append(None)
            else:
                limits = self.exported.range_constraints.get(expression)
                # "at least 2" is the exporter's own way of saying "any": 0 and 1 are constants to it.
                least = int(limits.lower) if limits is not None and limits.lower > 2 else 0
                most = int(limits.upper) if limits is not None and limits.upper < 2**31 else None
                shape.append([str(expression), least, most])
        return shape

    def _tensor(self, name: str, spec: Any, names: dict[Any, str]) -> None:
        exported = self.exported
        tensor = exported.state_dict.get(name)
        if tensor is None:
            tensor = exported.constants.get(name)
        if not isinstance(tensor, Tensor):
            raise ArtifactError(f"the network holds {name!r}, which is not a tensor; save it with a factory instead")
        check_storable(name, tensor)
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()) if tensor.numel() else id(tensor)
        if key in names:
            self.tied[name] = names[key]
            return
        names[key] = name
        role = {InputKind.PARAMETER: "parameter", InputKind.BUFFER: "buffer"}.get(spec.kind, "constant")
        self.tensors[name] = tensor.detach()
        self.entries[name] = entry_of(tensor, role, spec.persistent is not False and role != "constant")

    def _body(self, module: torch.fx.GraphModule, arguments: list[Any] | None) -> Any:
        """Write a graph's calls; ``arguments``: what a nested graph's placeholders stand for."""
        given = iter(arguments or [])
        for node in module.graph.nodes:
            if node.op == "placeholder" and arguments is not None:
                self.numbers[node] = self.numbers[next(given)]
            elif node.op == "call_function":
                self._call(module, node)
            elif node.op == "output":
                return node.args[0]
        raise ArtifactError("the exported graph has no output")

    def _call(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> None:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            self._inline(module, node)
            return
        name = spell(node.target)
        if name in IDLE:
            return
        row: dict[str, Any] = {"op": name, "args": [encode(a, self._number) for a in node.args]}
        if node.kwargs:
            row["kwargs"] = {key: encode(value, self._number) for key, value in node.kwargs.items()}
        self._add(node, row)

    def _inline(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> None:
        """Regions under ``no_grad`` or a disabled autocast compute what their content computes."""
        name = str(node.target)
        inner = next((a for a in node.args if isinstance(a, torch.fx.Node) and a.op == "get_attr"), None)
        allowed = name == "wrap_with_set_grad_enabled" or (name == "wrap_with_autocast" and node.args[2] is False)
        if inner is None or not allowed:
            raise ArtifactError(f"the network uses {name!r}, which a saved program cannot hold; save it with a factory")
        graph = getattr(module, str(inner.target))
        outputs = self._body(graph, list(node.args)[list(node.args).index(inner) + 1 :])
        self._add(node, {"op": "tuple", "args": [encode(list(outputs), self._number)]})


def check_name(name: Any) -> str:
    """A name that may become a parameter of the rebuilt ``forward``.

    Raises:
        ArtifactError: it is not an ordinary identifier.
    """
    plain = isinstance(name, str) and name.isidentifier() and name.isascii() and not name.startswith("__")
    if not plain or keyword.iskeyword(name) or name in ("self", "torch"):
        raise ArtifactError(f"a saved program's input is called {str(name)[:80]!r}, which is not a usable name")
    return str(name)


def _leaves(value: Any) -> Any:
    """The tree of one argument: leaf rows inside lists and dictionaries."""
    if isinstance(value, (list, tuple)):
        return {"list": [_leaves(v) for v in value]}
    if isinstance(value, dict) and set(value) not in ({"leaf", "shape"}, {"constant"}):
        return {"dict": [[k, _leaves(v)] for k, v in value.items()]}
    if not isinstance(value, dict):
        raise ArtifactError(f"an input is nested in a {type(value).__name__}; use tuples, lists and dictionaries")
    return value


def _plain(value: Any) -> Any:
    """Outputs as tuples, lists and dictionaries: other containers' classes are not part of a program."""
    if isinstance(value, torch.fx.Node) or value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value] if isinstance(value, list) else tuple(_plain(v) for v in value)
    raise ArtifactError(f"the network answers with a {type(value).__name__}; use tensors, tuples, lists, dictionaries")
