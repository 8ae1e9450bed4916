"""What the paper states, each as a function that returns both sides and whether it holds.

Closed forms (:mod:`.closed`) stand on one side; on the other what equation (13) makes of the pruned order parameters of
the ansatz, by trying every subset or drawing masks, or else the closed form of the method that is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from . import closed
from .dynamics import velocity
from .order import Order, ansatz
from .pruning import kernel_of, random_edges

_SLACK = 1e-9  # of the larger side: what is equal differs by less, in floating point


@dataclass(frozen=True)
class Statement:
    """``left relation right``, up to rounding: a strict inequality does not hold between equals."""

    left: float
    relation: Literal["=", "<=", "<", ">=", ">"]
    right: float

    @property
    def holds(self) -> bool:
        gap, slack = self.left - self.right, _SLACK * max(abs(self.left), abs(self.right), 1e-3)
        equal = abs(gap) <= slack
        if self.relation == "=":
            return equal
        strict = gap > slack if self.relation[0] == ">" else gap < -slack
        return strict or (equal and self.relation in ("<=", ">="))


def lemma1(w: Tensor, examples: int, generator: torch.Generator, sigmas: float = 5.0) -> Statement:
    """The expected kernel of DPP node pruning, HᵀH/n, is Q.

    Left: the entry of HᵀH/n that is farthest from Q, in its standard deviation √((Q_ii·Q_kk + Q_ik²)/n), for n·HᵀH/n is
    Wishart. Right: ``sigmas``.
    """
    Q = w.double() @ w.double().T / w.shape[1]
    own = Q.diagonal()
    deviation = ((own[:, None] * own + Q**2) / examples).sqrt()
    return Statement(float(((kernel_of(w, examples, generator) - Q).abs() / deviation).max()), "<=", sigmas)


def lemma2(kept: Sequence[int], M: int, Z: int, strength: float = 1.0) -> Statement:
    """Error of the student whose ``kept`` units are left = v*²/6·Σ(1 − l_m/Z)².

    The paper asks for Σ l_m ≤ M, and does not need it: any subset will do.
    """
    order = ansatz(M, Z, strength)
    counts = [sum(i // Z == m for i in kept) for m in range(M)]
    return Statement(float(order.nodes(_mask(kept, M * Z)).error()), "=", closed.nodes_left(counts, Z, strength))


def lemma3(v: Tensor, M: int, Z: int) -> Statement:
    """v stands still where those of every group add up to v*, here the first group's sum: max \\|dv/dt\\| = 0."""
    start = ansatz(M, Z, float(v[:Z].sum()))
    return Statement(float(velocity(Order(start.Q, start.R, start.T, v, start.A), 1.0)[2].abs().max()), "=", 0.0)


def lemma4(
    w: Tensor, teacher: Tensor, c: float, draws: int, generator: torch.Generator, *,
    as_proved: bool = False, sigmas: float = 5.0,
) -> Statement:  # fmt: skip
    """E[Q'_ii] = c·Q_ii, E[Q'_ik] = c²·Q_ik, E[R'] = c·R under random edge pruning.

    Left: the entry whose mean over ``draws`` is farthest from it, in its standard errors. Right: ``sigmas``.

    Args:
        as_proved: hold E[Q'_ii] = c²·Q_ii against the draws instead, as the proof has it.
    """
    ones = torch.ones(len(w), dtype=torch.float64), torch.ones(len(teacher), dtype=torch.float64)
    masks = random_edges((w.shape[0], w.shape[1]), c, draws, generator)
    drawn = Order.of(masks * w, ones[0].expand(draws, -1), teacher, ones[1])
    whole = Order.of(w, ones[0], teacher, ones[1])
    expected = whole.thinned(c)
    Q = c**2 * whole.Q if as_proved else expected.Q
    farthest = 0.0
    for sample, mean in ((drawn.Q, Q), (drawn.R, expected.R)):
        error = sample.std(0) / math.sqrt(draws)
        farthest = max(farthest, float(((sample.mean(0) - mean).abs() / error).max()))
    return Statement(farthest, "<=", sigmas)


def theorem1(k: int, M: int, Z: int, strength: float = 1.0, *, reweighted: bool = False) -> Statement:
    """(5), (6) = the mean error over all subsets of k units, each weighed by its determinant det Q_Y (k ≤ M)."""
    order = ansatz(M, Z, strength)
    total, mass = 0.0, 0.0
    for kept in combinations(range(M * Z), k):
        chance = float(torch.linalg.det(order.Q[list(kept)][:, list(kept)])) if kept else 1.0
        total += chance * float(_cut(order, kept, reweighted).error()) if chance else 0.0
        mass += chance
    return Statement(total / mass, "=", closed.dpp_node(k, M, Z, strength, reweighted=reweighted))


def theorem2(k: int, M: int, Z: int, strength: float = 1.0) -> tuple[Statement, Statement, Statement]:
    """(7) random node > DPP node, (8) the same reweighted, (9) importance node > DPP node reweighted; k ≤ M.

    Random node is an expectation over uniform subsets. Under the ansatz all v are alike, so importance may keep any
    subset: its least error stands on the left of (9), that of units spread over as many groups as there are.
    """
    random = [closed.random_node(k, M, Z, strength, reweighted=r) for r in (False, True)]
    dpp = [closed.dpp_node(k, M, Z, strength, reweighted=r) for r in (False, True)]
    spread = closed.nodes_left([k // M + (m < k % M) for m in range(M)], Z, strength)
    return Statement(random[0], ">", dpp[0]), Statement(random[1], ">", dpp[1]), Statement(spread, ">", dpp[1])


def theorem3(c: float, M: int, Z: int, strength: float = 1.0) -> Statement:
    """(10) = the error of the expected order parameters of Lemma 4."""
    return Statement(float(ansatz(M, Z, strength).thinned(c).error()), "=", closed.random_edge(c, M, Z, strength))


def theorem4(c: float, Z: int, M: int = 1, strength: float = 1.0) -> Statement:
    """DPP node ≥ random edge at as many parameters, for 0 ≤ c ≤ 1/Z and Z ≥ 4; both sides go with M."""
    return Statement(closed.dpp_node(c * M * Z, M, Z, strength), ">=", closed.random_edge(c, M, Z, strength))


def theorem5(c: float, Z: int, M: int = 1, strength: float = 1.0) -> Statement:
    """DPP node reweighted ≤ random edge with the best scale of the second layer, for 0 ≤ c ≤ 1/Z and Z ≥ 4."""
    best = closed.random_edge(c, M, Z, strength, closed.best_factor(c, Z))
    return Statement(closed.dpp_node(c * M * Z, M, Z, strength, reweighted=True), "<=", best)


def conjecture1(
    method: Literal["random", "importance"], M: int, Z: int, strength: float = 1.0
) -> tuple[list[Statement], float]:
    """Node ≥ edge for every k = 0 … K nodes and c = k/K; and the largest c up to which it holds throughout.

    Importance node keeps any subset under the ansatz: the mean over all is taken, as the paper takes it for random.
    """
    K, found, upto = M * Z, [], 0.0
    for k in range(K + 1):
        c = k / K
        edge = closed.random_edge(c, M, Z, strength) if method == "random" else closed.important_edge(c, M, strength)
        found.append(Statement(closed.random_node(k, M, Z, strength), ">=", edge))
        if all(s.holds for s in found):
            upto = c
    return found, upto


def _cut(order: Order, kept: Sequence[int], reweighted: bool) -> Order:
    keep = _mask(kept, order.v.shape[-1])
    return order.reweighted(keep) if reweighted else order.nodes(keep)


def _mask(kept: Sequence[int], units: int) -> Tensor:
    return torch.zeros(units, dtype=torch.bool).index_fill_(0, torch.tensor(list(kept), dtype=torch.long), True)


__all__ = [
    "Statement",
    "conjecture1",
    "lemma1",
    "lemma2",
    "lemma3",
    "lemma4",
    "theorem1",
    "theorem2",
    "theorem3",
    "theorem4",
    "theorem5",
]
