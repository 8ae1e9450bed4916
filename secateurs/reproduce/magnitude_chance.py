"""The sections of ``reproduce magnitude`` that chance or training is behind: results in, tables and figures out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from ..maths.binomial import interval, p_value
from ..theory import recovery
from ..theory.no_free_lunch import judged
from .cells import Result
from .laboratory import AT_THETA, power_of_ten
from .page import Figure, Section, Series, percent

LEVEL = 0.01  # of significance, shared by the rows of a table
CLASSES = 4


def tickets(supports: Sequence[tuple[int, int]], drawn: Sequence[Result], lots: int) -> Section:
    """The chance that a threshold on random weights finds the truth, drawn and by the formula."""
    rows = []
    for (k, d), result in zip(supports, drawn):
        log_p = recovery.log_recovery(result["threshold"], k, d)
        low, high = interval(result["exact"], lots)
        fair = p_value(result["exact"], lots, math.exp(log_p)) >= LEVEL / len(supports)
        rows.append(
            [
                f"{k} of {d}",
                f"{result['threshold']:.4f}",
                power_of_ten(log_p),
                f"{result['exact'] / lots:.3g}",
                f"{low:.3g} – {high:.3g}",
                power_of_ten(recovery.log_recovery_by_count(k, d)),
                f"{result['overlap']:.3f} of {k}",
                "agrees" if fair else "disagrees",
            ]
        )
    for k, d in ((10, 100), (100, 1000), (26_620, 266_200)):
        rows.append(
            [
                f"{k:,} of {d:,}",
                f"{recovery.best_threshold(k, d):.4f}",
                power_of_ten(recovery.best_log_recovery(k, d)),
                "",
                "",
                power_of_ten(recovery.log_recovery_by_count(k, d)),
                f"{k * k / d:,.0f} of {k:,}",
                "",
            ]
        )
    note = (
        f"p = [2(1 − Φ(t/σ))]^k·[2Φ(t/σ) − 1]^(d−k) at the best threshold, where the fraction kept is k/d; {lots:,} "
        "draws where p is large enough to be seen. A winning ticket from magnitudes at the start alone is a game of "
        "chance, as the survey says, with odds e^(−d·H(k/d)): none at a real size. What is kept overlaps with the "
        "truth as much as any random choice does."
    )
    columns = [
        "support", "best t/σ", "p", "drawn", "interval", "exactly k kept: 1/C(d, k)", "true weights kept", "verdict"
    ]  # fmt: skip
    return Section("A winning ticket at the start, by chance", columns, rows, note)


def thresholds(levels: Sequence[float], drawn: Sequence[Result], lots: int, k: int = 2, d: int = 10) -> Section:
    """The same chance over thresholds, as a figure."""
    fine = [0.02 * i for i in range(5, 151)]
    formula = [math.exp(recovery.log_recovery(t, k, d)) for t in fine]
    ends = [interval(r["exact"], lots) for r in drawn]
    series = [
        Series("formula", fine, formula, dashed=True),
        Series(
            f"drawn {lots:,} times, 99% interval", list(levels), [r["exact"] / lots for r in drawn],
            [low for low, _ in ends], [high for _, high in ends], points=True,
        ),
    ]  # fmt: skip
    best = recovery.best_threshold(k, d)
    note = f"Largest at t/σ = {best:.4f}, where a fifth of the weights is kept."
    title = f"Chance of keeping just the {k} true of {d} weights"
    return Section(
        "The chance over thresholds", [], [], "",
        figures=[Figure("thresholds", title, "threshold t/σ", "probability", series, note=note)],
    )  # fmt: skip


def rewinding(results: Sequence[Result], network: Mapping[str, Any]) -> Section:
    """Curvature at the start, early and at the end, dense and masked."""
    by: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        for row in result["rows"]:
            by.setdefault((row["checkpoint"], row["mask"]), []).append(row)
    order = list(dict.fromkeys(checkpoint for checkpoint, _ in by))
    rows = []
    for (checkpoint, mask), found in sorted(by.items(), key=lambda item: order.index(item[0][0])):
        spectra = [r["spectrum"] for r in found]
        rows.append(
            [
                checkpoint,
                mask,
                f"{spectra[0]['dimension']:,}",
                f"{mean(r['loss'] for r in found):.3f}",
                f"{mean(s['largest'] for s in spectra):.3g}",
                f"{mean(s['smallest'] for s in spectra):.3g}",
                f"{mean(s['negative'] for s in spectra):,.0f}",
                f"{mean(s['depth'] for s in spectra):.3g}",
                f"{mean(-s['smallest'] / s['largest'] for s in spectra):.2g}",
                _interlaced(mask, found, by[checkpoint, "dense"]),
            ]
        )
    note = (
        f"64-{network['hidden']}-10 on digits, {len(results)} seeds, means; weights only, over {network['examples']} "
        f"training examples in float64, every eigenvalue. Largest: the mask of the {100 * network['share']:g}% largest "
        "trained weights, at m∘θ where the subnetwork stands; 'at θ' is P_m H P_m at the dense point, which must lie "
        "within the dense spectrum (Cauchy; the verdict). "
        f"{_rewound_words(by)} {_condition_words(by)}"
    )
    columns = [
        "weights", "mask", "dimension", "loss", "λ max", "λ min", "negative", "their sum", "−λ min/λ max", "verdict"
    ]  # fmt: skip
    return Section("The masked Hessian before and after rewinding", columns, rows, note)


def _interlaced(mask: str, found: Sequence[Mapping], dense: Sequence[Mapping]) -> str:
    """The verdict on Cauchy's inequalities, where the masked Hessian is taken at the dense point."""
    if mask != AT_THETA:
        return ""
    slack = 1e-9
    inside = [
        b["smallest"] - slack <= a["smallest"]
        and a["largest"] <= b["largest"] + slack
        and a["negative"] <= b["negative"]
        for a, b in ((a["spectrum"], b["spectrum"]) for a, b in zip(found, dense, strict=True))
    ]
    return "agrees" if all(inside) else "disagrees"


def _rewound_words(by: Mapping[tuple[str, str], Sequence[Mapping]]) -> str:
    """Whether the subnetwork's landscape is calmer at the early point than at the start, seed by seed."""
    early = next(c for c, _ in by if c.startswith("after"))
    first, second = ([r["spectrum"] for r in by[c, "largest"]] for c in ("start", early))
    flatter = sum(b["largest"] < a["largest"] for a, b in zip(first, second))
    rounder = sum(b["smallest"] / b["largest"] > a["smallest"] / a["largest"] for a, b in zip(first, second))
    return (
        f"The survey supposes that rewinding to an early step finds a smaller λ max or a better κ than the start: λ "
        f"max is smaller in {flatter} of {len(first)} seeds, and λ min/λ max nearer to positive in {rounder} of "
        f"{len(first)}."
    )


def _condition_words(by: Mapping[tuple[str, str], Sequence[Mapping]]) -> str:
    """Where κ exists at all."""
    spectra = [row["spectrum"] for rows in by.values() for row in rows]
    convex = sum(s["smallest"] > 0 for s in spectra)
    return (
        f"κ = λ max/λ min needs positive eigenvalues throughout, as in {convex} of the {len(spectra)} Hessians behind "
        "this table."
    )


def sensing(measurements: Sequence[int], found: Mapping[str, list[int]], settings: Mapping[str, int]) -> Section:
    """Supports recovered by number of measurements."""
    problems = settings["problems"]
    ends = {name: [interval(c, problems) for c in counts] for name, counts in found.items()}
    series = [
        Series(
            name, list(measurements), [c / problems for c in counts],
            [low for low, _ in ends[name]], [high for _, high in ends[name]],
        )
        for name, counts in found.items()
    ]  # fmt: skip
    title = f"Supports of {settings['k']} in {settings['unknowns']} unknowns recovered"
    figure = Figure("sensing", title, "measurements", "recovered", series, percent_y=True, note="Bands: 99% intervals.")
    rows = [[f"{m}", *(f"{100 * found[n][i] / problems:.1f}" for n in found)] for i, m in enumerate(measurements)]
    note = (
        f"Compressed sensing y = Ax, {problems} problems a row: per cent whose support is found exactly. One threshold "
        "on Aᵀy is pruning in one shot; the iterated ones step and cut by turns, as pruning in rounds does. Soft "
        "stays below 100%: a true entry smaller than λ, 1% of the largest |Aᵀy|, is mostly lost."
    )
    return Section("One cut against many: sparse recovery", ["measurements", *found], rows, note, figures=[figure])


def lunch(labels: Sequence[str], results: Sequence[Sequence[Result]]) -> Section:
    """Accuracy on random labels; the last row leaks."""
    rows = []
    level = LEVEL / len(labels)
    for label, found in zip([*labels, "dense, a quarter of the training data leaked"], results):
        verdict = judged(((r["hits"], r["trials"], r["training"]) for r in found), CLASSES)
        leak = label not in labels
        rows.append(
            [
                label,
                percent(verdict.training),
                f"{verdict.hits:,} of {verdict.trials:,}",
                percent(verdict.accuracy),
                f"{percent(verdict.low)} – {percent(verdict.high)}",
                f"{verdict.p_value:.2g}",
                "agrees" if verdict.at_chance(level) != leak else "disagrees",
            ]
        )
    note = (
        f"{len(results[0])} seeds: Gaussian inputs with labels drawn from {CLASSES} classes, 16-64-32-{CLASSES}, half "
        f"of the neurons kept. Hits are exactly Binomial(n, 1/{CLASSES}) whatever was learnt by heart; the test is at "
        f"1% "
        "over all methods together. The last row has seen some of the test set, and must be found out."
    )
    columns = ["method", "training accuracy", "test hits", "test accuracy", "interval", "p-value", "verdict"]
    return Section("No free lunch: random labels", columns, rows, note)
