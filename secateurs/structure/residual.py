"""Which modules hand their input on once their branches are silent.

The *stream* of a module is its first tensor argument x. It is followed through the operators that ran inside:
x + f(x) is still the stream where f(x) is zero once certain parameters of the module are, its *silencers*
(the labels know them: the last affine slices of the branch); so are rearrangements, and an activation that
clips x to where x lies already, as ReLU does to what came out of a ReLU. If what comes out is the stream, the
module is a block. Of one inside another the outer is taken, unless the inner ones are most of it: of
a sequence of blocks, then, those in it; of a block that has a small residual part in its branch, the whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from .bypass import Source, Wiring
from .copying import aliases
from .flow import REARRANGES, UNBOUNDED, Argument, Flow, Range, Step, Visit
from .labels import Array, Label
from .ledger import Ledger
from .naming import inside

RESHAPED = "what it returns has not the shape of what it is given"
FORM = "it returns a {form}, not a tensor or a tuple that begins with one"
AFTER = "{name} comes after its residual addition"
LOUD = "its branch cannot be silenced by zeroing weights inside it"
NEGATIVE = "its {name} may change what it is given, which does not come out of a {name}"
PLAIN = "it has no residual addition to what it is given, with weights in its branch"
SHORTCUT = "its shortcut is not the identity"
MORE = "it returns more than what it is given, and other code reads that"
READ = "other code reads what is computed or kept inside it"
DECIDES = "its code looks at values, and may do something else on other data"
STORED = "it stores what it computes outside itself, as a cache does"
TWICE = "it is called {count} times in a forward pass"
SHARED = "it shares {name!r} with {other!r}"


@dataclass(frozen=True)
class Residual:
    """A module that hands its input on.

    Attributes:
        silencers: nodes of its own parameters; with these at zero it is the identity.
        products: which multiply-accumulates of the ledger are its own.
        bounds: between which numbers its input lies, as far as its being the identity depends on that.
        size: number of its parameters.
    """

    path: str
    kind: type[nn.Module]
    wiring: Wiring
    silencers: Array
    products: slice
    bounds: Range
    size: int


@dataclass(frozen=True)
class Miss:
    """Why a module is no block; ``near`` if it has a residual addition."""

    path: str
    kind: type[nn.Module]
    reason: str
    near: bool


@dataclass
class _Stream:
    """Values that are the stream once the nodes beside them are silent.

    Attributes:
        derived: values that depend on it.
        added: a residual addition was met, whether or not its branch can be silenced.
        clipped: an activation was passed on the strength of the stream's bounds.
    """

    held: dict[int, Array]
    derived: set[int]
    added: bool = False
    clipped: bool = False
    loud: set[int] = field(default_factory=set)


def residuals(model: nn.Module, ledger: Ledger) -> tuple[list[Residual], list[Miss]]:
    """All blocks of a traced model in the order in which they ran, and the modules that nearly are."""
    flow = ledger.flow
    assert flow is not None
    search = _Search(model, ledger, flow)
    calls = Counter(v.path for v in flow.visits)
    found: dict[str, Residual] = {}
    misses: dict[str, Miss] = {}
    for visit in flow.visits:
        path = visit.path
        if not path or path in misses:
            continue
        result = search.judge(visit)
        if calls[path] > 1 and (isinstance(result, Residual) or result.near):
            result = Miss(path, type(visit.module), TWICE.format(count=calls[path]), True)
        if isinstance(result, Miss):
            misses[path] = result
            continue
        inner = [other for other in found if inside(other, path)]
        if 2 * sum(found[other].size for other in inner) < result.size:
            found = {other: r for other, r in found.items() if other not in inner} | {path: result}
    return list(found.values()), _worth_telling(found, misses)


def _worth_telling(found: dict[str, Residual], misses: dict[str, Miss]) -> list[Miss]:
    """Of the modules that are no blocks: the smallest with a residual addition, and those of a block's class."""
    kinds = {r.kind for r in found.values()}
    told = dict.fromkeys(found)
    out = []
    for path, miss in misses.items():  # inner ones come first
        apart = not any(inside(path, other) or inside(other, path) for other in told)
        if apart and (miss.near or miss.kind in kinds):
            told[path] = None
            out.append(miss)
    return out


class _Search:
    """One trace's facts, laid out for looking at one module after another."""

    def __init__(self, model: nn.Module, ledger: Ledger, flow: Flow) -> None:
        self.ledger, self.flow = ledger, flow
        self.parameters = {n for n, _ in model.named_parameters()}
        self.tied: dict[str, list[str]] = {}
        for alias, name in aliases(model).items():
            self.tied.setdefault(name, [name]).append(alias)
        self.first_use: dict[int, int] = {}
        self.last_use = dict.fromkeys(flow.results, len(flow.steps))
        for number, step in enumerate(flow.steps):
            for value, _ in step.operands:
                self.first_use.setdefault(value, number)
                self.last_use[value] = max(number, self.last_use.get(value, 0))
        self.producer = {value: step for step in flow.steps for value in step.results}
        self.forbidden = np.zeros(ledger.size + 1, dtype=bool)  # the last entry is read for −1
        for nodes in ledger.forbidden:
            self.forbidden[nodes] = True
        self.forbidden[-1] = False

    def judge(self, visit: Visit) -> Residual | Miss:
        def miss(reason: str, near: bool = False) -> Miss:
            return Miss(visit.path, type(visit.module), reason, near)

        if not visit.arguments or not visit.items or visit.items[0] is None:
            return miss(FORM.format(form=visit.form))
        given, out = visit.arguments[0], visit.items[0]
        if given.shape != visit.shape or not given.floating:
            return miss(RESHAPED)
        stream = self.follow(visit, given)
        size = sum(p.numel() for p in visit.module.parameters())
        if not stream.added or not size:
            return miss(PLAIN)
        if out not in stream.held:
            return miss(self.why(out, stream), near=True)
        silencers = np.unique(stream.held[out])
        if not silencers.size:
            return miss("it returns what it is given, whatever its weights are", near=True)
        items = [self._source(value, visit, stream) for value in visit.items]
        if MORE in items:
            return miss(MORE, near=True)
        shared = self._shared(visit.path)
        if shared:
            return miss(SHARED.format(name=shared[0], other=shared[1]), near=True)
        if self._read_elsewhere(visit, stream):
            return miss(READ, near=True)
        if visit.kept - stream.held.keys():
            return miss(STORED, near=True)
        if any(inside(place, visit.path) for place in self.ledger.decisions.modules):
            return miss(DECIDES, near=True)
        wiring = Wiring(form=visit.form, items=tuple(items))  # type: ignore[arg-type]
        bounds = self.flow.bounds.get(given.value, UNBOUNDED) if stream.clipped else UNBOUNDED
        return Residual(visit.path, type(visit.module), wiring, silencers, visit.products, bounds, size)

    def follow(self, visit: Visit, given: Argument) -> _Stream:
        """Where the stream goes inside a module."""
        own = self._own(visit.path)
        bounds = self.flow.bounds.get(given.value, UNBOUNDED)
        stream = _Stream({given.value: np.empty(0, np.int64)}, {given.value})
        for step in self.flow.steps[visit.steps]:
            values = [value for value, _ in step.operands]
            if stream.derived.isdisjoint(values):
                continue
            stream.derived.update(step.results, step.touched)
            held = [v for v in values if v in stream.held]
            if step.name in ("add", "sub") and len(values) == 2 and len(held) == 1:
                self._add(step, held[0], stream, own)
            elif held and len(held) == len(values):
                clips = step.clamp is not None and step.clamp[0] <= bounds[0] and bounds[1] <= step.clamp[1]
                stream.clipped |= clips
                if clips or step.name in REARRANGES:
                    nodes = np.concatenate([stream.held[v] for v in held])
                    stream.held |= dict.fromkeys(step.results, nodes)
        return stream

    def _add(self, step: Step, held: int, stream: _Stream, own: Array) -> None:
        (left, right) = step.operands
        value, label = right if left[0] == held else left
        if value not in stream.derived or (step.name == "sub" and right[0] == held):
            return
        stream.added = True
        nodes = self._silencers(label, own)
        if nodes is None:
            stream.loud.update(step.results)
        else:
            stream.held |= dict.fromkeys(step.results, np.concatenate([stream.held[held], nodes]))

    def _silencers(self, label: Label, own: Array) -> Array | None:
        """Nodes whose zeroing makes a whole tensor zero, if they are all the module's own."""
        if label.zero:
            return np.empty(0, np.int64)
        for block in label.blocks:
            nodes = np.unique(block.data[2:])
            nodes = nodes[nodes >= 0]
            if not block.data[1].any() and own[nodes].all() and not self.forbidden[nodes].any():
                return nodes
        return None

    def _own(self, path: str) -> Array:
        """Which nodes are of the parameters inside a module."""
        own = np.zeros(self.ledger.size, dtype=bool)
        for axis in self.ledger.axes:
            if inside(axis.tensor, path) and axis.tensor in self.parameters:
                own[axis.start : axis.start + axis.size] = True
        return own

    def _source(self, value: int | None, visit: Visit, stream: _Stream) -> Source | str | None:
        """The argument that an item of the output equals; None where nobody reads it."""
        if value is None or (value not in stream.held and self.last_use.get(value, 0) < visit.steps.stop):
            return None
        if value in stream.held:
            return visit.arguments[0].source
        return next((a.source for a in visit.arguments if a.value == value), MORE)

    def _shared(self, path: str) -> tuple[str, str] | None:
        """A tensor inside a module that is also held outside it."""
        for names in self.tied.values():
            within = [n for n in names if inside(n, path)]
            outside = [n for n in names if not inside(n, path)]
            if within and outside:
                return within[0], outside[0]
        return None

    def _read_elsewhere(self, visit: Visit, stream: _Stream) -> bool:
        """Whether other code depends on what is inside: values, or parameters."""
        start, stop = visit.steps.start, visit.steps.stop
        returned = {v for v in visit.items if v is not None}
        for step in self.flow.steps[visit.steps]:
            # Where the stream is added to in place, others that hold it see it unchanged once this is silent.
            free = returned | (stream.held.keys() if step.written else set())
            if any(self.last_use.get(v, 0) >= stop for v in (*step.results, *step.touched) if v not in free):
                return True
        own = [v for n, v in self.flow.tensors.items() if inside(n, visit.path)]
        return any(self.first_use.get(v, start) < start or self.last_use.get(v, 0) >= stop for v in own)

    def why(self, value: int, stream: _Stream) -> str:
        """Why what a module returns is not its stream, read backwards from there."""
        while value in self.producer:
            step = self.producer[value]
            if value in stream.loud:
                return LOUD
            if step.name in ("add", "sub"):
                return SHORTCUT
            before = step.operands[0][0] if step.operands else None
            if step.clamp is not None and before in stream.held:
                return NEGATIVE.format(name=step.name)
            if before is None or (step.clamp is None and step.name not in REARRANGES):
                return AFTER.format(name=step.name)
            value = before
        return SHORTCUT
