"""Reproduction of *Playing the Lottery With Concave Regularizers* (Fracastoro et al.): the page.

Every table says what was run (:mod:`.masks`) and, where the paper makes a claim, whether it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from ..errors import DataError
from .cells import Asked, Result
from .convex_page import bound_section, logistic_section
from .experiments import dataset
from .masks import (
    ALPHAS,
    BINS,
    DEEP,
    DEEP_DENSITIES,
    LEVELS,
    SMALL,
    VARIANTS,
    Lab,
)
from .page import Figure, Page, Section, Series, percent, spread


def reproduce_concave(asked: Asked) -> Page:
    """Run everything that there is data for (or what is missing in the cache).

    Args:
        asked: data are ``mnist:DIR`` for the convex part, ``cifar10:DIR`` for the networks, or both, with a comma
            between, or ``digits`` for a look at either; quick is an epoch a training on 600 images, one seed;
            ``printed_seeds`` are those of what stands beside the main comparison, one fewer unless said.
    Raises:
        DataError: neither is named.
    """
    quick = asked.quick
    count = asked.seeds or (1 if quick else 3)
    lab = Lab(sources(asked.data), asked, count, asked.printed_seeds or max(1, count - 1))
    sections = []
    if "cifar10" in lab.data:
        sections += [
            *_density_sections(lab),
            _control_section(lab),
            _choice_section(lab),
            *_mask_sections(lab),
            _open_section(lab),
        ]
    if "mnist" in lab.data:
        sections = [bound_section(lab), logistic_section(lab), *sections]
    if quick:  # nothing to hold against the paper's claims
        sections = [section.without("verdict") for section in sections]
    return Page("concave", "Playing the Lottery With Concave Regularizers", _protocol(lab), sections, quick=quick)


def sources(data: str) -> dict[str, str]:
    """What was given, by source.

    Raises:
        DataError: nothing that this reproduction reads.
    """
    found: dict[str, str] = {}
    for spec in (part.strip() for part in data.split(",")):
        name = spec.partition(":")[0]
        if name not in ("mnist", "cifar10", "digits"):
            raise DataError(
                f"data {spec!r}: this reproduction reads mnist:DIR, cifar10:DIR, or both as mnist:DIR,cifar10:DIR"
            )
        found |= dict.fromkeys(("mnist", "cifar10"), spec) if name == "digits" else {name: spec}
    return found


def _protocol(lab: Lab) -> str:
    if "cifar10" not in lab.data:
        return "Full-batch gradient steps in float64, from the same start everywhere"
    settings = lab.images(SMALL, 0.05)
    sizes = dataset(settings["data"], 0, settings["limit"]).sizes
    shrunk = "" if settings["pool"] == 1 else f", averaged down to {32 // settings['pool']}×{32 // settings['pool']}"
    return (
        f"A short schedule, for a CPU: {sizes['train']:,} training images{shrunk}, with crops and flips, as the given "
        "files hold them (JPEG copies are slightly lossy), after a validation split of "
        f"{sizes['validation']:,}; {settings['epochs'] // 3} epochs a training, batch 128, SGD with momentum 0.9, "
        f"peak 0.1, half a cosine, weight decay 5e-4; accuracy on {sizes['test']:,} test images, ± is the standard "
        "deviation over seeds 0, 1, …. A density counts single weights. A run with S masks has S + 1 trainings of "
        "equal length, whatever the method, and rewinds to the initial weights; the ticket's is the last. How far the "
        "mask travels was chosen on validation data at two other seeds; nothing was chosen for magnitude"
    )


# -- against magnitude ------------------------------------------------------------------------------------


def _density_sections(lab: Lab) -> list[Section]:
    small = _against(lab, SMALL, list(LEVELS), lab.count, "Convolutional network", l1=(0.05,))
    return [small, _against(lab, DEEP, list(DEEP_DENSITIES), lab.side_count, "ResNet-20")]


def _against(lab: Lab, model: str, densities: list[float], count: int, title: str, l1: Sequence[float] = ()) -> Section:
    """One network at some densities: log masks, where asked for ℓ1 masks, and magnitude at the same steps."""
    settings = [lab.images(model, d) for d in densities]
    ours, theirs = lab.masks(settings, count), lab.magnitude(settings, count)
    straight = dict(zip(l1, lab.masks([lab.images(model, d, regulariser="l1") for d in l1], count)))
    rows = []
    for density, a, b in zip(densities, ours, theirs):
        gains = [x["removed"] - y["removed"] for x, y in zip(a, b)]
        rows.append(
            [
                f"{100 * density:g}",
                str(LEVELS[density]),
                spread([r["removed"] for r in b]),
                spread([r["removed"] for r in a]),
                spread([r["removed"] for r in straight[density]]) if density in straight else "",
                spread(gains),
                _verdict(density, gains),
            ]
        )
    columns = ["density %", "masks", "magnitude", "log mask", "ℓ1 mask", "log − magnitude", "verdict"]
    lines = [_line(name, densities, found) for name, found in (("log mask", ours), ("magnitude", theirs))]
    figure = Figure(
        model.removeprefix("zoo:"), f"{title}: accuracy of the ticket", "density", "accuracy", lines, log_x=True,
        percent_x=True, percent_y=True, note="Bands reach from the worst seed to the best.",
    )  # fmt: skip
    note = (
        f"{_counted(count)}, {title} ({model.removeprefix('zoo:')}). The claim: like magnitude at 20 to 40%, better at "
        "5 to 10%. It agrees where the mean is at most a point below, or above at every seed; undecided where the mean "
        "alone is above."
    )
    for density, found in straight.items():
        lead = [x["removed"] - y["removed"] for x, y in zip(ours[densities.index(density)], found)]
        note += (
            f" The paper also finds log above ℓ1 in some conditions; at {100 * density:g}% the log mask is "
            f"{spread(lead)} points above the ℓ1 mask."
        )
    section = Section(f"{title}, CIFAR-10: log masks against magnitude", columns, rows, note, figures=[figure])
    return section if straight else section.without("ℓ1 mask")


def _control_section(lab: Lab) -> Section:
    """What the tickets at 5% are to be held against."""
    settings, count = lab.images(SMALL, 0.05), lab.side_count
    once = {**settings, "epochs": settings["epochs"] // (LEVELS[0.05] + 1)}
    found = {
        "dense, the steps of all trainings": lab.dense([settings], count)[0],
        "dense, the steps of one training": lab.dense([once], count)[0],
        "5%, a random mask with magnitude's layers": lab.magnitude([settings], count, "imp-random")[0],
        "5%, magnitude": lab.magnitude([settings], count)[0],
        "5%, log mask": lab.masks([settings], count)[0],
    }
    rows = [[name, spread([r["removed"] for r in results])] for name, results in found.items()]
    note = (
        f"{_counted(count)}, {SMALL.removeprefix('zoo:')}. A ticket is trained for the steps of one training; what the "
        "searches before it learnt is in its mask alone."
    )
    return Section("Controls", ["network", "accuracy"], rows, note)


def _verdict(density: float, gains: Sequence[float]) -> str:
    if density >= 0.2:
        return "agrees" if mean(gains) >= -0.01 else "disagrees"
    if mean(gains) <= 0:
        return "disagrees"
    return "agrees" if min(gains) > 0 else "undecided"


def _counted(seeds: int) -> str:
    return "One seed" if seeds == 1 else f"{seeds} seeds"


def _line(name: str, densities: Sequence[float], found: Sequence[Sequence[Result]]) -> Series:
    removed = [[r["removed"] for r in rs] for rs in found]
    return Series(name, densities, [mean(r) for r in removed], [min(r) for r in removed], [max(r) for r in removed])


# -- the masks --------------------------------------------------------------------------------------------


def _choice_section(lab: Lab) -> Section:
    densities, count = (0.1, 0.05), lab.side_count
    percentage = lab.masks([lab.images(SMALL, d) for d in densities], count)
    threshold = lab.masks([lab.images(SMALL, d, choice="threshold") for d in densities], count)
    rows = [
        [
            f"{100 * density:g}",
            way,
            spread([r["density"] for r in found]),
            spread([r["removed"] for r in found]),
            ", ".join(f"{k:g}" for k in (sum(c) / len(c) for c in zip(*(r["widths"] for r in found)))),
        ]
        for density, *both in zip(densities, percentage, threshold)
        for way, found in zip(("percentage", "threshold, α from the mask"), both)
    ]
    columns = ["budget %", "who stays", "density reached %", "accuracy", "weights by layer"]
    note = (
        f"{_counted(count)}, {SMALL.removeprefix('zoo:')}. By percentage, as many stay as the budget has room for; by "
        "threshold, whoever is above the α at which the mask's values fall apart best (Otsu)."
    )
    return Section("Threshold against percentage", columns, rows, note, brief=[0, 1, 2, 3])


def _mask_sections(lab: Lab) -> list[Section]:
    settings = [lab.images(SMALL, 0.1, levels=1, choice="threshold", alpha=a) for a in ALPHAS]
    found = [one for (one,) in lab.masks(settings, 1)]
    rows = [
        [f"{a:g}", percent(r["density"]), percent(r["removed"]), percent(r["between"]), percent(r["zero"])]
        for a, r in zip(ALPHAS, found)
    ]
    columns = ["α", "density reached %", "accuracy", "0.05 < m < 0.95 %", "m = 0 %"]
    note = (
        "One seed, one mask, its price led to 10%. The search is the same in every row; only the cut and its ticket "
        "are not."
    )
    curve = Series("density reached", list(ALPHAS), [r["density"] for r in found])
    ticket = Series("accuracy of the ticket", list(ALPHAS), [r["removed"] for r in found])
    sensitivity = Figure(
        "alpha", "What a threshold keeps, and what the ticket then reaches", "α", "share", [curve, ticket], log_x=True,
        percent_y=True,
    )  # fmt: skip
    middles = [(i + 0.5) / BINS for i in range(BINS)]
    lines = [
        Series(name, middles, [count / sum(counts) for count in counts])
        for name, counts in found[0]["histogram"].items()
    ]
    histogram = Figure(
        "masks", "Masks at the end of a search, layer by layer", "m", "share of the layer", lines, log_y=True,
        percent_y=True, note="Twenty bins. What is at 0 and at 1 is in the outermost.",
    )  # fmt: skip
    return [
        Section("How much the threshold matters", columns, rows, note, figures=[sensitivity, histogram]),
        _cost_section(lab),
    ]


def _cost_section(lab: Lab) -> Section:
    rows = []
    for model, count in ((SMALL, lab.count), (DEEP, lab.side_count)):
        settings = [lab.images(model, 0.05)]
        (ours,), (theirs,) = lab.masks(settings, count), lab.magnitude(settings, count)
        epochs = settings[0]["epochs"] * LEVELS[0.05] / (LEVELS[0.05] + 1)
        own = sum(r["own_seconds"] for r in ours) / sum(_searching(r) for r in ours)
        each = [f"{mean(_searching(r) for r in found) / epochs:.2f}" for found in (theirs, ours)]
        rows.append([model.removeprefix("zoo:"), *each, percent(own)])
    columns = ["network", "magnitude: seconds an epoch", "log mask: seconds an epoch", "of which mask %"]
    note = (
        "Searches at 5%, one thread, on a machine that does other work beside, so seconds are rough; the mask's share "
        "is taken within the same run."
    )
    return Section("What a mask costs", columns, rows, note)


def _searching(found: Result) -> float:
    return sum(seconds for phase, seconds in found["phases"].items() if phase.startswith("level"))


def _open_section(lab: Lab) -> Section:
    results = lab.masks([lab.images(SMALL, 0.1, **more) for more in VARIANTS.values()], lab.side_count)
    rows = [
        [
            name,
            spread([r["removed"] for r in found]),
            spread([r["gated"] for r in found]),
            percent(mean(r["searched"] for r in found)),
            percent(mean(r["between"] for r in found)),
        ]
        for name, found in zip(VARIANTS, results)
    ]
    columns = ["variant", "ticket", "with the relaxed mask", "of the run searching %", "0.05 < m < 0.95 %"]
    note = (
        f"{_counted(lab.side_count)}, {SMALL.removeprefix('zoo:')} at 10%. λ is nowhere given: it is the price "
        "at which the mask's demand meets the budget, at every step. A search that has settled hands its steps to the "
        "ticket. With untrained weights the relaxed mask is all that was trained, and its accuracy is that of a strong "
        "ticket before the cut."
    )
    return Section("What the paper leaves open", columns, rows, note)


__all__ = ["reproduce_concave", "sources"]
