"""Players: which parameters live or die together, and what each costs.

The structure layer finds *atoms* (sets of indices that must be cut together). A player is an atom of the
asked granularity, or a single weight. Players of one family form a *layer*: they have the same shape, compete with
one another, and are counted together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BudgetError
from ..shapes import AtomMask, Mask, PerPlayer
from ..spec import Budget
from ..structure import Structure
from ..structure.types import Cost
from .gate import Gate
from .gates import Gates
from .layers import Layer
from .limits import Limited, device_multiple
from .resources import Resource, compile_resource, headcount, per_weight

MEASURED = "latency"  # the resource that is no count


@dataclass(eq=False)
class Players(Limited):
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

    def __post_init__(self) -> None:
        self.native = device_multiple(self.device)
        self.round_auto_to(self.native)

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
        """The cost function of 'groups', 'params', 'macs' or 'bytes'; of 'latency', once it was measured."""
        if name not in self._resources:
            self._resources[name] = self._compile(name)
        return self._resources[name]

    def add_resource(self, name: str, terms: Sequence[Cost]) -> None:
        """Let players cost something more, such as milliseconds that were measured."""
        self.structure.terms[name] = list(terms)
        self._resources.pop(name, None)

    def _compile(self, name: str) -> Resource:
        if name == "groups":
            return headcount(len(self.layers))
        if name not in self.structure.terms:
            raise KeyError(name)
        if self.granularity == "weight":
            named = dict(self.model.named_parameters())
            each = [named[layer.name].element_size() for layer in self.layers]
            return per_weight(name, each, self.sizes, self.structure.amount(name))
        owner = np.full(self.structure.atoms, -1)
        owner[self.atoms.cpu().numpy()] = self.layer_of.cpu().numpy()
        return compile_resource(name, self.structure.terms[name], owner, len(self.layers))

    def amount(self, name: str, keep: Mask | None = None) -> float:
        """How much of a resource the network uses when ``keep`` stays (None: all)."""
        mass = self.sizes if keep is None else self.mass(keep.float())
        return self.resource(name).amount(mass)

    def atom_mask(self, keep: Mask) -> AtomMask:
        """The structure's keep mask: atoms that are nobody's player stay."""
        mask = torch.ones(self.structure.atoms, dtype=torch.bool)
        mask[self.atoms.cpu()] = keep.cpu()
        return mask

    def entries(self, keep: Mask) -> dict[str, Tensor]:
        """Masks of the parameters that hold the players, by name: False where the weights of one that leaves are.

        By the gates and not by the weights that are zero: one that starts at zero takes part like any other.
        """
        own = {id(p): name for name, p in self.model.named_parameters()}
        ones = [torch.ones_like(p) for p in self.gates.parameters]
        self.gates.scaled(ones, keep.to(ones[0]), out=ones)
        return {own[id(p)]: one != 0 for p, one in zip(self.gates.parameters, ones)}

    def restrict(self, keep: Mask) -> Players:
        """The players that stay after the model was cut in place, with the same limits. Nothing is traced again."""
        mask = self.atom_mask(keep)
        structure = self.structure.restrict(mask)
        stays = keep.cpu()
        atoms = (mask.cumsum(0) - 1)[self.atoms.cpu()[stays]]
        sizes = np.bincount(self._layer_index[stays.numpy()], minlength=len(self.layers))
        ends = np.cumsum(sizes)
        layers = [
            replace(layer, start=int(end - size), stop=int(end))
            for layer, size, end in zip(self.layers, sizes, ends)
            if size
        ]
        gates = bind(self.model, structure, atoms.numpy())
        return Players(
            self.model, structure, layers, atoms, gates, self.example_inputs, self.granularity, self.ignore
        ).round_auto_to(self.auto)

    def targets(self, budget: Budget) -> dict[str, float]:
        """The absolute amounts of a budget, by resource.

        Raises:
            BudgetError: see :meth:`require_reachable`; an amount above the dense network's own.
        """
        found = budget.targets({name: self.amount(name) for name in budget.given})
        self.require_reachable(found, budget.given)
        return found

    def require_reachable(self, targets: Mapping[str, float], asked: Mapping[str, float] | None = None) -> None:
        """Check that absolute amounts can be met at all. Where they cannot, what 'auto' rounds to is halved until they
        can.

        Args:
            asked: what the user wrote, by resource, for the message.
        Raises:
            BudgetError: even every layer at its minimum width is too much; names the smallest reachable amount, and a
                rounding that would do where rounding stands in the way.
        """
        before = self.auto
        while (short := self._short(targets, self.minimum)) and self.give_way():
            pass
        if not short:
            return
        floor, target = self.resource(short).amount(self.minimum), targets[short]
        words = f"{target:.4g} ms" if short == MEASURED else f"{target:,.0f} {short}"
        given = f"budget {short}={asked[short]:g} is {words}" if asked else words
        message = (
            f"{given}, which cannot be reached; the smallest reachable here is {_least(short, floor)} "
            f"({floor / self.amount(short):.4f} of dense), with every layer at its minimum width"
            + self._remedy(short, targets)
        )
        self.round_auto_to(before)
        raise BudgetError(message)

    def _short(self, targets: Mapping[str, float], minimum: np.ndarray) -> str | None:
        """A resource of which even the minimum is too much."""
        return next((n for n, t in targets.items() if self.resource(n).amount(minimum) > t * (1 + 1e-9)), None)

    def _remedy(self, short: str, targets: Mapping[str, float]) -> str:
        """What a finer rounding could do."""
        width, floor = self.coarsest, self.resource(short).amount(self.minimum)
        rounded = f" rounded to a multiple of {width}"
        while width > 1 and self._short(targets, self.minimum_if(width)):
            width //= 2
        minimum = self.minimum_if(width)
        if not self._short(targets, minimum):
            return f"{rounded}; round_to={width} would do"
        least = self.resource(short).amount(minimum)
        return f"{rounded}; without rounding it is {_least(short, least)}" if least < floor else ""


def _least(name: str, amount: float) -> str:
    """The smallest amount that can be reached, rounded up."""
    return f"{amount:.4g} ms" if name == MEASURED else f"{math.ceil(amount - 1e-6):,}"


def bind(model: nn.Module, structure: Structure, atoms: np.ndarray) -> Gates:
    """The gates of the players that ``atoms`` are, in their order."""
    player_of = np.full(structure.atoms + 1, -1)
    player_of[atoms] = np.arange(len(atoms))
    gates = [
        Gate(name, gate.axis, torch.from_numpy(player_of[gate.ids]))
        for name, found in structure.gates.items()
        for gate in found
        if (player_of[gate.ids] >= 0).any()
    ]
    return Gates(gates, dict(model.named_parameters(remove_duplicate=False)), len(atoms))
