"""The sections of ``reproduce magnitude`` that are computed as they stand: no chance, no training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..maths.rounds import density_after, deviation_bound, left_after, rounds_to
from ..theory.paths import orthogonal_paths
from ..theory.projection import Distance, best_supports, by_magnitude, lp, metric
from .page import Figure, Section, Series, percent
from .tiny import saddle, saliency, with_derivatives

EXAMPLES = (  # what, weights, slopes, curvatures, who should go by (magnitude, first order, second order)
    ("survey: sharp and small, flat and large", (0.01, 0.08), (0.0, 0.0), (2000.0, 1.0)),
    ("the same, a steeper valley", (0.01, 0.08), (0.0, 0.0), (2000.0, 30.0)),
    ("beyond ½·H₂₂·0.08² = 0.1, H₂₂ > 31.25", (0.01, 0.08), (0.0, 0.0), (2000.0, 40.0)),
    ("a slope: |w·g| = 0.03 and 0.008", (0.01, 0.08), (3.0, 0.1), (1.0, 1.0)),
    ("a downhill removal: −g·w is −0.08", (0.01, 0.08), (0.5, 1.0), (1.0, 1.0)),
)


def saliencies() -> Section:
    """Who is pruned first by magnitude, first and second order."""
    rows = []
    for case, weights, slopes, curvatures in EXAMPLES:
        found = saliency(with_derivatives(weights, slopes, curvatures))
        costs = found.change.tolist()
        for i in range(2):
            second = float(found.second[i])
            exact = math.isclose(second, costs[i], rel_tol=1e-9, abs_tol=1e-12)
            rows.append(
                [
                    case,
                    f"w{i + 1} = {weights[i]:g}, g = {slopes[i]:g}, H = {curvatures[i]:g}",
                    f"{float(found.magnitude[i]):.4g}",
                    f"{float(found.first[i]):.4g}",
                    f"{second:.4g}",
                    f"{costs[i]:.4g}",
                    ", ".join(found.pruned(i)) or "nobody",
                    "agrees" if exact else "disagrees",
                ]
            )
    note = (
        "Saliencies by the library's own scores on a linear unit whose mean squared loss has these derivatives; the "
        "loss is quadratic, so second order, −g·w + ½H·w², must equal the measured change (the verdict). The survey's "
        "0.01 with H = 2000 costs 0.1, thirty times what 0.08 in the flat direction does, and magnitude removes it. "
        "Without a slope |g·w| is 0 for both and cannot tell. Magnitude and second order agree again once H₂₂ exceeds "
        "31.25. In the last example removing w2 lowers the loss: second order says so, its absolute first order hides "
        "it."
    )
    columns = ["example", "weight", "|w|", "|g·w|", "−g·w + ½H·w²", "loss change", "pruned first by", "verdict"]
    return Section("Saliency: who goes first", columns, rows, note, brief=[1, 2, 3, 4, 5, 6, 7])


def approximation() -> Section:
    """Best supports by trying all, against the largest magnitudes."""
    w = torch.tensor([1.0, -3.0, 0.5, 2.0], dtype=torch.float64)
    pair = torch.tensor([0.01, 0.08], dtype=torch.float64)
    tied = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    trio = torch.tensor([1.0, 1.0, 0.9], dtype=torch.float64)
    cases: list[tuple[str, torch.Tensor, int, Distance, bool]] = [
        ("ℓ2", w, 2, lp(2), True),
        ("ℓ1", w, 2, lp(1), False),
        ("ℓ∞", torch.tensor([3.0, 2.0, 2.0, 1.0]).double(), 2, lp(math.inf), False),
        ("ℓ2, u ≥ 0", w, 2, lp(2, nonnegative=True), False),
        ("√(xᵀHx), H = diag(2000, 1)", pair, 1, metric(torch.diag(torch.tensor([2000.0, 1.0]).double())), False),
        ("√(xᵀHx), two entries that stand in for each other", trio, 2, metric(tied), False),
    ]
    rows = []
    for name, vector, k, distance, optimal in cases:
        best, ours = best_supports(vector, k, distance), by_magnitude(vector, k, distance)
        is_best = any(s.kept == ours.kept for s in best)
        rows.append(
            [
                name,
                f"({', '.join(f'{v:g}' for v in vector.tolist())}), k = {k}",
                _entries(ours.kept),
                f"{ours.error:.4g}",
                " or ".join(_entries(s.kept) for s in best),
                f"{best[0].error:.4g}",
                "best" if optimal else "not best",
                "agrees" if is_best == optimal else "disagrees",
            ]
        )
    note = (
        "min ‖u − w‖ over u with k entries that are not zero, by trying every support. The survey: magnitude is best "
        "in ℓ2 and 'loses its optimality' in another norm or with u ≥ 0. The second holds; the first only where the "
        "norm tells the entries apart. In every ℓp the largest magnitudes are a best support (in ℓ∞ not the only one), "
        "since what is lost is the norm of what is dropped."
    )
    columns = ["distance", "w", "largest |w|", "error", "best", "error of the best", "survey: largest is", "verdict"]
    return Section("Sparse approximation: when is magnitude best?", columns, rows, note)


def _entries(kept: Sequence[int]) -> str:
    return "{" + ", ".join(str(i + 1) for i in kept) + "}"


def density(total: int = 266_200, share: float = 0.2) -> Section:
    """(1 − α)^S, and what whole numbers make of it."""
    last = 60
    floor, ceil = left_after(total, share, last), left_after(total, share, last, "ceil")
    rows = []
    for rounds in (1, 2, 5, 10, 20, 40, last):
        law, bound = density_after(share, rounds), deviation_bound(share, rounds)
        off = [round(left[rounds] - total * law, 6) + 0.0 for left in (floor, ceil)]  # + 0.0: no −0
        within = -1e-6 <= off[0] <= bound + 1e-6 and -bound - 1e-6 <= off[1] <= 1e-6
        rows.append(
            [
                f"{rounds}",
                percent(law),
                f"{total * law:,.2f}",
                f"{floor[rounds]:,}",
                f"{off[0]:+.2f}",
                f"{ceil[rounds]:,}",
                f"{off[1]:+.2f}",
                f"{bound:.2f}",
                "agrees" if within else "disagrees",
            ]
        )
    needed = ", ".join(f"{rounds_to(d, share)} to {100 * d:g}%" for d in (0.5, 0.1, 0.05, 0.01))
    note = (
        f"{total:,} weights (784-300-100-10), a fifth of what remains removed in every round. Whole numbers stay "
        f"within (1 − (1 − α)^S)/α < {1 / share:g} of the law: above it where a round rounds down, below where it "
        f"rounds up. Rounding down stalls once fewer than {1 / share:g} are left; rounding up ends at none. Rounds "
        f"needed: {needed}."
    )
    columns = [
        "rounds", "density %", "law", "left, rounding down", "off", "left, rounding up", "off (up)", "bound", "verdict"
    ]  # fmt: skip
    steps = list(range(21))
    series = [Series(f"α = {a:g}", steps, [density_after(a, s) for s in steps]) for a in (0.1, 0.2, 0.5)]
    figure = Figure(
        "density", "Density after rounds that remove a share α", "rounds", "left", series, log_y=True, percent_y=True
    )
    return Section("The density law (1 − α)^S", columns, rows, note, figures=[figure])


def saddles() -> Section:
    """Two weights at a saddle, and one of them alone."""
    rows = []
    for row in saddle():
        s = row.spectrum
        kind = "saddle" if s.negative else "minimum"
        expected = "saddle" if row.mask == "dense" else "minimum"
        verdict = "agrees" if kind == expected else "disagrees"
        rows.append([row.mask, f"{s.smallest:.3g}", f"{s.largest:.3g}", f"{s.negative}", kind, verdict])
    note = (
        "½(uv − 1)² + ½·0.1(u² + v²) at u = v = 0: H = [[0.1, −1], [−1, 0.1]]. Along u = v the loss falls; with v "
        "pruned that direction is gone, vᵀPHPv = 0, and the point is a minimum. What the survey's "
        "'easy-to-navigate valley' leaves out: its floor is a loss of 0.5, where the dense network's minima, at "
        "u = v = ±√0.9, reach 0.095."
    )
    columns = ["weights", "λ min", "λ max", "negative", "the point is a", "verdict"]
    return Section("A saddle that a mask makes a minimum", columns, rows, note)


def paths() -> Section:
    """What soft and hard thresholds make of the same numbers."""
    values = torch.tensor([3.0, -2.2, 1.4, -0.8, 0.3], dtype=torch.float64)
    levels = torch.linspace(0, 3.2, 65, dtype=torch.float64)
    found = orthogonal_paths(values, levels)
    x = levels.tolist()
    chosen = (0, 1, 2)
    series = [
        Series(f"{kind}, z = {values[i]:g}", x, list(path[:, i].tolist()), dashed=kind == "soft")
        for i in chosen
        for kind, path in (("hard", found.hard), ("soft", found.soft))
    ]
    note = "Hard keeps an entry whole until it drops it; soft takes λ off everything it keeps."
    figure = Figure("paths", "Soft and hard thresholds of the same numbers", "λ", "solution", series, note=note)
    picked = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    few = orthogonal_paths(values, picked)
    bias = few.bias(values)
    rows = []
    for i, level in enumerate(picked.tolist()):
        same = torch.equal(few.soft[i] != 0, few.hard[i] != 0)
        biased = [float(b[i]) for b in bias]
        right = same and math.isclose(biased[0], -level) and biased[1] == 0
        rows.append(
            [
                f"{level:g}",
                f"{few.kept[i]} of {len(values)}",
                "yes" if same else "no",
                f"{biased[0]:.3g}",
                f"{biased[1]:.3g}",
                "agrees" if right else "disagrees",
            ]
        )
    columns = ["λ", "kept", "same set", "bias of soft", "bias of hard", "verdict"]
    words = (
        "Orthogonal design: the lasso is the soft threshold of z = Xᵀy, ℓ0 the hard one, a projection. Iterative "
        "magnitude pruning is the 'hard-thresholding counterpart': it keeps the same set, and does not shrink it."
    )
    return Section("Soft and hard thresholds", columns, rows, words, figures=[figure])
