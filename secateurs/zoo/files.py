"""The user's own Python file, named on the command line as ``file.py:name``, imported by its path."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import SecateursError


def is_file(spec: str) -> bool:
    """Whether ``spec`` means a Python file (``file.py:name`` or a bare ``file.py``)."""
    return spec.endswith(".py") or spec.rpartition(":")[0].endswith(".py")


def load_attribute(spec: str, error: type[SecateursError], *, example: str) -> Callable[..., Any]:
    """The callable that ``file.py:name`` names. This executes the file: it is the user's own program.

    The same file with the same content is imported once in a process, so that ``m.py:build`` and
    ``m.py:loaders`` share their module. Its folder joins the end of ``sys.path`` so that it may
    import its neighbours.

    Args:
        spec: path, colon, attribute.
        error: class of the error to raise.
        example: attribute name to show in messages.
    Raises:
        error: no such file, the file fails to import, or it defines no such callable.
    """
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, name = spec, ""
    module = _import(Path(path), spec, error)
    defined = sorted(
        k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
    )
    has = "it defines " + ", ".join(defined) if defined else "it defines no functions"
    if not name:
        raise error(f"{spec!r} does not say what to call in the file; write {path}:{example} ({has})")
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, defined, n=1)
        hint = f"did you mean {path}:{near[0]}? " if near else ""
        raise error(f"{spec!r}: the file has no {name!r}; {hint}({has})")
    found = getattr(module, name)
    if not callable(found):
        raise error(f"{spec!r} is a {type(found).__name__}, not a function; {has}")
    return found


def call(function: Callable[..., Any], **offers: Any) -> Any:
    """Call ``function`` with those of ``offers`` that its signature has a parameter for."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return function()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return function(**offers)
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return function(**{k: v for k, v in offers.items() if k in names})


def _import(path: Path, spec: str, error: type[SecateursError]) -> ModuleType:
    if not path.is_file():
        raise error(f"{spec!r}: there is no file {str(path)!r} (looked in {str(Path.cwd())!r})")
    path = path.resolve()
    content = path.read_bytes()
    digest = hashlib.sha256(str(path).encode() + b"\0" + content).hexdigest()[:12]
    module_name = f"secateurs_user_{path.stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    # Last on the path: the user's neighbours are found, and shadow nothing that is installed.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    found = importlib.util.spec_from_file_location(module_name, path)
    assert found is not None and found.loader is not None, path
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module  # dataclasses and worker processes look it up there
    try:
        found.loader.exec_module(module)
    except Exception as problem:
        del sys.modules[module_name]
        raise error(f"{spec!r}: importing the file failed: {type(problem).__name__}: {problem}") from problem
    return module
