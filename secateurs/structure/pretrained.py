"""The configuration of a model that is saved with one, after a cut.

``from_pretrained`` calls the model's class with ``model.config`` and fills what that builds from a file. So a
configuration tells the truth about a cut network exactly if building from it gives the tensors that are there.
It is found that way, too, without memory or arithmetic: the class is called once with each number changed that
may count heads or widths; which tensors move then, and how far, says what the number must be for them to be as
they were cut. Where layers were cut differently, or the class derives one width from another, no configuration
describes the network, and ``save_pretrained`` says so instead of writing files that cannot be loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..errors import ArtifactError
from .attributes import NAMES
from .copying import named_tensors

# A head goes whole, so its width never changes: code that derives it from a count of heads must be given it.
DERIVED = ("head_dim",)
HEAD_WIDTHS = (*DERIVED, "d_kv", "d_head", "dim_head", "kv_channels", "attention_head_size", "attention_head_dim")
SAVE = "save_pretrained"
# What a cut sets on modules beside the widths of layers, which the tensors say.
COUNTED = frozenset(name for names in NAMES.values() for name in names)


@dataclass(frozen=True)
class Refusal:
    """Stands in for ``save_pretrained`` on a model that no configuration describes."""

    model: str
    why: str

    def __call__(self, *_: Any, **__: Any) -> None:
        """Raises: ArtifactError, always."""
        raise ArtifactError(
            f"save_pretrained would write a {self.model} that from_pretrained cannot load: {self.why}. Save it with "
            "secateurs.save(model, folder, ...) instead. A network whose layers are cut alike, to numbers that its "
            "configuration takes, can be saved either way; `del model.save_pretrained` brings back the method as it was"
        )


@dataclass(frozen=True)
class Skeleton:
    """Shapes of all tensors and plain numbers on all modules: all of a network but its values."""

    shapes: dict[str, tuple[int, ...]]
    numbers: dict[tuple[str, str], float]

    @classmethod
    def of(cls, model: nn.Module) -> Skeleton:
        numbers = {
            (path, name): value
            for path, module in model.named_modules()
            for name, value in vars(module).items()
            if type(value) in (int, float) and not name.startswith("_")
        }
        return cls({name: tuple(t.shape) for name, t in named_tensors(model)}, numbers)

    def against(self, other: Skeleton) -> dict[tuple[str, int], tuple[int, int]]:
        """(tensor, axis) → its length here and there, where they differ.

        Raises:
            LookupError: the two have other tensors.
        """
        for name in (*self.shapes, *other.shapes):
            if len(self.shapes.get(name, ())) != len(other.shapes.get(name, ())) or name not in other.shapes:
                raise LookupError(
                    f"its configuration knows nothing of {name}"
                    if name in other.shapes
                    else f"its configuration makes a tensor {name}, which is not there"
                )
        return {
            (name, axis): (a, b)
            for name, shape in self.shapes.items()
            for axis, (a, b) in enumerate(zip(shape, other.shapes[name]))
            if a != b
        }


def follow_cut(model: nn.Module) -> None:
    """Make the configurations of a cut model, and of models inside it, true again; where none is, refuse to save it."""
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not callable(getattr(type(module), SAVE, None)) or not hasattr(module, "config"):
            continue
        inside.update(module.modules())
        why = _described(module)
        for part in module.modules():
            if isinstance(vars(part).get(SAVE), Refusal):
                delattr(part, SAVE)
            if why and callable(getattr(type(part), SAVE, None)):
                setattr(part, SAVE, Refusal(type(part).__name__, why))


def _described(model: nn.Module) -> str:
    """Find and write the configuration of one model; why there is none, or nothing."""
    try:
        search = Search(model)
        why = search.wrong()
    except LookupError as error:
        return str(error)
    except Exception as error:  # the user's class, called by a stranger
        return f"{type(model).__name__} cannot be built from its configuration to compare ({_last_line(error)})"
    if not why:
        search.commit()
    return why


Place = tuple[str, int]


class Search:
    """For the numbers of a configuration that account for a cut.

    Attributes:
        changes: dotted name → number; what was found.
        left: (tensor, axis) → its length before and now, where no number accounts for it yet.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.config = model, cast(Any, model.config)
        self.numbers = dict(_numbers(self.config))
        self.changes: dict[str, int] = {}
        self.cut, self.base = Skeleton.of(model), self.built({})
        self.left = self.base.against(self.cut)
        self.widths = set(self.left.values())
        counts = [field for field in self.numbers if _leaf(field) in NAMES["heads"]]
        self._solve(counts, self._written_down())
        self._solve(counts)
        self._solve(field for field, n in self.numbers.items() if n in {old for old, _ in self.widths})
        self._solve(field for field, value in vars(self.config).items() if value is None and field[0] != "_")
        self._solve(f for f, n in self.numbers.items() if any(old % n == 0 for old, _ in self.left.values()))
        try:
            self.found = self.built(self.changes)
        except Exception as error:
            told = ", ".join(f"{field} = {n}" for field, n in self.changes.items())
            raise LookupError(f"its configuration does not take {told} ({_last_line(error)})") from error

    def built(self, changes: dict[str, int]) -> Skeleton:
        """What the class makes of the configuration with these numbers, saved and loaded. Raises what it raises."""
        config = copy.deepcopy(self.config)
        for field, value in changes.items():
            owner, name = _owner(config, field)
            setattr(owner, name, value)
        config = type(config).from_dict(config.to_dict())
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return Skeleton.of(type(self.model)(config))

    def _written_down(self) -> dict[str, int]:
        """What the code computes from a count of heads unless it is given."""
        held = {name: {int(n) for (_, other), n in self.cut.numbers.items() if other == name} for name in DERIVED}
        given = {name: ns.pop() for name, ns in held.items() if len(ns) == 1}
        return {name: n for name, n in given.items() if getattr(self.config, name, None) is None}

    def _solve(self, fields: Iterable[str], given: dict[str, int] | None = None) -> None:
        """Find what each of these must be for the tensors that it moves, and that nothing has moved yet."""
        for field in fields:
            if not self.left or field in self.changes:
                continue
            moved, now = self._moved_by(field, given or {}), self.numbers.get(field)
            # A sum of several widths moves with each of them; an axis of just this width tells best.
            own = {v for (name, axis), v in moved.items() if self.base.shapes[name][axis] == now}
            values = own if own - {now} else set(moved.values())
            value = values.pop() if len(values) == 1 else now
            if value not in (None, now) and float(value).is_integer() and moved.keys() & self.left.keys():
                self.changes |= {**(given or {}), field: int(value)}
                self.left = {p: v for p, v in self.left.items() if moved.get(p) != value}

    def _moved_by(self, field: str, given: dict[str, int]) -> dict[Place, float]:
        """Which axes follow a number, and what it would have to be for each."""
        now = self.numbers.get(field)
        for probe in (1,) if now is None else (1, 2 * now):
            try:
                moved = self.built({**given, field: probe}).against(self.base)
            except Exception:  # not a number that this class can do with
                continue
            if now is None:
                return {place: self._length(place) / length for place, (length, _) in moved.items()}
            return {
                place: now + (self._length(place) - before) * (probe - now) / (length - before)
                for place, (length, before) in moved.items()
            }
        return {}

    def _length(self, place: Place) -> int:
        return self.cut.shapes[place[0]][place[1]]

    def wrong(self) -> str:
        """Why the configuration that was found is not the network's; empty where it is."""
        for name, _ in self.found.against(self.cut):
            made, there = (" × ".join(map(str, s.shapes[name])) for s in (self.found, self.cut))
            return f"{name} is {there}, and no configuration of this class says so: the nearest makes it {made}"
        for (path, name), (now, then) in self._numbers_moved().items():
            if not self._stale(path, name, now, then):
                return f"{path}.{name} is {now}, and the configuration with its widths makes it {then}"
        return ""

    def commit(self) -> None:
        """Write the numbers that were found, to a configuration that no other model shares, and to modules."""
        if not self.changes:
            return
        for (path, name), (_, then) in self._numbers_moved().items():
            setattr(self.model.get_submodule(path), name, then)
        copies: dict[int, Any] = {}
        config = copy.deepcopy(self.config, copies)
        held = {}
        for module in self.model.modules():
            for name, value in vars(module).items():
                if hasattr(value, "to_dict"):
                    vars(module)[name] = new = copies.get(id(value), value)
                    held[id(new)] = new
        for field, value in self.changes.items():
            owner, name = _owner(config, field)
            old = getattr(owner, name, None)
            for each in (owner, *held.values()):  # parts of a model may keep copies with differences of their own
                if type(each) is type(owner) and getattr(each, name, None) == old:
                    setattr(each, name, value)

    def _numbers_moved(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Plain numbers on modules that are otherwise as built, if the cut or the configuration changed them."""
        out = {}
        for place, then in self.found.numbers.items():
            now, before = self.cut.numbers.get(place, then), self.base.numbers.get(place)
            followed = place[1] in COUNTED and now != before
            if now != then and (then != before or followed):
                out[place] = now, then
        return out

    def _stale(self, path: str, name: str, now: float, then: float) -> bool:
        """A width or count that the module only remembers: nothing read it, so the cut left it."""
        counts = {(self.numbers.get(field), n) for field, n in self.changes.items() if _leaf(field) in NAMES["heads"]}
        return now == self.base.numbers.get((path, name)) and (now, then) in self.widths | counts


def _numbers(config: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Whole numbers that may count heads or widths, of a configuration and of those in it, by dotted name."""
    for name, value in vars(config).items():
        if hasattr(value, "to_dict"):
            yield from _numbers(value, f"{prefix}{name}.")
        elif type(value) is int and value > 1 and not name.startswith("_") and name not in HEAD_WIDTHS:
            yield prefix + name, value


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _leaf(field: str) -> str:
    return field.rpartition(".")[2]


def _owner(config: Any, field: str) -> tuple[Any, str]:
    *path, name = field.split(".")
    for part in path:
        config = getattr(config, part)
    return config, name
