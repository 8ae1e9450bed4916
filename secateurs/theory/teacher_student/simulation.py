"""A student that learns from a teacher, one example at a time: many of them at once, at a fraction of the cost.

Teacher and student are two-layer networks on ξ ~ N(0, I_N): y = Σ_m A_m g(w*_m·ξ/√N) + σζ and φ = Σ_k v_k g(w_k·ξ/√N),
g(x) = erf(x/√2). Online SGD on ½(φ − y)² uses every example once (Goldt et al. 2019):

    w_k ← w_k + (η/√N) v_k g'(λ_k) Δ ξ        v_k ← v_k + (η/N) g(λ_k) Δ        Δ = y − φ, λ_k = w_k·ξ/√N

A step depends on the one before, but not on all N weights of it: within a block of examples ξ_1 … ξ_S,

    λ_k(t) = w_k·ξ_t/√N + Σ_{s<t} c_k(s)·ξ_s·ξ_t/N        c_k(s) = η v_k g'(λ_k) Δ at step s

so that three matrix products (first fields, Gram matrix, the weights' change at the end) do what costs, and the steps
in between touch only the fields. It is the same arithmetic in another order, exact but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...spec import derive_seed
from .order import Order

BLOCK = 32  # steps between two matrix products: longer blocks make the Gram matrix dear, shorter ones the products


@dataclass(frozen=True)
class Setting:
    """What is learnt, and how.

    Attributes:
        inputs: N. teacher: M units. student: K units. strength: v*, all of A. rate: η.
        noises: σ, one student for each; they share the teacher, the start, the inputs and the ζ, so that what differs
            between them is the noise.
    """

    inputs: int = 500
    teacher: int = 2
    student: int = 6
    strength: float = 4.0
    rate: float = 0.5
    noises: tuple[float, ...] = (0.0,)


@dataclass
class Lot:
    """Rounds that are simulated side by side; each draws from a generator of its own, whatever stands beside it.

    Attributes:
        w: (rounds, noises, K, N). v: (rounds, noises, K). teacher: (rounds, M, N).
        generators: one a round. steps: done so far.
    """

    setting: Setting
    w: Tensor
    v: Tensor
    teacher: Tensor
    generators: list[torch.Generator] = field(repr=False)
    steps: int = 0

    @classmethod
    def begin(cls, setting: Setting, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> Lot:
        """Fresh rounds, one a seed: w*, w and v drawn from N(0, 1)."""
        s = setting
        generators = [torch.Generator().manual_seed(derive_seed(seed, "teacher and student")) for seed in seeds]

        def drawn(*shape: int) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=g, dtype=dtype) for g in generators])

        teacher, w, v = drawn(s.teacher, s.inputs), drawn(s.student, s.inputs), drawn(s.student)
        levels = len(s.noises)
        return cls(s, w[:, None].repeat(1, levels, 1, 1), v[:, None].repeat(1, levels, 1), teacher, generators)

    @property
    def A(self) -> Tensor:
        """The teacher's second layer, (M,)."""
        return torch.full((self.setting.teacher,), self.setting.strength, dtype=self.w.dtype)

    @property
    def order(self) -> Order:
        """Order parameters now, a batch of (rounds, noises)."""
        return Order.of(self.w, self.v, self.teacher[:, None], self.A)

    @property
    def time(self) -> float:
        """t = steps/N."""
        return self.steps / self.setting.inputs

    def labels(self, fields: Tensor, zeta: Tensor) -> Tensor:
        """y of the teacher's local fields (rounds, S, M) and ζ (rounds, S), (rounds, noises, S)."""
        clean = torch.erf(fields / math.sqrt(2.0)) @ self.A
        noises = torch.tensor(self.setting.noises, dtype=clean.dtype)
        return clean[:, None] + noises[:, None] * zeta[:, None]

    @torch.inference_mode()
    def advance(self, steps: int) -> None:
        """So many steps of online SGD, each on a fresh example."""
        rounds, N = len(self.generators), self.setting.inputs
        x = torch.empty(rounds, BLOCK, N, dtype=self.w.dtype)
        zeta = torch.empty(rounds, BLOCK, dtype=self.w.dtype)
        for size in _blocks(steps):
            for i, generator in enumerate(self.generators):
                x[i, :size].normal_(generator=generator)
                zeta[i, :size].normal_(generator=generator)
            self._learn(x[:, :size], zeta[:, :size])
        self.steps += steps

    def _learn(self, x: Tensor, zeta: Tensor) -> None:
        """A block of examples, (rounds, S, N)."""
        rounds, levels, K, N = self.w.shape
        S = x.shape[1]
        flat = self.w.view(rounds, levels * K, N)
        y = self.labels(x @ self.teacher.transpose(1, 2) / math.sqrt(N), zeta)
        half = math.sqrt(0.5 / N)  # the steps work on u = λ/√2
        u = (x @ flat.transpose(1, 2)).mul_(half).view(rounds, S, levels, K).transpose(0, 1).contiguous()
        gram = (x @ x.transpose(1, 2)).mul_(self.setting.rate / math.sqrt(math.pi) / N).permute(1, 2, 0)
        changes = self._steps(u, y.permute(2, 0, 1)[..., None].contiguous(), gram[..., None, None])
        step = self.setting.rate * math.sqrt(2.0 / math.pi) / math.sqrt(N)
        flat.baddbmm_(changes.permute(1, 2, 3, 0).reshape(rounds, levels * K, S), x, alpha=step)

    def _steps(self, u: Tensor, y: Tensor, gram: Tensor) -> Tensor:
        """The steps themselves: λ/√2 in, (S, rounds, noises, K); v·exp(−λ²/2)·Δ of every step out; v moves.

        This is the loop that everything waits for, hence the buffers, and the Gram matrix written out for every unit:
        broadcasting over so short a dimension costs more than copying.
        """
        rate, v = self.setting.rate / self.setting.inputs, self.v
        gram = gram.expand(*gram.shape[:3], *v.shape[1:]).contiguous()
        changes = torch.empty_like(u)
        g, slope, delta = torch.empty_like(v), torch.empty_like(v), torch.empty_like(v[..., :1])
        for t, (now, change, label) in enumerate(zip(u.unbind(), changes.unbind(), y.unbind())):
            torch.erf(now, out=g)
            torch.mul(g, v, out=slope)
            torch.sum(slope, -1, keepdim=True, out=delta)
            torch.sub(label, delta, out=delta)
            torch.mul(now, now, out=slope).neg_().exp_()
            torch.mul(slope, v, out=change).mul_(delta)
            v.addcmul_(g, delta, value=rate)
            if t + 1 < len(u):
                u[t + 1 :].addcmul_(gram[t, t + 1 :], change)
        return changes


def _blocks(steps: int) -> Iterator[int]:
    while steps > 0:
        yield min(BLOCK, steps)
        steps -= BLOCK


def simulate(lot: Lot, times: Sequence[float]) -> list[Order]:
    """Order parameters at ``times`` t = steps/N, ascending; the lot is left at the last."""
    found = []
    for time in times:
        steps = round(time * lot.setting.inputs) - lot.steps
        if steps < 0:
            raise ValueError(f"times {list(times)}: must ascend, from {lot.time:g} on")
        lot.advance(steps)
        found.append(lot.order)
    return found


__all__ = ["BLOCK", "Lot", "Setting", "simulate"]
