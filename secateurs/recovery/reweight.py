"""Reweighting: what is kept takes over from what was dropped, as far as it can tell what that would have said.

With a the activations that a reader was given in the network *before* the cut, as DIVNET has it,

    α_i = argmin ‖Σ_j α_ij·a_j − a_i‖²   over the kept j, for each dropped i        w̃_jk = w_jk + Σ_i α_ij·w_ik.

Of single weights that are gone, every output has its own kept inputs K and dropped ones Q, and the latter's
contribution is regressed: w̃_K = w_K + argmin_δ ‖δ·a_K − w_Q·a_Q‖², which for whole inputs is the same.

Each is a projection, so for a linear map the squared error of what the reader returns, on those activations, never
exceeds that of plain removal. A convolution has one α for all places of its kernel, estimated over the feature map:
right for each place, but not a projection of what the kernel adds up, and beyond the border there are zeros. So the
error is measured in the end, and an output that would be worse stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..maths.least_squares import Moments, solve
from ..signals.patches import Linear, apply, as_rows, channel_axis, channel_rows, groups_of, rows_of
from ..zoo.splits import Batch
from .base import Recovery, Removal
from .embedding import missing, places, stays
from .readers import Pair, Reader, paired, require_finite, within

MEMORY = 1 << 29  # bytes of second moments held at a time


class Reweight(Recovery):
    """DIVNET's reweighting (Mariet & Sra 2016, §2.2), for every reader that lost inputs or single weights. By channel
    for convolutions; by patch where single weights are gone, or the kernel is one position.

    The activations are those of the network before, so readers do not depend on each other. What the weights have
    made up for already (a score's own repair, another recovery) is taken into account: only what is still missing is
    taken over.

    Args:
        ridge: relative to each input's own second moment, and then refined away (see
            :func:`secateurs.maths.least_squares.solve`): it decides between inputs that determine each other, no more.
        rows: positions that are looked at, as in :class:`~secateurs.recovery.reconstruct.Reconstruct`.
    """

    name: ClassVar[str] = "reweight"
    summary: ClassVar[str] = "kept inputs of a layer take over the dropped ones, as far as they can tell them"
    source: ClassVar[str] = "Mariet & Sra 2016"
    cost: ClassVar[str] = "two passes over the data, and normal equations"
    intercept: ClassVar[bool] = False

    def __init__(self, ridge: float = 1e-8, rows: int = 200_000, seed: int = 0) -> None:
        self.ridge, self.rows, self.seed = ridge, rows, seed

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        with paired(model, removal, data) as pair:
            for some in within(MEMORY, (reader for reader in pair.readers if reader.lost), _bytes):
                moments = self._moments(pair, some)
                plans = {reader: self._plan(reader, moments.pop(reader)) for reader in some}
                _measure(pair, plans)
                for reader, plan in plans.items():
                    _carry_out(reader, plan)
        return pair.repaired

    def _moments(self, pair: Pair, readers: list[Reader]) -> dict[Reader, Moments]:
        moments, generator = {}, torch.Generator().manual_seed(self.seed)
        for reader in readers:
            moments[reader] = Moments(groups_of(reader.origin), _width(reader), 0, reader.module.weight.device)

        def look(reader: Reader, module: Linear, x: Tensor, y: Tensor) -> None:
            share = pair.share(reader, self.rows)
            if _by_channel(reader):
                for rows in channel_rows(module, x, share, generator):
                    moments[reader].add(rows)
            else:
                for rows, _ in rows_of(module, x, y, share, generator):
                    moments[reader].add(rows)

        pair.look_before(readers, look)
        for reader in readers:
            require_finite(reader, moments[reader].finite)
        return moments

    def _plan(self, reader: Reader, moments: Moments) -> Plan:
        """By least squares; in the shapes of the network before."""
        lost, kept = missing(reader), stays(reader)
        intercept = self.intercept and reader.biased
        if not _by_channel(reader):
            rows = as_rows(reader.origin, lost)
            keep = as_rows(reader.origin, kept)
            if reader.mask is None:
                keep = keep.flatten(0, 1).any(0)  # alike for every output that is left
            weight, shift = solve(moments.mapped(rows), self.ridge, intercept=intercept, keep=keep, refine=2)
            return Plan(lost, weight.reshape(lost.shape), shift.flatten())
        there = kept.flatten(2).any(2).any(0)
        inside, outside = there.nonzero().flatten(), (~there).nonzero().flatten()
        alpha, rest = solve(moments.split(inside, outside), self.ridge, intercept=intercept, refine=2)
        grouped = lost.unflatten(0, (groups_of(reader.origin), -1)).flatten(3)  # (groups, outputs, inputs, kernel)
        weight = torch.zeros_like(grouped)
        weight[:, :, inside] = torch.einsum("gqj,goqk->gojk", alpha, grouped[:, :, outside])
        shift = torch.einsum("gq,goqk->go", rest, grouped[:, :, outside])
        return Plan(lost, weight.reshape(lost.shape), shift.flatten())


class ReweightIntercept(Reweight):
    """As ``reweight``, with an intercept in each regression, a_i ≈ Σ_j α_ij·a_j + c_i, that goes into the bias,
    b̃_k = b_k + Σ_i c_i·w_ik. Where there is no bias there is no intercept: no parameter is added."""

    name: ClassVar[str] = "reweight-intercept"
    summary: ClassVar[str] = "the same, with an intercept that goes into the bias"
    intercept: ClassVar[bool] = True


@dataclass
class Plan:
    """What to do to a reader, in the shapes of the network before.

    Attributes:
        lost: the weight before, less what is there now. weight: what to add. shift: to the bias.
    """

    lost: Tensor
    weight: Tensor
    shift: Tensor


def _by_channel(reader: Reader) -> bool:
    """Whether one α is for all places of a kernel."""
    return reader.mask is None and reader.origin.weight[0, 0].numel() > 1


def _width(reader: Reader) -> int:
    return reader.origin.weight.shape[1] if _by_channel(reader) else reader.origin.weight[0].numel()


def _bytes(reader: Reader) -> int:
    """Of second moments."""
    return 8 * groups_of(reader.origin) * _width(reader) ** 2


def _measure(pair: Pair, plans: dict[Reader, Plan]) -> None:
    """Take back what would make an output worse: its squared error over all positions, as it is and as planned."""
    errors = {reader: plan.shift.new_zeros(2, len(plan.shift)) for reader, plan in plans.items()}

    def look(reader: Reader, module: Linear, x: Tensor, _: Tensor) -> None:
        plan, axis = plans[reader], channel_axis(module)
        made = (apply(module, x, w.to(x)).movedim(axis, -1) for w in (plan.lost, plan.weight))
        now, more = (out.reshape(-1, len(plan.shift)) for out in made)
        errors[reader][0] += now.double().square().sum(0)
        errors[reader][1] += (now.double() - more - plan.shift).square().sum(0)

    pair.look_before(plans, look)
    for reader, plan in plans.items():
        worse = ~(errors[reader][1] <= errors[reader][0])
        plan.weight[worse], plan.shift[worse] = 0, 0


def _carry_out(reader: Reader, plan: Plan) -> None:
    outputs, inputs = places(reader)
    reader.change(plan.weight[outputs.unsqueeze(1), inputs], plan.shift[outputs])
