"""Rounds of ``reproduce statmech``: a teacher, a student taught online, and what every way of pruning it costs.

A cell is a few rounds side by side. The student is pruned as it was trained, and with each row of w rescaled to norm
√N: the authors' code has done the latter since February 2020, and their table mixes both (:mod:`.statmech_printed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..spec import derive_seed
from ..theory.teacher_student.dynamics import integrate
from ..theory.teacher_student.order import Order
from ..theory.teacher_student.pruning import (
    diverse_nodes,
    important_edges,
    important_nodes,
    kernel_of,
    losses,
    random_edges,
    random_nodes,
    rescaled,
)
from ..theory.teacher_student.simulation import Lot, Setting, simulate
from .cells import Result

STATES = ("as trained", "rescaled")
TESTED = 5  # masks: how many of those that it drew the authors' code tests
_STEP = 0.4  # of the equations' integration; a quarter of it moves Q by 2e-4 at most


def rounds(
    *,
    setting: Mapping[str, Any],
    steps: int,
    count: int,
    levels: Sequence[tuple[int, int]],
    masks: int,
    examples: int,
    times: Sequence[float] = (),
    matrices: bool = False,
    seed: int,
) -> Result:
    """Some rounds, the first of which is number ``seed``.

    Args:
        setting: of the simulation. levels: (nodes, edges a node) kept, equal in parameters. masks: drawn per level.
        examples: of the test set, and as many behind the DPP's kernel. times: when simulation and equations are
            compared. matrices: give the first round's order parameters after pruning, too.
    Returns:
        ``times``, see :func:`_compared`; ``pruned``, one row a round, noise and state; ``matrices``.
    """
    given = Setting(**{**setting, "noises": tuple(setting["noises"])})
    numbers = list(range(seed, seed + count))
    lot = Lot.begin(given, numbers)
    found: Result = {"times": _compared(lot, times)}
    lot.advance(steps - lot.steps)
    rows = []
    for i, number in enumerate(numbers):
        for j, noise in enumerate(given.noises):
            for state in STATES:
                student = Student(lot, i, j, state, derive_seed(number, "pruning", f"{noise:g}", state))
                rows.append({"round": number, "noise": noise, "state": state,
                             **student.pruned(levels, masks, examples)})  # fmt: skip
    if matrices:
        seeds = derive_seed(numbers[0], "matrices")
        found["matrices"] = Student(lot, 0, 0, "rescaled", seeds).matrices(levels, masks, examples)
    return {**found, "pruned": rows}


def _compared(lot: Lot, times: Sequence[float]) -> list[dict[str, Any]]:
    """At every time, quantity by quantity, what the simulation has and what the equations say: (rounds, noises)."""
    start = lot.order
    seen = simulate(lot, times)
    told = integrate(start, times, lot.setting.rate, torch.tensor(lot.setting.noises), step=_STEP)
    return [{"time": t, "seen": _summary(a), "told": _summary(b)} for t, a, b in zip(times, seen, told, strict=True)]


def _summary(order: Order) -> dict[str, list]:
    """The error, and means over the student's units; signs differ by symmetry, hence magnitudes."""
    return {
        "ε": order.error().tolist(),
        "Q": order.Q.diagonal(dim1=-2, dim2=-1).mean(-1).tolist(),
        "R": order.R.abs().amax(-1).mean(-1).tolist(),
        "v": order.v.abs().mean(-1).tolist(),
    }


class Student:
    """One student of a lot, in one state, with the masks that are drawn for it."""

    def __init__(self, lot: Lot, index: int, level: int, state: str, seed: int) -> None:
        w = lot.w[index, level]
        self.w, self.v = rescaled(w) if state == "rescaled" else w, lot.v[index, level]
        self.teacher, self.A, self.noise = lot.teacher[index], lot.A, lot.setting.noises[level]
        self.generator = torch.Generator().manual_seed(seed)

    def order(self, w: Tensor | None = None) -> Order:
        """Order parameters of the student, or with other weights, (…, K, N)."""
        w = self.w if w is None else w
        return Order.of(w, self.v.expand(*w.shape[:-1]), self.teacher, self.A)

    def masks(self, nodes: int, edges: int, count: int, kernel: Tensor) -> dict[str, Tensor]:
        """Every method's masks at one level."""
        (K, N), generator = self.w.shape, self.generator
        return {
            "DPP node": diverse_nodes(kernel, nodes, count, generator),
            "random edge": random_edges((K, N), edges / N, count, generator),
            "random node": random_nodes(K, nodes, count, generator),
            "importance edge": important_edges(self.w, edges),
            "importance node": important_nodes(self.v, nodes),
            "importance node, |v|": important_nodes(self.v, nodes, signed=False),
            "random node, each by itself": torch.rand(count, K, generator=generator) < nodes / K,
        }

    def pruned(self, levels: Sequence[tuple[int, int]], masks: int, examples: int) -> dict[str, Any]:
        """Losses without any cut and after each, (level) lists: on the test set, of as few masks as the authors
        test, and in closed form of the pruned weights' order parameters; and how far the kernel is from Q."""
        kernel = kernel_of(self.w, examples, self.generator)
        drawn = {("whole", 0): torch.ones(1, len(self.v), dtype=torch.bool)}
        for i, (nodes, edges) in enumerate(levels):
            drawn |= {(name, i): m for name, m in self.masks(nodes, edges, masks, kernel).items()}
        seen = losses(self.w, self.v, self.teacher, self.A, drawn, examples=examples, generator=self.generator,
                      noise=self.noise)  # fmt: skip
        floor = self.noise**2 / 2
        methods: dict[str, dict[str, list[float]]] = {}
        for (name, _), mask in drawn.items():
            row = methods.setdefault(name, {"tested": [], "few": [], "closed": []})
            loss = seen[name, len(row["tested"])]
            row["tested"].append(float(loss.mean()))
            row["few"].append(float(loss[:TESTED].mean()))
            row["closed"].append(float(self.cut(mask).error().mean()) + floor)
        whole = methods.pop("whole")
        Q = self.order().Q
        spread = ((Q.diagonal()[:, None] * Q.diagonal() + Q**2) / examples).sqrt()
        return {
            "whole": whole["tested"][0],
            "whole, closed": whole["closed"][0],
            "methods": methods,
            "kernel": float(((kernel - Q).abs() / spread).max()),
        }

    def cut(self, mask: Tensor) -> Order:
        """Order parameters under masks of units or weights, (count)."""
        return self.order().nodes(mask) if mask.dim() == 2 else self.order(mask * self.w)

    def matrices(self, levels: Sequence[tuple[int, int]], masks: int, examples: int) -> dict[str, Any]:
        """Q and R whole and after every cut, units ordered by the teacher's unit that they learnt.

        Of a drawn choice of nodes one mask is shown, of edges the mean over masks, in magnitude, as the paper does.
        """
        kernel, whole = kernel_of(self.w, examples, self.generator), self.order()
        closest = whole.R.abs().argmax(-1)
        order = torch.argsort(closest, stable=True)
        out: dict[str, Any] = {"kernel": kernel[order][:, order].tolist(), "whole": _shown(whole, order)}
        for nodes, edges in levels:
            for name, mask in self.masks(nodes, edges, masks, kernel).items():
                cut = self.cut(mask[:1] if mask.dim() == 2 else mask)
                out.setdefault(name, []).append(_shown(cut, order))
        return out


def _shown(found: Order, order: Tensor) -> dict[str, list]:
    K, M = found.R.shape[-2:]
    Q, R = found.Q.reshape(-1, K, K).mean(0), found.R.reshape(-1, K, M).mean(0)
    return {"Q": Q[order][:, order].tolist(), "R": R[order].tolist()}


KINDS: dict[str, Callable[..., Result]] = {"rounds": rounds}

__all__ = ["KINDS", "STATES", "TESTED", "Student", "rounds"]
