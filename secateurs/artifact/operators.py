"""Which operators a saved program may name, and how values are spelled in JSON.

A program names operators and nothing else: tensor operators of torch's own namespaces, found through the
dispatcher, and a closed list of integer arithmetic for shapes. An operator that takes a string is refused
unless the string is a known kind of option (``aten.from_file`` takes a file name, and may not be named).
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch

from ..errors import ArtifactError

_NAMESPACES = ("aten", "prims")
_NAME = re.compile(r"([a-z]+)\.([A-Za-z_][A-Za-z_0-9]*)\.([A-Za-z_0-9]+)")
_STRINGS = frozenset(
    [
        "UPLO",
        "approximate",
        "driver",
        "equation",
        "indexing",
        "interpolation",
        "mode",
        "norm",
        "ord",
        "p",
        "pad_mode",
        "padding",
        "padding_side",
        "reduce",
        "rounding_mode",
        "side",
    ]
)
_SYMBOLIC: dict[str, Callable[..., Any]] = {
    f"py.{name}": getattr(operator, name)
    for name in [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "neg",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "and_",
        "or_",
        "getitem",
    ]
}
_SYMBOLIC |= {f"py.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")}
_SYMBOLIC |= {
    f"sym.{name}": getattr(torch, f"sym_{name}")
    for name in ("int", "float", "max", "min", "not", "sqrt", "ite", "sum")
    if hasattr(torch, f"sym_{name}")
}
_SPELLED = {function: name for name, function in _SYMBOLIC.items()} | {round: "py.round"}
_SYMBOLIC["py.round"] = round

# They check and return nothing: the exporter's beliefs about sizes, not part of the network's function.
IDLE = frozenset(
    {
        "aten._assert_scalar.default",
        "aten._assert_tensor_metadata.default",
        "aten._assert_async.default",
        "aten._assert_async.msg",
        "aten.sym_constrain_range.default",
        "aten.sym_constrain_range_for_size.default",
    }
)
_DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_LAYOUTS = {"strided": torch.strided}
_FORMATS = {
    str(value).removeprefix("torch."): value
    for value in (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
}
_CONSTANTS: dict[str, dict[str, Any]] = {"dtype": _DTYPES, "layout": _LAYOUTS, "format": _FORMATS}
_KINDS = {torch.dtype: "dtype", torch.layout: "layout", torch.memory_format: "format"}


def spell(target: Any) -> str:
    """The name of an operator in a program.

    Raises:
        ArtifactError: it may not be in one.
    """
    if isinstance(target, torch._ops.OpOverload):
        name = f"{target.namespace}.{target._opname}.{target._overloadname}"
        if name not in IDLE:
            find(name)
        return name
    if (name := _SPELLED.get(target, "")) != "":
        return name
    said = getattr(target, "__name__", str(target))
    raise ArtifactError(f"the network uses {said!r}, which a saved program cannot hold; save it with a factory instead")


def find(name: str) -> Callable[..., Any]:
    """The operator of that name.

    Raises:
        ArtifactError: unknown here, or not allowed in a program.
    """
    if name in _SYMBOLIC:
        return _SYMBOLIC[name]
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _NAMESPACES:
        raise ArtifactError(
            f"operator {name!r} may not be in a saved program, only those of {' and '.join(_NAMESPACES)}; "
            "save the network with a factory instead"
        )
    packet = getattr(getattr(torch.ops, match[1]), match[2], None)
    found = getattr(packet, match[3], None) if isinstance(packet, torch._ops.OpOverloadPacket) else None
    if not isinstance(found, torch._ops.OpOverload):
        raise ArtifactError(f"operator {name!r} does not exist in torch {torch.__version__}; load it with a newer one")
    schema = found._schema
    strings = [argument.name for argument in schema.arguments if "str" in str(argument.type)]
    tensors = any("Tensor" in str(value.type) for value in (*schema.arguments, *schema.returns))
    if not tensors or not schema.returns or not _STRINGS.issuperset(strings):
        raise ArtifactError(f"operator {name!r} may not be in a saved program: it does more than compute tensors")
    return found


def encode(value: Any, number: Callable[[torch.fx.Node], int]) -> Any:
    """An argument as JSON. ``number`` gives the index of a node.

    Raises:
        ArtifactError: a value with no spelling.
    """
    if isinstance(value, torch.fx.Node):
        return {"node": number(value)}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        items = [encode(item, number) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {"dict": [[encode(k, number), encode(v, number)] for k, v in value.items()]}
    if isinstance(value, torch.device):
        return {"device": value.type}
    if type(value) in _KINDS:
        return {_KINDS[type(value)]: str(value).removeprefix("torch.")}
    raise ArtifactError(
        f"the network's program holds a {type(value).__name__} ({value!r}), which JSON cannot; save it with a factory"
    )


def decode(value: Any, nodes: list[Any], device: torch.device) -> Any:
    """Inverse of :func:`encode`; every device becomes ``device``.

    Raises:
        ArtifactError: not a spelling of anything.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [decode(item, nodes, device) for item in value]
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "node" and type(content) is int and 0 <= content < len(nodes):
            return nodes[content]
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if kind == "tuple" and isinstance(content, list):
            return tuple(decode(item, nodes, device) for item in content)
        if kind == "dict" and isinstance(content, list) and all(isinstance(p, list) and len(p) == 2 for p in content):
            return {_key(k): decode(v, nodes, device) for k, v in content}
        if kind == "device":
            return device
        if kind in _CONSTANTS and isinstance(content, str) and content in _CONSTANTS[kind]:
            return _CONSTANTS[kind][content]
    raise ArtifactError(f"a saved program holds {str(value)[:80]!r}, which means nothing")


def _key(key: Any) -> str | int:
    if not isinstance(key, (str, int)):
        raise ArtifactError(f"a saved program holds the dictionary key {str(key)[:80]!r}, which is not a name")
    return key
