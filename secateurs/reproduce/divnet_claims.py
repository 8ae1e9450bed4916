"""What the statmech paper says of real data, and its theorems there: who errs less than whom, at which sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from .divnet import REWEIGHTED
from .divnet_tables import Found, order
from .page import Section

LEVEL = 0.05  # of significance, of a claim at all its sizes together


@dataclass(frozen=True)
class Order:
    """That one method is more accurate than another.

    Attributes:
        says: in words. better, worse: the methods. sources: of the data of which it is said.
        where: shares of the parameters at which it is said.
    """

    says: str
    better: str
    worse: str
    sources: Sequence[str] = ("mnist", "cifar10")
    where: Callable[[float], bool] = lambda share: True

    def row(self, found: Found) -> list[str]:
        """What is said, of which data, at which shares it holds, fails and stays undecided, by how much, a verdict."""
        seen: dict[str, list[int]] = {"above": [], "below": [], "undecided": []}
        gains, places = [], [i for i, share in enumerate(found.setting.shares) if self.where(share)]
        for i in places:
            both = list(zip(found.at(self.better, i), found.at(self.worse, i)))
            said = order([a for a, _ in both], [b for _, b in both], LEVEL / len(places))
            seen[said].append(round(100 * found.setting.shares[i]))
            gains.append(mean(a - b for a, b in both))
        shares = [", ".join(map(str, at)) for at in seen.values()]
        return [self.says, found.setting.name, *shares, f"{100 * mean(gains):+.2f}", verdict(*map(len, seen.values()))]


def verdict(holds: int, fails: int, undecided: int) -> str:
    """In a word, from the number of sizes at which a claim holds, fails and is neither shown nor refuted."""
    if not holds and not fails:
        return "undecided"
    if not fails:
        return "agrees" if not undecided else "agrees where decided"
    return "disagrees" if not holds else "in part"


DIVNET = f"DPP node{REWEIGHTED}"
RANDOM_EDGE, IMPORTANCE_EDGE = f"random edge{REWEIGHTED}", f"importance edge{REWEIGHTED}"
CLAIMS = (
    Order("random edge above DIVNET, both reweighted, at all sizes", RANDOM_EDGE, DIVNET, ["cifar10"]),
    Order("DIVNET above random edge, both reweighted, up to 40%", DIVNET, RANDOM_EDGE, ["mnist"], lambda s: s < 0.45),
    Order("random edge above DIVNET, both reweighted, beyond 40%", RANDOM_EDGE, DIVNET, ["mnist"], lambda s: s > 0.45),
    Order("importance edge above DIVNET, both reweighted", IMPORTANCE_EDGE, DIVNET),
    Order("importance edge above random edge, both reweighted", IMPORTANCE_EDGE, RANDOM_EDGE),
    Order("Theorem 2: DPP node above random node", "DPP node", "random node"),
    Order("Theorem 2: DIVNET above random node, reweighted", DIVNET, f"random node{REWEIGHTED}"),
    Order("Theorem 2: DIVNET above importance node, not reweighted", DIVNET, "importance node"),
    Order("Theorem 4: random edge above DPP node", "random edge", "DPP node"),
    Order("Conjecture 1: random edge above random node", "random edge", "random node"),
    Order("Conjecture 1: importance edge above importance node", "importance edge", "importance node"),
    Order('"may be": importance node above DIVNET, both reweighted', f"importance node{REWEIGHTED}", DIVNET),
)


def claims(found: Sequence[Found]) -> Section:
    """Each claim on each data set of which it is made."""
    rows = [
        claim.row(one)
        for claim in CLAIMS
        for one in found
        if one.setting.source in claim.sources and any(map(claim.where, one.setting.shares))
    ]
    columns = ["claim", "data", "holds at %", "fails at %", "undecided at %", "mean difference", "verdict"]
    note = (
        "Sizes are shares of the parameters kept, as in Figure 3; not reweighted unless it says so. At a size a claim "
        "holds or fails where the interval (Student's t) of the difference in test accuracy over the same networks "
        "lies to one side of 0, at 95% for all sizes of the claim together (Bonferroni); the difference is in points, "
        "the mean over sizes. The theorems are of a teacher and a student of one hidden layer, at k ≤ M nodes; here "
        "they are read as expectations, on networks that they do not cover."
    )
    return Section("Claims on real data", columns, rows, note, brief=[0, 1, 2, 3, 6])


__all__ = ["CLAIMS", "Order", "claims", "verdict"]
