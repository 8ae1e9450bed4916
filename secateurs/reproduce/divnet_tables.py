"""Pages' tables of DIVNET's networks: node prunings beside the logged figures, and Figure 3 of the statmech paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from ..maths.student import paired_interval
from .cells import Result
from .divnet import REWEIGHTED
from .divnet_cuts import IDLE, PRE
from .page import Figure, Section, Series, percent, spread

# Accuracies in the authors' logs, one network: DPP node reweighted, importance node not reweighted; and whole.
LOGGED = {50: 0.9275, 100: 0.95, 150: 0.9538, 200: 0.957, 250: 0.9584, 300: 0.9602}
LOGGED_IMPORTANCE = {50: 0.317, 100: 0.3928, 150: 0.5648, 200: 0.7743, 250: 0.8878, 300: 0.9293}
LOGGED_DENSE = 0.9633
METHODS = ("DPP node", "random node", "importance node", "random edge", "importance edge", "DPP edge")


@dataclass(frozen=True)
class Setting:
    """What is run on one data set.

    Attributes:
        source: of the data. name: in words. features: of an input.
        training: see :class:`secateurs.reproduce.divnet.Training`.
        table: nodes kept where node prunings are compared.
        nodes, edges: kept in Figure 3, pairs of equal parameters (appendix F).
        draws: of everything that is drawn among nodes. limit: training examples.
    """

    source: str
    name: str
    features: int
    training: Mapping[str, Any]
    table: tuple[int, ...]
    nodes: tuple[int, ...]
    edges: tuple[int, ...]
    draws: int = 3
    limit: int | None = None

    @property
    def shares(self) -> list[float]:
        """Of the edges into a node, and so of the parameters, that Figure 3 keeps."""
        return [k / self.features for k in self.edges]


class Found:
    """Test accuracies, seed by seed.

    Args:
        results: kind of cell → one a seed.
    """

    def __init__(self, setting: Setting, results: Mapping[str, Sequence[Result]]) -> None:
        self.setting, self.results = setting, results

    def __call__(self, method: str, kept: int) -> list[float]:
        """Of every seed the mean over what was drawn; empty where the method was not run."""
        kind = "diverse-edges" if method.startswith("DPP edge") else "edges" if " edge" in method else "nodes"
        return [mean(r["cut"][method][str(kept)]) for r in self.results[kind]]

    def at(self, method: str, place: int) -> list[float]:
        """At a place of Figure 3."""
        kept = self.setting.edges if " edge" in method else self.setting.nodes
        return self(method, kept[place])

    def of(self, what: str) -> list[float]:
        """Something of the networks before they are cut: ``epochs``, ``train`` or ``dense``."""
        return [float(r[what]) for r in self.results["nodes"]]

    @property
    def methods(self) -> list[str]:
        """Those that were run."""
        return [m for m in METHODS if self.at(m, 0)]


def networks(found: Sequence[Found], note: str) -> Section:
    """What is cut: how far the training went."""
    rows = []
    for one in found:
        setting = one.setting
        rows.append(
            [
                setting.name,
                str(setting.training["model"]).removeprefix("zoo:"),
                f"{100 * setting.training['error']:g}",
                f"{mean(one.of('epochs')):.1f}",
                spread([1 - a for a in one.of("train")]),
                spread(one.of("dense")),
                percent(LOGGED_DENSE) if setting.source == "mnist" else "",
                str(len(one.of("dense"))),
            ]
        )
    columns = [
        "data",
        "network",
        "training error asked %",
        "epochs",
        "reached %",
        "test accuracy",
        "logged",
        "networks",
    ]
    return Section("DIVNET's networks", columns, rows, note, brief=[0, 1, 4, 5, 6])


def reweighted_nodes(found: Found) -> Section:
    """DIVNET beside its rivals at equal numbers of nodes, all of them reweighted."""
    rows, dense = [], mean(found.of("dense"))
    for k in found.setting.table:
        ours, random, theirs = (found(f"{m}{REWEIGHTED}", k) for m in ("DPP node", "random node", "importance node"))
        logged = LOGGED.get(k)
        rows.append(
            [
                str(k),
                percent(logged) if logged else "",
                spread(ours),
                spread(random),
                spread(theirs),
                difference(ours, theirs),
                difference(ours, random),
                f"{100 * (dense - mean(ours)):.2f}" + (f" ({100 * (LOGGED_DENSE - logged):.2f})" if logged else ""),
                "" if logged is None else "reached" if mean(ours) >= logged else "short of it",
                order(ours, theirs),
            ]
        )
    columns = [
        "nodes kept", "logged, DPP", "DPP", "random", "importance", "DPP − importance", "DPP − random",
        "DPP below dense (logged)", "the logged accuracy", "DPP against importance",
    ]  # fmt: skip
    note = (
        f"{found.setting.name}, first layer, reweighted: test accuracy in per cent, ± the standard deviation over "
        f"{_counted(found)}; where nodes are drawn, each network's mean over {found.setting.draws} draws. Differences "
        "are of the same networks, in points, with the 95% interval of Student's t, each by itself. Importance: Σ|w| "
        "over what leaves the node; the paper leaves open how it fares reweighted. Logged: the authors' code, one "
        "network."
    )
    return Section("DIVNET: nodes kept of the first layer", columns, rows, note, brief=[0, 1, 2, 4, 5, 8, 9])


def plain_nodes(found: Found) -> Section:
    """The same without reweighting, where it matters what a removed node still returns."""
    methods = ("importance node", "DPP node", "random node")
    rows = []
    for k in found.setting.table:
        gone, idle = ([spread(found(f"{m}{way}", k)) for m in methods] for way in ("", IDLE))
        logged = LOGGED_IMPORTANCE.get(k)
        gain = difference(found("DPP node", k), found("random node", k))
        rows.append([str(k), percent(logged) if logged else "", *gone, gain, *idle])
    columns = ["nodes kept", "logged, importance", "importance", "DPP", "random", "DPP − random"]
    columns += ["importance, σ(b) stays", "DPP, σ(b) stays", "random, σ(b) stays"]
    note = (
        "As above, without reweighting. What is removed here is gone. The authors' code sets a node's incoming weights "
        "to zero and leaves its bias, so that it goes on returning σ(b), about a half; the logged figures are of that, "
        "and belong beside the columns that say so."
    )
    return Section("Nodes without reweighting", columns, rows, note, brief=[0, 1, 2, 3, 6])


def kernels(found: Found) -> Section:
    """Whether the kernel is of activations, as the paper says, or of pre-activations, as its code has it."""
    rows = []
    for k in found.setting.table:
        pairs = [(found(f"{PRE}{way}", k), found(f"DPP node{way}", k)) for way in (REWEIGHTED, "")]
        rows.append([str(k), *(text for a, b in pairs for text in (spread(a), difference(a, b)))])
    columns = ["nodes kept", "reweighted", "− of activations", "without reweighting", "− of activations "]
    note = (
        "The paper's kernel is of activations; the authors' code takes the weighted sums of the input instead, without "
        "the bias. β = 10/|T| and ε = 0.01 in both; accuracy in per cent."
    )
    return Section("DPP nodes by a kernel of pre-activations", columns, rows, note)


def figure3(found: Found, part: str) -> list[Section]:
    """Test error against the share of parameters kept: reweighted, which is the paper's, and not."""
    setting = found.setting
    counts = ", ".join(f"{method} {len(found.at(method, 0))}" for method in found.methods)
    note = (
        f"{setting.name}, first layer, one cut, no retraining: test error in per cent, ± the standard deviation over "
        f"networks ({counts}); before the cut {spread([1 - a for a in found.of('dense')])}. Nodes and edges as in "
        "appendix F: equally many parameters. Edges are exactly so many into every node, chosen for each node."
    )
    if setting.source == "cifar10":
        note += " The images were given as JPEG copies, which are slightly lossy."
    ways = (("reweighted", REWEIGHTED, "reweighted"), ("cut", "", "not reweighted"))
    return [_errors(found, part, name, way, words, note) for name, way, words in ways]


def _errors(found: Found, part: str, name: str, way: str, words: str, note: str) -> Section:
    setting = found.setting
    rows = []
    for i, share in enumerate(setting.shares):
        errors = [spread([1 - a for a in found.at(f"{method}{way}", i)]) for method in found.methods]
        rows.append([f"{100 * share:.0f}", str(setting.nodes[i]), str(setting.edges[i]), *errors])
    chart = Figure(
        f"{setting.source}-{name}",
        f"{setting.name}: test error of a cut first layer, {words}",
        "parameters kept",
        "test error",
        [_line(found, method, way) for method in found.methods],
        percent_x=True,
        percent_y=True,
        note="Bands are one standard deviation over networks.",
    )
    columns = ["parameters kept %", "nodes", "edges a node", *found.methods]
    return Section(f"Figure 3 {part}: {setting.name}, {words}", columns, rows, note, figures=[chart])


def _line(found: Found, method: str, way: str) -> Series:
    errors = [[1 - a for a in found.at(f"{method}{way}", i)] for i in range(len(found.setting.edges))]
    middle = [mean(e) for e in errors]
    wide = [stdev(e) if len(e) > 1 else 0.0 for e in errors]
    low, high = [m - w for m, w in zip(middle, wide)], [m + w for m, w in zip(middle, wide)]
    band = len(errors[0]) > 1
    return Series(
        method, found.setting.shares, middle, low if band else None, high if band else None, dashed=" edge" in method
    )


def difference(left: Sequence[float], right: Sequence[float]) -> str:
    """Mean of left − right over the same networks, in points, and its 95% interval."""
    gain = mean(a - b for a, b in zip(left, right))
    if len(left) < 2:
        return f"{100 * gain:+.2f}"
    low, high = paired_interval(left, right)
    return f"{100 * gain:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def order(left: Sequence[float], right: Sequence[float], p: float = 0.05) -> str:
    """``above``, ``below``, or ``undecided`` where the interval of the difference, at 1 − p, contains 0."""
    low, high = paired_interval(left, right, p)
    return "above" if low > 0 else "below" if high < 0 else "undecided"


def _counted(found: Found) -> str:
    count = len(found.of("dense"))
    return "one network" if count == 1 else f"{count} networks"


__all__ = [
    "Found",
    "Setting",
    "difference",
    "figure3",
    "kernels",
    "networks",
    "order",
    "plain_nodes",
    "reweighted_nodes",
]
