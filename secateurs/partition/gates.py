"""Group-wise reductions over parameters: the kernel everything else is made of.

A *gate* says which player owns each index of one axis of one parameter. Over gates, every method needs
the same few sums, ⟨a_g, b_g⟩ and Σ_j s_j θ_j, and the same product, s_g·θ_g. They are written once, here,
without a Python loop over players:

* one-dimensional parameters (biases, BatchNorm's γ and β) are laid end to end and reduced in one call;
* an axis whose owners are consecutive players is a plain slice of the player vector (no gather);
* anything else goes through an index.

Under data parallelism gradients are already averaged, so every process computes the same sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..shapes import PerPlayer
from .gate import Block, Gate

PIECE = 1 << 18  # elements of a slice handled at a time on a CPU: a megabyte, about a core's cache
FEW = 8  # one-dimensional parameters below this number are cheaper one by one than laid end to end


class Gates:
    """All gates of a set of players, grouped by parameter.

    Args:
        gates: the gates; several may name one parameter (its rows and its columns, say).
        named: the model's parameters by name.
        count: number of players.
    """

    def __init__(self, gates: Sequence[Gate], named: dict[str, nn.Parameter], count: int) -> None:
        self.count = count
        self.gates = list(gates)
        by_name: dict[str, list[Gate]] = {}
        for gate in self.gates:
            by_name.setdefault(gate.name, []).append(gate)
        vectors = [n for n, gs in by_name.items() if len(gs) == 1 and named[n].dim() == 1]
        if len(vectors) < FEW:
            vectors = []
        self.names = vectors + [n for n in by_name if n not in set(vectors)]
        self.parameters = [named[n] for n in self.names]
        self._vectors = len(vectors)
        self._sizes = [named[n].numel() for n in vectors]
        device = self.parameters[0].device if self.parameters else torch.device("cpu")
        owners = [by_name[n][0].owners(named[n].shape, device).flatten() for n in vectors]
        self._bank = torch.cat(owners) if owners else torch.zeros(0, dtype=torch.long, device=device)
        self._bank = torch.where(self._bank < 0, count, self._bank)
        self._blocks = [Block(by_name[n], count, named[n].shape, device) for n in self.names[self._vectors :]]
        # Single weights, each owned once: sums have one term.
        self._single = not vectors and self._tile()
        self._alone = self._find_alone() if device.type == "cpu" and not vectors else {}

    def _tile(self) -> bool:
        """Whether every player is one element, and they lie in the blocks in order."""
        stop = 0
        for block in self._blocks:
            if block.axes != [None] or block.slices[0] is None or block.slices[0].start != stop:
                return False
            stop = block.slices[0].stop
        return stop == self.count

    def _find_alone(self) -> dict[int, None]:
        """Large blocks whose rows are consecutive players that own no other large slice: those can be walked through
        in pieces, since a player's sums are complete once its piece is done."""
        large = [i for i, b in enumerate(self._blocks) if len(b.shape) > 1]
        if not any(self._blocks[i].axes == [0] for i in large):
            return {}
        taken = torch.zeros(self.count + 1, dtype=torch.long)
        for i in large:
            for k in range(len(self._blocks[i].axes)):
                taken[self._blocks[i].players(k)] += 1
        return {
            i: None
            for i in large
            if self._blocks[i].axes == [0]
            and self._blocks[i].slices[0] is not None
            and bool((taken[self._blocks[i].slices[0]] == 1).all())
        }

    def _zeros(self) -> Tensor:
        """Where sums are gathered, with a last place for nobody."""
        return self.parameters[0].new_zeros(self.count + 1, dtype=self._precision())

    def _precision(self) -> torch.dtype:
        """What sums are kept in: float32 at least, whatever the weights are kept in."""
        dtypes = (p.dtype for p in self.parameters)
        return functools.reduce(torch.promote_types, dtypes, torch.float32)

    def extend(self, s: PerPlayer) -> Tensor:
        """Player values with a final 1 for whatever nobody owns."""
        return torch.cat([s, s.new_ones(1)])

    def dot(self, left: Sequence[Tensor], right: Sequence[Tensor], s: PerPlayer | None = None) -> PerPlayer:
        """⟨left_g, right_g⟩ for every player.

        Args:
            left, right: tensors parallel to ``self.parameters``.
            s: participation; where a parameter is gated along several axes, the other axes' factors
                multiply the product (∂θ̃/∂s_g holds the other owner's participation).
        Returns:
            ``(players,)`` sums.
        """
        if self._single:
            return self.elements(torch.mul, left, right)
        sums = self._zeros()
        v = self._vectors
        if v:
            products = torch.cat(list(left[:v])).mul_(torch.cat(list(right[:v])))
            sums.index_add_(0, self._bank, products.to(sums.dtype))
        extended = self.extend(s) if s is not None else None
        for block, a, b in zip(self._blocks, left[v:], right[v:]):
            block.reduce_into(sums, a, b, extended)
        return sums[: self.count]

    def chain(self, grads: Sequence[Tensor], theta: Sequence[Tensor], s: PerPlayer) -> PerPlayer:
        """⟨grads_g, θ_g⟩, and then grads ← s·grads in place: the chain rule from θ̃ = s·θ to s and to θ.

        The large slices are walked through in pieces that stay in cache between the two.
        """
        if not self._alone:
            sums = self.dot(grads, theta, s)
            self.scaled(grads, s, out=grads)
            return sums
        sums = self._zeros()
        extended = self.extend(s)
        for i, (grad, t) in enumerate(zip(grads, theta)):
            if i not in self._alone or not _plain(grad, t):
                block = self._blocks[i]
                block.reduce_into(sums, grad, t, extended)
                grad.mul_(block.product(extended))
                continue
            for rows, span in self._pieces(i):
                g, part = grad[rows].flatten(1), t[rows].flatten(1)
                sums[span].add_(torch.linalg.vecdot(g, part))
                g.mul_(s[span, None])
        return sums[: self.count]

    def settle(self, theta: Sequence[Tensor], radius: PerPlayer, s: PerPlayer, out: Sequence[Tensor]) -> None:
        """θ_g projected in place to ‖θ_g‖ ≤ radius_g, and out = s·θ; walked through in pieces where possible."""
        if not self._alone:
            shrinkage = (radius / self.sq_norm(theta).sqrt_().clamp_min_(1e-30)).clamp_max_(1.0)
            self.scaled(theta, shrinkage, out=theta)
            self.scaled(theta, s, out=out)
            return
        sums = self._zeros()
        alone = [i for i in self._alone if _plain(theta[i], out[i])]
        rest = [i for i in range(len(self._blocks)) if i not in alone]
        for i in rest:
            self._blocks[i].sq_norm_into(sums, theta[i])
        for i in alone:
            for rows, span in self._pieces(i):
                part = theta[i][rows].flatten(1)
                sums[span].add_(torch.linalg.vector_norm(part, dim=1).square_())
                norm = sums[span].sqrt().clamp_min_(1e-30)
                part.mul_((radius[span] / norm).clamp_max_(1.0)[:, None])
                torch.mul(part, s[span, None], out=out[i][rows].flatten(1))
        shrinkage = (radius / sums[: self.count].sqrt_().clamp_min_(1e-30)).clamp_max_(1.0)
        both = self.extend(shrinkage), self.extend(s)
        for i in rest:
            theta[i].mul_(self._blocks[i].product(both[0]))
            torch.mul(theta[i], self._blocks[i].product(both[1]), out=out[i])

    def _pieces(self, i: int) -> Iterator[tuple[slice, slice]]:
        """Row ranges of block ``i``, and the players they belong to."""
        shape, span = self._blocks[i].shape, self._blocks[i].slices[0]
        assert span is not None
        step = max(1, PIECE // max(1, shape[1:].numel()))
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            yield slice(start, stop), slice(span.start + start, span.start + stop)

    def scaled(self, source: Sequence[Tensor], s: PerPlayer, out: Sequence[Tensor]) -> None:
        """out = s·source, gate by gate; ``out`` may be ``source`` itself."""
        extended = self.extend(s)
        v = self._vectors
        if v:
            factors = list(extended[self._bank].split(self._sizes))
            if out is not source:
                torch._foreach_copy_(list(out[:v]), list(source[:v]))
            torch._foreach_mul_(list(out[:v]), factors)
        for block, a, o in zip(self._blocks, source[v:], out[v:]):
            torch.mul(a, block.product(extended), out=o)

    def tangent(self, theta: Sequence[Tensor], direction: PerPlayer) -> list[Tensor]:
        """The direction in which θ̃ moves when every s_g = 1 moves at ``direction``_g: the transpose of :meth:`dot`.
        Nothing moves where nobody owns it."""
        moved = torch.cat([direction, direction.new_zeros(1)])
        v = self._vectors
        out = [t * f for t, f in zip(theta[:v], moved[self._bank].split(self._sizes))] if v else []
        for block, t in zip(self._blocks, theta[v:]):
            out.append(sum((t * block.factor(k, moved) for k in range(len(block.axes))), torch.zeros_like(t)))
        return out

    def elements(self, function: Callable[..., Tensor], *tensors: Sequence[Tensor]) -> PerPlayer:
        """``function(*elements, out=…)`` of every single weight: at weight granularity, where a player is one.

        Args:
            function: elementwise, with ``out=``, such as :func:`torch.abs`.
            tensors: each parallel to ``self.parameters``.
        """
        out = self.parameters[0].new_empty(self.count, dtype=self._precision())
        for block, *held in zip(self._blocks, *tensors):
            (span,) = block.slices
            assert span is not None and block.axes == [None]
            function(*(t.reshape(-1).to(out.dtype) for t in held), out=out[span])
        return out

    def sq_norm(self, theta: Sequence[Tensor]) -> PerPlayer:
        """‖θ_g‖² for every player: :meth:`dot` with itself, in one pass over the large slices."""
        if self._single:
            return self.elements(torch.mul, theta, theta)
        v = self._vectors
        sums = self._zeros()
        if v:
            sums.index_add_(0, self._bank, torch.cat(list(theta[:v])).square_().to(sums.dtype))
        for block, t in zip(self._blocks, theta[v:]):
            block.sq_norm_into(sums, t)
        return sums[: self.count]

    def stacked(self, theta: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For every gate, the players of one shape and their slices as rows: ``(n,)`` and ``(n, d)``.

        A player that owns several indices (a head, a group of channels) has them side by side in its row, in order.
        """
        by_name = dict(zip(self.names, theta))
        for gate in self.gates:
            t = by_name[gate.name]
            owner = gate.owners(t.shape, t.device).flatten()
            rows = t.reshape(-1, 1) if gate.axis is None else t.movedim(gate.axis, 0).reshape(owner.numel(), -1)
            counts = torch.bincount(owner[owner >= 0], minlength=self.count)
            order = torch.sort(owner, stable=True).indices
            order = order[owner[order] >= 0]
            for size in torch.unique(counts[counts > 0]).tolist():
                mine = order[counts[owner[order]] == size]
                yield owner[mine][::size], rows[mine].reshape(mine.numel() // size, -1)

    def competition(self, theta: Sequence[Tensor], s: PerPlayer) -> PerPlayer:
        """Σ_{j≠g} s_j⟨θ_g, θ_j⟩ over players of the same shape that share a gate (game, third term of eq. 10).

        O(N·d): Σ_j s_jθ_j is formed once per gate, and the player's own part is subtracted.
        """
        sums = s.new_zeros(self.count)
        for players, rows in self.stacked(theta):
            own, rows = s[players], rows.to(s.dtype)
            pooled = own @ rows
            sums.index_add_(0, players, rows @ pooled - own * rows.square().sum(1))
        return sums


def _plain(*tensors: Tensor) -> bool:
    """Whether rows can be flattened in place. Channels-last weights and gradients cannot."""
    return all(t.is_contiguous() for t in tensors)
