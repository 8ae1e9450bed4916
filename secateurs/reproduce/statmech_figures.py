"""Figures of ``reproduce statmech``: Figure 2 with its claims, order parameters before and after pruning, equations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, stdev
from typing import Any

import torch

from ..maths.student import paired_t
from ..theory.teacher_student.pruning import edges_for
from .page import Figure, Matrices, Panel, PanelRow, Section, Series
from .statmech_tables import STATE_NAMES, Rows, lost

LEVEL = 0.05  # of significance
NODES = ("random node", "importance node", "DPP node")
EDGES = ("random edge", "importance edge")
BOTH = (0.0, 0.25)
ALL = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Claim:
    """One cut loses less than another, at ``levels`` of the five; ``wide``: on the network of panel D."""

    panel: str
    says: str
    less: str
    more: str
    levels: tuple[int, ...]
    wide: bool = False
    noises: tuple[float, ...] = BOTH


_CLAIMS = (
    Claim("A", "random edge below random node, at the smallest c", "random edge", "random node", (0,)),
    Claim("B", "importance edge below importance node, at the smallest c", "importance edge", "importance node", (0,)),
    Claim("C", "DPP node below random node, k = M = 2", "DPP node", "random node", (1,)),
    Claim("C", "DPP node below random node, k = 2 … 5", "DPP node", "random node", ALL[1:]),
    Claim("C", "DPP node below importance node, k = 1 … 5", "DPP node", "importance node", ALL),
    Claim("D", "random edge below DPP node, M = 5, Z = 4, c ≤ 1/Z", "random edge", "DPP node", ALL, wide=True),
    Claim("", "the same at Z = 3, as Table 3 is printed", "random edge", "DPP node", ALL, noises=(0.0,)),
)


def losses(rows: Rows, wide: Rows, inputs: int) -> Section:
    """Figure 2 A–D, and round by round who loses less."""
    shares = [edges_for(k, inputs, 6) / inputs for k in range(1, 6)]
    few = [k / 20 for k in range(1, 6)]
    panels = (
        ("A", "random pruning, node and edge", rows, shares, ("random node", "random edge")),
        ("B", "importance pruning, node and edge", rows, shares, ("importance node", "importance edge")),
        ("C", "ways of choosing nodes", rows, shares, NODES),
        ("D", "DPP node and random edge, M = 5, K = 20", wide, few, ("DPP node", "random edge")),
    )
    drawn = [
        Figure(f"figure2{letter.lower()}", f"Figure 2 {letter}: {title}", "share of the parameters kept", "half-MSE",
               [_line(given, noise, method, x) for method in methods for noise in BOTH], percent_x=True)
        for letter, title, given, x, methods in panels
    ]  # fmt: skip
    table = [
        _row(claim, wide if claim.wide else rows, noise, state)
        for claim in _CLAIMS
        for noise in claim.noises
        for state in STATE_NAMES
    ]
    columns = ["claim", "panel", "σ", "student", "rounds in which it holds, level by level", "difference", "verdict"]
    count, broad = (len({row["round"] for row in given}) for given in (rows, wide))
    note = (
        f"Losses of the same student under two cuts, {count} rounds ({broad} of D). Difference: the first loss minus "
        "the second, means over rounds. A claim agrees where the difference has its sign at every level that it "
        f"speaks of and p < {LEVEL} there (paired t-test), disagrees where p < {LEVEL} for the other sign anywhere, "
        "else it is undecided. The tests are not corrected for their number. A DPP of one node and a random one are "
        "nearly the same. Pictures: students pruned as they were trained, bands of one standard deviation between "
        "rounds."
    )
    return Section("Figure 2 A–D: nodes and edges", columns, table, note, brief=[0, 2, 3, 4, 6], figures=drawn)


def _line(rows: Rows, noise: float, method: str, x: Sequence[float]) -> Series:
    found = [lost(rows, noise, STATE_NAMES[0], method, level) for level in range(len(x))]
    middle, spread = [mean(f) for f in found], [stdev(f) if len(f) > 1 else 0.0 for f in found]
    low, high = [m - s for m, s in zip(middle, spread)], [m + s for m, s in zip(middle, spread)]
    return Series(method + (f", σ = {noise:g}" if noise else ""), list(x), middle, low, high, dashed=bool(noise))


def _row(claim: Claim, rows: Rows, noise: float, state: str) -> list[str]:
    pairs = [(lost(rows, noise, state, claim.less, i), lost(rows, noise, state, claim.more, i)) for i in ALL]
    tests = [paired_t(a, b) for a, b in pairs]
    held = [sum(a < b for a, b in zip(*pair)) for pair in pairs]
    spoken = [tests[i] for i in claim.levels]
    if any(math.isnan(p) for _, p in spoken):
        word = ""
    elif any(gap > 0 and p < LEVEL for gap, p in spoken):
        word = "disagrees"
    else:
        word = "agrees" if all(gap < 0 and p < LEVEL for gap, p in spoken) else "undecided"
    differences = ", ".join(f"{gap:+.3f}" for gap, _ in tests)
    return [claim.says, claim.panel, f"{noise:g}", state, " ".join(map(str, held)), differences, word]


def order_parameters(found: Mapping[str, Any], levels: Sequence[tuple[int, int]], rows: Rows) -> Section:
    """Figures 2 E–G, 5 and 6: the kernel, Q and R of one student, whole and pruned."""
    whole = found["whole"]
    scale = max(abs(v) for line in found["kernel"] for v in line)
    kernel = [[v / scale for v in line] for line in found["kernel"]]
    M, diverse = len(whole["R"][0]), found["DPP node"]
    pair = diverse[M - 1]
    first = Matrices(
        "figure2efg", "Figure 2 E–G: the kernel, Q and R of a student, and after DPP node pruning to M",
        [PanelRow("", [Panel("E kernel", kernel), Panel("F Q", whole["Q"]), Panel("R", whole["R"]),
                       Panel("G Q, pruned", pair["Q"]), Panel("R, pruned", pair["R"])])],
        "Magnitudes; a unit's row stands beside those of the units that learnt the same teacher unit.",
    )  # fmt: skip
    figures = [first]
    for name, title, methods, kept in (
        ("figure5", "Figure 5: order parameters after node pruning", NODES, [k for k, _ in levels]),
        ("figure6", "Figure 6: order parameters after edge pruning", EDGES, [k for _, k in levels]),
    ):
        lines = [PanelRow(m, _panels([*found[m], whole], [*map(str, kept), "all"])) for m in methods]
        figures.append(Matrices(name, title, lines, "Q and R at every level, the unpruned student last."))
    table = []
    for (nodes, edges), random, important in zip(levels, *(found[m] for m in EDGES), strict=True):
        near, far = (_distance(whole["Q"], cut["Q"]) for cut in (important, random))
        table.append([f"{nodes}:{edges}", f"{near:.3f}", f"{far:.3f}", "agrees" if near <= far else "disagrees"])
    farthest = max(row["kernel"] for row in rows)
    chance, even = _one_of_each(whole)
    note = (
        "The first round's student, noiseless, rows of w rescaled; of drawn nodes one mask, of edges the mean over "
        "masks. The table is Figure 6's claim that importance edge leaves Q nearer to the unpruned one than random "
        f"edge does, in Frobenius norm. A DPP that keeps {M} nodes of this student takes one from every group with "
        f"probability {chance:.3f}, and a uniform choice {even:.3f}; the theorems have 1. Over all rounds no entry of "
        f"the kernel is farther from Q than {farthest:.1f} of its standard deviations (Lemma 1)."
    )
    columns = ["nodes:edges", "‖Q − Q′‖, importance edge", "‖Q − Q′‖, random edge", "verdict"]
    return Section("Figures 2 E–G, 5 and 6: order parameters", columns, table, note, figures=figures)


def _panels(cuts: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Panel]:
    return [Panel(n, [[*q, *r] for q, r in zip(cut["Q"], cut["R"])]) for cut, n in zip(cuts, names, strict=True)]


def _distance(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    return float(torch.linalg.matrix_norm(torch.tensor(a) - torch.tensor(b)))


def _one_of_each(whole: Mapping[str, Any]) -> tuple[float, float]:
    """The chance that a k-DPP of Q, k = M, takes one unit of each group, and that an even choice does: all subsets."""
    Q, R = (torch.tensor(whole[name], dtype=torch.float64) for name in ("Q", "R"))
    group, M = R.abs().argmax(1), R.shape[1]
    mass = {True: [0.0, 0], False: [0.0, 0]}
    for kept in combinations(range(len(Q)), M):
        held = mass[len({int(group[i]) for i in kept}) == M]
        held[0] += float(torch.linalg.det(Q[list(kept)][:, list(kept)]))
        held[1] += 1
    return tuple(mass[True][i] / (mass[True][i] + mass[False][i]) for i in (0, 1))  # type: ignore[return-value]


def equations(joined: Sequence[Mapping[str, Any]], inputs: int) -> Section:
    """The simulation beside the equations of motion, from each round's own start."""
    rows, names = [], {"ε": "ε", "Q": "mean Q_ii", "R": "mean of max |R_in|", "v": "mean |v_i|"}
    noises = range(len(joined[0]["seen"]["ε"][0]))
    for at in joined:
        for quantity, name in names.items():
            row = [f"{at['time']:g}", name]
            distances = []
            for j in noises:
                seen, told = ([r[j] for r in at[side][quantity]] for side in ("seen", "told"))
                gaps = [a - b for a, b in zip(seen, told)]
                distance = math.nan
                if len(gaps) > 1 and stdev(gaps) > 0:
                    distance = mean(gaps) * math.sqrt(len(gaps)) / stdev(gaps)
                distances.append(distance)
                row += [f"{mean(seen):.4f}", f"{mean(told):.4f}", f"{distance:+.1f}"]
            known = not any(map(math.isnan, distances))
            within = all(abs(d) <= 3 for d in distances)
            rows.append([*row, "" if not known else "agrees" if within else "disagrees"])
    x = [at["time"] for at in joined]
    series = []
    for j, noise in zip(noises, ("noiseless", "σ = 0.25")):
        for side, what in (("seen", "simulation"), ("told", "equations")):
            y = [mean(r[j] for r in at[side]["ε"]) for at in joined]
            series.append(Series(f"{what}, {noise}", x, y, dashed=side == "told"))
    figure = Figure("equations", "Generalisation error while the student learns", "t = steps/N", "half-MSE", series,
                    log_x=True, log_y=True, note="Mean over rounds, without the label's noise.")  # fmt: skip
    note = (
        f"{len(joined[0]['seen']['ε'])} rounds at N = {inputs}, each integrated from its own start, σ = 0 and then "
        "0.25. Distances are of the mean difference, in standard errors of the rounds; the verdict asks for 3. The "
        "equations are of N → ∞: a round strays from them by O(1/√N), most where it leaves the plateau, and the mean "
        "by O(1/N), which enough rounds will always see."
    )
    columns = ["t", "quantity", "simulation", "equations", "distance"]
    columns += [*(f"{name}, σ = 0.25" for name in columns[2:]), "verdict"]
    return Section("Simulation and equations", columns, rows, note, brief=[0, 1, 2, 3, 8], figures=[figure])


__all__ = ["equations", "losses", "order_parameters"]
