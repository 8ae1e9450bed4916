"""Players: which parameters live or die together, and what each costs.

The structure layer finds *atoms* (sets of indices that must be cut together). A player is an atom of the
asked granularity, or a single weight. Players of one family form a *layer*: they have the same shape, compete with
one another, and are counted together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BudgetError, StructureError, suggest
from ..shapes import AtomMask, Mask, PerPlayer
from ..structure import Structure, trace
from .gates import Gate, Gates
from .resources import Resource, compile_resource, headcount, split_by_multiplicity

GRANULARITIES = ("channel", "head", "weight")


@dataclass(frozen=True)
class Layer:
    """A family of players.

    Attributes:
        name: the module that produces what they carry.
        kind: 'channel', 'head' or 'weight'.
        start, stop: its players are ``start … stop−1``.
        tied_to: every place that is cut when one of them goes.
        minimum: how many must stay.
    """

    name: str
    kind: str
    start: int
    stop: int
    tied_to: tuple[str, ...] = ()
    minimum: int = 1

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(eq=False)
class Players:
    """The players of one model.

    Attributes:
        model: the model, as given.
        structure: what the trace found.
        layers: families, in order of the players.
        atoms: ``(players,)`` atom of each player (its own number at weight granularity).
        gates: the reductions over the players' parameters.
        example_inputs: what the model was traced with.
    """

    model: nn.Module
    structure: Structure
    layers: list[Layer]
    atoms: Tensor
    gates: Gates
    example_inputs: Any
    granularity: str
    ignore: tuple[str, ...] = ()
    _resources: dict[str, Resource] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return int(self.atoms.numel())

    def __len__(self) -> int:
        return self.count

    @cached_property
    def layer_of(self) -> Tensor:
        """``(players,)`` layer of each player."""
        sizes = torch.tensor([layer.size for layer in self.layers])
        return torch.repeat_interleave(torch.arange(len(self.layers)), sizes).to(self.device)

    @property
    def device(self) -> torch.device:
        return self.gates.parameters[0].device

    @property
    def dtype(self) -> torch.dtype:
        """What participation is kept in: float64 beside float64 weights, else float32."""
        return torch.promote_types(torch.float32, self.gates.parameters[0].dtype)

    @cached_property
    def minimum(self) -> np.ndarray:
        """``(layers,)`` how many players each layer must keep."""
        return np.array([layer.minimum for layer in self.layers], dtype=float)

    @cached_property
    def sizes(self) -> np.ndarray:
        """``(layers,)`` how many players each layer has."""
        return np.array([layer.size for layer in self.layers], dtype=float)

    def spread(self, per_layer: np.ndarray) -> np.ndarray:
        """A value per layer, given to each of its players."""
        return per_layer[self._layer_index]

    @cached_property
    def _layer_index(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.layers)), self.sizes.astype(int))

    def mass(self, phi: PerPlayer | np.ndarray) -> np.ndarray:
        """Σ φ over each layer's players, ``(layers,)``: what resources are computed from."""
        held = phi.detach().cpu().numpy() if isinstance(phi, Tensor) else phi
        return np.add.reduceat(held, self._starts, dtype=np.float64)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.array([layer.start for layer in self.layers])

    def resource(self, name: str) -> Resource:
        """The cost function of 'groups', 'params', 'macs' or 'bytes'."""
        if name not in self._resources:
            self._resources[name] = self._compile(name)
        return self._resources[name]

    def _compile(self, name: str) -> Resource:
        if name == "groups":
            return headcount(len(self.layers))
        if name not in self.structure.terms:
            raise KeyError(name)
        if self.granularity == "weight":
            return _per_weight(self, name)
        owner = np.full(self.structure.atoms, -1)
        owner[self.atoms.cpu().numpy()] = self.layer_of.cpu().numpy()
        terms = [(t.coefficient, t.axes) for t in self.structure.terms[name]]
        return compile_resource(name, terms, owner, len(self.layers))

    def amount(self, name: str, keep: Mask | None = None) -> float:
        """How much of a resource the network uses when ``keep`` stays (None: all)."""
        kept = torch.ones(self.count) if keep is None else keep.float()
        return self.resource(name).amount(self.mass(kept))

    def require_reachable(self, targets: Mapping[str, float], asked: Mapping[str, float] | None = None) -> None:
        """Check that absolute amounts can be met at all.

        Args:
            asked: what the user wrote, by resource, for the message.
        Raises:
            BudgetError: even every layer at its minimum width is too much; names the smallest reachable amount.
        """
        for name, target in targets.items():
            floor = self.resource(name).amount(self.minimum)
            if floor > target * (1 + 1e-9):
                given = f"budget {name}={asked[name]:g} is {target:,.0f} {name}" if asked else f"{target:,.0f} {name}"
                raise BudgetError(
                    f"{given}, which cannot be reached; the smallest reachable here is {floor:,.0f} "
                    f"({floor / self.amount(name):.4f} of dense), with every layer at its minimum width"
                )

    def atom_mask(self, keep: Mask) -> AtomMask:
        """The structure's keep mask: atoms that are nobody's player stay."""
        mask = torch.ones(self.structure.atoms, dtype=torch.bool)
        mask[self.atoms.cpu()] = keep.cpu()
        return mask

    def restrict(self, keep: Mask) -> Players:
        """The players that stay after the model was cut in place, with the same limits. Nothing is traced again."""
        structure = self.structure.restrict(self.atom_mask(keep))
        kinds = tuple(self.granularity.split("+"))
        again = _coupled(self.model, structure, self.example_inputs, kinds, self.ignore)
        before = {layer.name: layer.minimum for layer in self.layers}
        return again.limit({layer.name: before[layer.name] for layer in again.layers if layer.name in before})

    def limit(self, minimum: int | Mapping[str, int] = 1, maximum_ratio: float = 1.0) -> Players:
        """Set how many players every layer must keep: a number, or one per layer name; and at most
        ``maximum_ratio`` of a layer may be removed. Returns self.
        """
        if isinstance(minimum, Mapping):
            for name in minimum:
                if name not in {layer.name for layer in self.layers}:
                    raise StructureError(
                        f"no layer {name!r} to set a minimum for; {suggest(name, [x.name for x in self.layers])}"
                    )
        for i, layer in enumerate(self.layers):
            wanted = minimum.get(layer.name, layer.minimum) if isinstance(minimum, Mapping) else minimum
            floor = max(1, wanted, int(np.ceil(layer.size * (1 - maximum_ratio) - 1e-9)))
            self.layers[i] = Layer(
                layer.name, layer.kind, layer.start, layer.stop, layer.tied_to, min(floor, layer.size)
            )
        self.__dict__.pop("minimum", None)  # computed from the layers, once
        return self


def players(
    model: nn.Module,
    example_inputs: Any,
    granularity: str | Iterable[str] = "channel",
    *,
    ignore: Sequence[str] = (),
) -> Players:
    """Find the players of a model.

    Args:
        model: any module whose structure the tracer reads; it is left untouched.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, with a batch axis.
        granularity: 'channel' (neurons, filters), 'head', 'weight', or several of the first two.
        ignore: layers (by module path, prefixes included) whose players stay out of the game.
    Returns:
        the players; ``players.layers`` says what they are, ``players.structure.frozen`` what cannot be cut and why.
    Raises:
        StructureError: nothing of that granularity can be pruned; the message gives the reasons.
    """
    wanted = (granularity,) if isinstance(granularity, str) else tuple(granularity)
    for name in wanted:
        if name not in GRANULARITIES:
            raise StructureError(f"unknown granularity {name!r}; {suggest(name, GRANULARITIES)}")
    if "weight" in wanted and len(wanted) > 1:
        raise StructureError("granularity 'weight' cannot be combined with others: every weight is its own player")
    structure = trace(model, example_inputs)
    if wanted == ("weight",):
        return _weights(model, structure, example_inputs, ignore)
    return _coupled(model, structure, example_inputs, wanted, ignore)


def _coupled(
    model: nn.Module, structure: Structure, inputs: Any, kinds: tuple[str, ...], ignore: Sequence[str]
) -> Players:
    layer_of = split_by_multiplicity(np.asarray(structure.family_of), structure.axes, structure.atoms)
    layers: list[Layer] = []
    order: list[np.ndarray] = []
    start = 0
    for number in _by_first_atom(layer_of):
        atoms = np.flatnonzero(layer_of == number)
        family = structure.families[int(structure.family_of[atoms[0]])]
        if family.kind not in kinds or _ignored(family.name, ignore):
            continue
        stop = start + len(atoms)
        layers.append(
            Layer(family.name, family.kind, start, stop, tuple(family.members), min(family.minimum, len(atoms)))
        )
        order.append(atoms)
        start = stop
    if not layers:
        reasons = "; ".join(sorted({f"{f.where}: {f.reason}" for f in structure.frozen})[:5])
        raise StructureError(
            f"{type(model).__name__} has nothing to prune at granularity {'+'.join(kinds)!r}"
            + (f" ({reasons})" if reasons else "")
        )
    atoms = np.concatenate(order)
    player_of = np.full(structure.atoms + 1, -1)
    player_of[atoms] = np.arange(len(atoms))
    gates = [
        Gate(name, gate.axis, torch.from_numpy(player_of[gate.ids]))
        for name, found in structure.gates.items()
        for gate in found
        if (player_of[gate.ids] >= 0).any()
    ]
    engine = Gates(gates, dict(model.named_parameters(remove_duplicate=False)), len(atoms))
    granularity = "+".join(kinds)
    return Players(model, structure, layers, torch.from_numpy(atoms), engine, inputs, granularity, tuple(ignore))


def _weights(model: nn.Module, structure: Structure, inputs: Any, ignore: Sequence[str]) -> Players:
    """Every element of every weight of two or more dimensions is a player."""
    layers, gates, start = [], [], 0
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or _ignored(name.rpartition(".")[0], ignore):
            continue
        stop = start + parameter.numel()
        layers.append(Layer(name, "weight", start, stop))
        gates.append(Gate(name, None, torch.arange(start, stop).view(parameter.shape)))
        start = stop
    if not layers:
        raise StructureError(f"{type(model).__name__} has no weight of two or more dimensions to prune")
    engine = Gates(gates, dict(model.named_parameters()), start)
    return Players(model, structure, layers, torch.arange(start), engine, inputs, "weight", tuple(ignore))


def _per_weight(players: Players, name: str) -> Resource:
    """A weight costs one parameter or its bytes. It frees no MACs: a dense kernel multiplies zeros too."""
    if name == "macs":
        raise BudgetError(
            "granularity 'weight' frees no MACs, since zeros are multiplied like any number; "
            "ask for params=, bytes= or groups=, or prune channels"
        )
    named = dict(players.model.named_parameters())
    each = {
        "params": lambda _: 1.0,
        "bytes": lambda layer: float(named[layer.name].element_size()),
    }[name]
    cost = np.array([each(layer) for layer in players.layers])
    rest = players.structure.amount(name, None) - float(cost @ players.sizes)
    base = headcount(len(players.layers))
    coefficient, factors = np.append(cost, rest), np.arange(len(players.layers) + 1)[:, None]
    return Resource(name, base.constant, base.multiplicity, coefficient, factors)


def _by_first_atom(layer_of: np.ndarray) -> Iterable[int]:
    numbers, first = np.unique(layer_of, return_index=True)
    return (int(n) for n, _ in sorted(zip(numbers, first), key=lambda pair: pair[1]) if n >= 0)


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in ignore)


def scale_free_layers(players: Players, forward: Callable[[], Tensor], tolerance: float = 1e-2) -> list[bool]:
    """Which layers can be scaled as a whole without changing the network: those before a normalised consumer.

    Measured rather than inferred: the layer's gates are multiplied by ½ (and 2) and ``forward`` is called again, in
    training mode, where normalisation uses the batch's own statistics. Parameters and buffers are restored.

    Args:
        forward: evaluates the model on a fixed batch with a fixed random state.
        tolerance: relative change below which the output counts as unchanged.
    """
    model, gates = players.model, players.gates
    training = model.training
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    saved = [p.detach().clone() for p in gates.parameters]
    free = []
    try:
        with torch.no_grad():
            model.train()
            before = forward()
            for layer in players.layers:
                s = torch.ones(players.count, device=players.device)
                s[layer.start : layer.stop] = 0.5
                gates.scaled(saved, s, [p.data for p in gates.parameters])
                change = (forward() - before).norm() / before.norm().clamp_min(1e-12)
                free.append(bool(change < tolerance))
                torch._foreach_copy_([p.data for p in gates.parameters], saved)
    finally:
        torch._foreach_copy_([p.data for p in gates.parameters], saved)
        named = dict(model.named_buffers())
        for name, value in buffers.items():
            named[name].copy_(value)
        model.train(training)
    return free
