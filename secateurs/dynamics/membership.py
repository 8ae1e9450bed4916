"""Who is in the live network: players leave it during training, and it is harvested at the end.

Both cut with the oracle watching, take the optimizer's state along, and write down where the network was cut.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import RunError, StructureError
from ..partition import Players
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer
from ..structure import Surgery, remap_optimizer, shrink
from .base import EPSILON, Dynamics, Select
from .effective import EffectiveWeights


class Membership:
    """The part of a participating optimizer that cuts.

    Attributes:
        inner: the wrapped optimizer. select: who is kept at harvest.
        alive: which of the original players are still there.
        s, idle, radius: of each player: participation, steps at zero, largest norm.
        surgery: what was cut so far. harvested, kept, certificate: what :meth:`harvest` found.
    """

    inner: Optimizer
    players: Players
    dynamics: Dynamics
    select: Select
    weights: EffectiveWeights
    alive: Tensor
    s: Participation
    idle: Tensor
    radius: PerPlayer
    state_of: dict[str, Any]
    steps: int
    active: bool
    surgery: Surgery | None
    harvested: Surgery
    kept: Mask
    certificate: Certificate | None

    def compact(self, keep: Mask) -> None:
        """Cut players out of the live model, in place, optimizer state included; training goes on.

        Parameters keep their identity, so the optimizer and whoever else holds them are not disturbed; a data-parallel
        wrapper or a compiled graph must be made anew.

        Args:
            keep: ``(players,)``; those leaving should have participation 0, or the function changes.
        """
        if self.players.granularity == "weight":
            raise StructureError("single weights cannot be cut out of a live network; only groups can")
        if not bool(keep.any()):
            raise StructureError("no player would be left to train; harvest the network instead")
        with torch.no_grad():
            self.weights.swap()
            try:
                shrunk = shrink(
                    self.players.model,
                    self.players.structure,
                    self.players.atom_mask(keep),
                    example_inputs=self.players.example_inputs,
                    inplace=True,
                )
            except Exception:
                self.weights.swap()  # nothing was cut: the model holds θ̃ again
                raise
            remap_optimizer(self.inner, self.players.model, shrunk.surgery)
            self.surgery = shrunk.surgery if self.surgery is None else self.surgery.then(shrunk.surgery)
            self.alive[self.alive.clone()] = keep.cpu()
            self.s, self.radius, self.idle = self.s[keep], self.radius[keep], self.idle[keep]
            self.state_of = self.dynamics.restrict(self.state_of, keep)
            self.players = self.players.restrict(keep)
            self.weights = EffectiveWeights(self.players)
            self.weights.write(self.s)

    def idlers(self, patience: int) -> Mask:
        """Players at zero for at least ``patience`` steps that their layer can spare: what stays is a number that the
        layer's limits allow, and equal where layers are tied."""
        leaving = self.idle >= patience
        for unit in self.players.units:
            spans = [slice(self.players.layers[i].start, self.players.layers[i].stop) for i in unit.layers]
            needed = max(int((~leaving[span]).sum()) for span in spans)
            stay = max(unit.above(needed), needed)
            for span in spans:
                spare = span.stop - span.start - stay
                out = torch.nonzero(leaving[span]).flatten()[max(spare, 0) :]
                leaving[span.start + out] = False
        if bool(leaving.all()):
            leaving.zero_()  # the last ones leave with the harvest
        return leaving

    def harvest(self, *, inplace: bool = False, check: bool = True, early: bool = False) -> nn.Module:
        """The pruned network: the players that the selection keeps, the others cut out.

        Sets ``kept`` (mask over the players), ``certificate`` and ``surgery``. At weight granularity the network keeps
        its shape and the weights that left are zero.

        Args:
            inplace: cut the model itself and the optimizer's state (training can go on with the same optimizer,
                which no longer plays, but holds single weights that left at zero); else a smaller copy is returned
                and nothing changes.
            check: verify that the masked network and the smaller one compute the same.
            early: cut even if the market has not reached its budget yet; who stays is then decided by chance.
        Raises:
            RunError: it has been harvested in place before, the market has not reached its budget, or weights or
                participations are not finite.
            BudgetError: the budget cannot be reached.
            StructureError: the cut would change the function.
        """
        if not self.active:
            raise RunError("this network has been harvested in place already; it is the pruned one")
        if not early and (reason := self.dynamics.unfinished(self.steps)):
            raise RunError(f"{reason}; harvest(early=True) cuts all the same")
        self._require_finite()
        s = self.dynamics.final(self.players, self.state_of, self.s)
        self.kept = self.select(self.players, self.state_of, s)
        self.certificate = self.dynamics.certify(self.players, self.state_of, s, self.kept, self.weights.sums(s))
        with self._written(self._filled_up(s), lasting=inplace):
            return self._harvest_weights(inplace) if self.players.granularity == "weight" else self._cut(inplace, check)

    def _cut(self, inplace: bool, check: bool) -> nn.Module:
        mask = self.players.atom_mask(self.kept)
        model, inputs = self.players.model, self.players.example_inputs
        shrunk = shrink(model, self.players.structure, mask, example_inputs=inputs, inplace=inplace, check=check)
        total = shrunk.surgery if self.surgery is None else self.surgery.then(shrunk.surgery)
        self.harvested = total
        if inplace:
            remap_optimizer(self.inner, model, shrunk.surgery)
            self.active, self.surgery = False, total
            self.alive[self.alive.clone()] = self.kept.cpu()
        return shrunk.model

    def _require_finite(self) -> None:
        """Raises: RunError naming a parameter that is NaN or infinite."""
        bad = next((n for n, p in self.players.model.named_parameters() if not bool(p.detach().isfinite().all())), None)
        if bad is None and not bool(self.s.isfinite().all()):
            bad = "participations"
        if bad is not None:
            raise RunError(
                f"{bad} of the network are not finite after {self.steps} steps: a loss was NaN or infinite. Go back to "
                "a state_dict from before it, and lower the learning rate or clip gradients"
            )

    def _filled_up(self, s: Participation) -> Participation:
        """A layer that keeps a multiple, or as many as another, may be filled up with players that had left. No
        gradient reaches a gate at zero, so at the cut they start again from ε."""
        layers = self.players.layers
        rounded = torch.tensor([layer.multiple > 1 or layer.limits.tie != "" for layer in layers], device=s.device)
        again = rounded[self.players.layer_of] & self.kept & (s < EPSILON)
        return torch.where(again, EPSILON, s) if bool(again.any()) else s

    @contextlib.contextmanager
    def _written(self, s: Participation, *, lasting: bool) -> Iterator[None]:
        """Within the block, and after it where it succeeds and is to last, the model holds θ̃ = s·θ."""
        if s is self.s:
            yield
            return
        with torch.no_grad():
            self.weights.write(s)
        cut = False
        try:
            yield
            cut = lasting
        finally:
            if not cut:
                with torch.no_grad():
                    self.weights.write(self.s)

    def _harvest_weights(self, inplace: bool) -> nn.Module:
        model = self.players.model if inplace else copy.deepcopy(self.players.model)
        named = dict(model.named_parameters())
        with torch.no_grad():
            held = [named[n].data for n in self.players.gates.names]
            self.players.gates.scaled(held, self.kept.to(self.s), out=held)
        if inplace:
            self.active, self.s = False, self.kept.to(self.s)
        return model

    def compact_to(self, alive: Mask) -> None:
        """Cut the live model down to the original players in ``alive``."""
        if alive.numel() == self.alive.numel() and not torch.equal(alive, self.alive):
            self.compact(alive[self.alive].to(self.s.device))
