"""The theorems of ``reproduce statmech`` on grids, and Figure 4."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import torch

from ..theory.teacher_student import closed
from ..theory.teacher_student.statements import (
    Statement,
    conjecture1,
    lemma1,
    lemma2,
    lemma3,
    lemma4,
    theorem1,
    theorem2,
    theorem3,
    theorem4,
    theorem5,
)
from .page import Figure, Section, Series

POINTS = 200  # values of c on (0, 1/Z]
GROUPS = tuple(range(4, 31))  # Z, as in Figure 4
SHOWN = (3, 4, 5, 6, 10, 20, 30)
SHAPES = ((2, 3), (3, 3), (2, 4), (3, 4))  # (M, Z) where every subset is tried


def statements() -> list[Section]:
    """Every statement with how often it holds, and the two halves of Figure 4."""
    rows = [*(_row(*given) for given in _grid()), *_conjecture()]
    columns = ["statement", "tried on", "holds", "verdict"]
    note = (
        "Each is a function that returns both sides. Equalities are up to rounding; the two lemmas on expectations "
        "are up to 5 standard errors of the farthest entry. Strict inequalities (7) and (8) are equalities at k = 1, "
        "where every subset is one that a DPP may draw: as printed, for k ≤ M, they do not hold there. In the chain "
        "of (18), (l − 1) + (1 − l/Z)² = l(1 + 1/Z² − 2/Z) is ≥ for l > 1, and the conclusion stands. Lemma 4's proof "
        "has c²·Q_ii, its statement and Theorem 3 c·Q_ii: the draws say c."
    )
    return [Section("Theorems, lemmas and the conjecture", columns, rows, note), _figure4()]


def _row(name: str, tried: str, found: Iterable[Statement], expected: bool | None = True) -> list[str]:
    """A statement's row; ``expected`` None: the paper says nothing of it."""
    results = [s.holds for s in found]
    agrees = all(results) if expected else not any(results)
    word = "" if expected is None else "agrees" if agrees else "disagrees"
    return [name, tried, f"{sum(results):,} of {len(results):,}", word]


def _grid() -> Iterable[tuple]:
    shapes = ", ".join(f"M = {M} and Z = {Z}" for M, Z in SHAPES)
    k_up = [(k, M, Z) for M, Z in SHAPES for k in range(M + 1)]
    generator = torch.Generator().manual_seed(0)
    w, teacher = (torch.randn(n, 100, generator=generator, dtype=torch.float64) for n in (6, 2))
    yield "Lemma 1: the kernel's expectation is Q", "20,000 examples", [lemma1(w, 20_000, generator)]
    subsets = [(kept, M, Z) for M, Z in SHAPES[:3] for k in range(M * Z + 1) for kept in combinations(range(M * Z), k)]
    yield "Lemma 2: what nodes are left costs", "every subset, also of more than M", (lemma2(*s, 4.0) for s in subsets)
    thirds = torch.tensor([1.0, 0.5, 2.5, 4.0, 0.0, 0.0], dtype=torch.float64)
    yield "Lemma 3: v stands still where groups sum to v*", "uneven groups", [lemma3(thirds, 2, 3)]
    shares = (0.1, 0.3, 0.5, 0.9)
    draws = "c = 0.1, 0.3, 0.5, 0.9, 2,000 masks each"
    yield "Lemma 4: E[Q′_ii] = c·Q_ii", draws, [lemma4(w, teacher, c, 2_000, generator) for c in shares]
    yield ("Lemma 4 as its proof has it, E[Q′_ii] = c²·Q_ii, fails", draws,
           [lemma4(w, teacher, c, 2_000, generator, as_proved=True) for c in shares], False)  # fmt: skip
    yield "Theorem 1, (5)", shapes, [theorem1(*s, 4.0) for s in k_up]
    yield "Theorem 1, (6) reweighted", shapes, [theorem1(*s, 4.0, reweighted=True) for s in k_up]
    for i, name in enumerate(("(7) random > DPP node", "(8) the same, reweighted", "(9) importance > DPP reweighted")):
        for when, ks in (("k = 1", [1]), ("2 ≤ k ≤ M", range(2, 99))):
            held = [theorem2(k, M, Z, 4.0)[i] for k, M, Z in k_up if k in ks]
            yield f"Theorem 2, {name}", when, held
    yield (
        "Theorem 3, (10)",
        "101 values of c, " + shapes,
        [theorem3(i / 100, M, Z, 4.0) for M, Z in SHAPES for i in range(101)],
    )
    yield from _over_groups("Theorem 4: DPP node ≥ random edge", theorem4)
    yield from _over_groups("Theorem 5: DPP node ≤ random edge, best reweighted", theorem5)


def _conjecture() -> list[list[str]]:
    """Conjecture 1 asks for a c_ε above 0 alone; how many of all k hold stands beside it."""
    rows = []
    for method in ("random", "importance"):
        for M, Z in ((2, 3), (5, 4)):
            found, upto = conjecture1(method, M, Z)
            name = f"Conjecture 1, {method}: up to some c_ε > 0 node ≥ edge; here up to {upto:.2f}"
            rows.append(_row(name, f"M = {M}, Z = {Z}, k = 1 … {M * Z}", found[1:], None)[:-1])
            rows[-1].append("agrees" if upto > 0 else "disagrees")
    return rows


def _over_groups(name: str, theorem: Callable[[float, int], Statement]) -> Iterable[tuple]:
    def tried(groups: Iterable[int]) -> list[Statement]:
        return [theorem(i / POINTS / Z, Z) for Z in groups for i in range(1, POINTS + 1)]

    yield name, f"Z = 4 … 30, {POINTS} values of c ≤ 1/Z", tried(GROUPS)
    yield f"{name}, beyond the theorem", f"Z = 3, {POINTS} values of c ≤ 1/3", tried([3]), None


def _figure4() -> Section:
    x = [i / 50 for i in range(51)]
    panels = (
        ("A", "DPP node − random edge", "figure4a", theorem4),
        ("B", "DPP node − random edge, both reweighted", "figure4b", theorem5),
    )
    drawn = []
    for letter, title, name, theorem in panels:
        series = []
        for Z in SHOWN:
            sides = [theorem(t / Z, Z) for t in x]
            series.append(Series(f"Z = {Z}", x, [s.left - s.right for s in sides], dashed=Z not in GROUPS))
        drawn.append(Figure(name, f"Figure 4 {letter}: {title}", "c·Z", "difference of half-MSE, a teacher unit",
                            series, note="Dashed: Z = 3, of which the theorem says nothing."))  # fmt: skip
    rows = [
        [f"{Z}", *(f"{min(v):+.4f} … {max(v):+.4f}" for v in ([s.left - s.right for s in
         (theorem(i / POINTS / Z, Z) for i in range(1, POINTS + 1))] for theorem in (theorem4, theorem5))),
         f"{closed.best_factor(1 / Z, Z):.2f}"]
        for Z in SHOWN
    ]  # fmt: skip
    note = (
        "v* = 1, one teacher unit; both differences go with M·v*². Theorem 4 asks for A to be nowhere negative, "
        "Theorem 5 for B to be nowhere positive. At Z = 3 random edge wins up to some c alone, and at 1/Z DPP node "
        "does. Best A: the scale of the second layer at c = 1/Z, the minimum of the quadratic (23)."
    )
    columns = ["Z", "A, least … greatest", "B, least … greatest", "best A at c = 1/Z"]
    return Section("Figure 4", columns, rows, note, figures=drawn)


__all__ = ["statements"]
