"""The page of the concave reproduction where the loss is strongly convex: tables over :mod:`.convex`."""

from __future__ import annotations

from typing import Any

from .convex import ESTIMATED, METHODS_OF
from .masks import CONVEX, ERRORS, LAMBDAS, Lab
from .page import Figure, Section, Series, percent


def bound_section(lab: Lab) -> Section:
    """The bound on the mask's error beside what it was, over random quadratics."""
    settings: list[dict[str, Any]] = [
        {"penalty": name, "lam": lam, "problems": 10 if lab.quick else 200} for lam in ERRORS for name in ESTIMATED
    ]
    rows = []
    for setting, (found,) in zip(settings, lab.over_seeds("mask_error", settings, 1)):
        rows.append(
            [
                f"{setting['lam']:g}",
                setting["penalty"],
                f"{found['distance']:.4f}",
                f"{found['bound']:.4f}",
                f"{found['largest']:.2f}",
                percent(found["exact"]),
                "agrees" if found["largest"] <= 1 + 1e-9 else "disagrees",
            ]
        )
    columns = ["λ", "penalty", "‖m* − m̃‖", "bound", "largest ratio of the two", "right side of ½ %", "verdict"]
    note = (
        f"Means over {settings[0]['problems']} random quadratics in 20 dimensions, γ = 1, whose unpenalised minimiser "
        "m̃ is a binary mask. The bound is λ‖R'(m̃)‖/(γ − λρ) over the ones of m̃, ρ being how far R is from convex: our "
        "reading of the paper's Theorems 1 and 2. A concave penalty is flatter at 1, so its mask is nearer."
    )
    return Section("Mask error under strong convexity", columns, rows, note)


def logistic_section(lab: Lab) -> Section:
    """Which steps settle, and which weights they leave."""
    common = {**CONVEX, "data": lab.data["mnist"], **({"steps": 200} if lab.quick else {})}
    settings: list[dict[str, Any]] = [{**common, "method": name, "lam": lam} for name in METHODS_OF for lam in LAMBDAS]
    results = lab.over_seeds("logistic", settings, 1)
    rows = [
        [
            METHODS_OF[s["method"]],
            f"{s['lam']:g}",
            percent(found["test"]),
            str(found["kept"]),
            f"{found['flips']:.1f}",
            str(found["restless"]),
        ]
        for s, (found,) in zip(settings, results)
    ]
    columns = ["penalty and steps", "λ", "accuracy %", "weights not zero", "sign changes a step", "weights that change"]
    note = (
        f"Digits 3 and 8, {CONVEX['limit']:,} training images, {common['steps']:,} steps of size 1/L, ridge "
        f"γ = {CONVEX['gamma']:g}. Weights of pixels that are never lit are 0 in every row. Sign changes are those of "
        "the last hundred steps. λ of a mask and λ of a weight are not the same: compare rows that keep as many."
    )
    lines = []
    for name, title in METHODS_OF.items():
        mine = sorted((r["kept"], r["test"]) for s, (r,) in zip(settings, results) if s["method"] == name)
        lines.append(Series(title, [k for k, _ in mine], [t for _, t in mine]))
    figure = Figure(
        "logistic", "Two digits: accuracy against weights left", "weights not zero", "accuracy", lines, log_x=True,
        percent_y=True, note="One point for each λ.",
    )  # fmt: skip
    return Section("Logistic regression on two digits", columns, rows, note, figures=[figure])
