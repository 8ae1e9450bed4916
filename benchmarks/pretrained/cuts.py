"""The rows: the dense network, then every cut as it is and after every recovery.

Nothing is chosen here by what a row shows: scores, budgets and recoveries run as they are, and the scored images are
read by the finished networks only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import secateurs
from secateurs.criteria import SCORES, Magnitude, Random, Taylor
from secateurs.measure import count_macs, count_params
from secateurs.partition import Players
from secateurs.recovery import AUTO, LADDER, RECOVERIES, Removal, climb
from secateurs.selection import fit_budget, within_layers
from secateurs.signals import Signals
from secateurs.spec import Budget, derive_seed
from secateurs.structure import Shrunk
from secateurs.training import evaluate
from secateurs.zoo import TensorSplit

from .sample import Sample, split

Row = dict[str, Any]
SCORE_BATCH, CALIBRATION_BATCH = 10, 50
COMMON = (Magnitude.name, Taylor.name, Random.name)
CONTROL = "random"
UNTRAINED = tuple(rung for rung in LADDER if not rung.goes_on)  # of the ladder, what trains nothing


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        macs: shares of the dense network's MACs.
        scores: names in ``SCORES``.
        draws: how many random cuts.
        recoveries: names in ``RECOVERIES``, or "auto": the ladder's rungs that train nothing.
        climbing: scores after whose cut across layers the ladder is climbed, which takes minutes.
        repairing: how many of the images that calibrate repair what the ladder tries; the others judge it.
        seed: of the random cuts.
    """

    macs: Sequence[float] = (0.8, 0.6)
    scores: Sequence[str] = COMMON
    draws: int = 3
    recoveries: Sequence[str] = ("batchnorm", AUTO)
    climbing: Sequence[str] = (Magnitude.name,)
    repairing: int = 100
    seed: int = 0

    def cuts(self) -> Iterator[tuple[float, str, str, int]]:
        """(budget, score, allocation, draw). A random cut takes like shares of all layers by itself."""
        for share in self.macs:
            for name in sorted(self.scores, key=lambda name: name != CONTROL):  # the control comes first
                for draw in range(self.draws if name == CONTROL else 1):
                    yield share, name, "global", draw
                if name != CONTROL:
                    yield share, name, "uniform", 0


def rows(model: nn.Module, sample: Sample, plan: Plan) -> Iterator[Row]:
    """Measure one network after the other."""
    bench = Bench(model, sample, plan.seed)
    yield bench.row(model, score="dense")
    for share, name, allocation, draw in plan.cuts():
        yield from bench.cut(share, name, allocation, draw, plan)


class Bench:
    """A trained network, its players and the sample."""

    def __init__(self, model: nn.Module, sample: Sample, seed: int) -> None:
        self.model, self.sample, self.seed = model.eval(), sample, seed
        self.one = next(iter(sample.calibration.batches(1, epoch=None)))[0]
        example = next(iter(sample.calibration.batches(2, epoch=None)))[0]
        self.players: Players = secateurs.players(model, example)
        self._scores: dict[tuple[str, int], tuple[Tensor, float]] = {}

    def scores(self, name: str, draw: int) -> tuple[Tensor, float]:
        """A number per player, and the processor seconds that it took; once for all budgets."""
        if (name, draw) not in self._scores:
            score = SCORES[name]()
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "cut", draw))
            self._scores[name, draw] = timed(lambda: score(self.players, self._signals(generator)))
        return self._scores[name, draw]

    def _signals(self, generator: torch.Generator) -> Signals:
        batches = list(self.sample.calibration.batches(SCORE_BATCH, epoch=None))
        return Signals(self.players, batches, generator=generator)

    def cut(self, share: float, name: str, allocation: str, draw: int, plan: Plan) -> Iterator[Row]:
        """Cut the network; then its row, and one for every recovery."""
        players = self.players
        scores, scoring = self.scores(name, draw)
        targets = Budget(macs=share).targets({"macs": players.amount("macs")})

        def small() -> tuple[Shrunk, Tensor]:
            priority = within_layers(players, scores) if allocation == "uniform" else scores
            keep = fit_budget(players, priority, targets)
            return secateurs.shrink(self.model, players.structure, players.atom_mask(keep)), keep

        (shrunk, keep), cutting = timed(small)
        network, removal = shrunk.model.eval(), Removal(self.model, shrunk.surgery)
        about = {"score": name, "allocation": allocation, "draw": draw, "budget": share}
        about["predicted"] = round(players.amount("macs", keep))
        yield self.row(network, **about, seconds=scoring + cutting)
        for recovery in plan.recoveries:
            if recovery == AUTO:
                if name in plan.climbing and allocation == "global":
                    yield self._climbed(network, removal, plan.repairing, about, scoring + cutting)
                continue
            batches = list(self.sample.calibration.batches(CALIBRATION_BATCH, epoch=None))
            better, seconds = timed(lambda: RECOVERIES[recovery]()(network, removal, batches).eval())  # noqa: B023
            yield self.row(better, **about, recovery=recovery, seconds=scoring + cutting + seconds)

    def _climbed(self, network: nn.Module, removal: Removal, repairing: int, about: Row, before: float) -> Row:
        """The row of the ladder's best network, which images that calibrate say, and what every rung gave there."""
        repair, judge = apart(self.sample.calibration, repairing)
        value = lambda model: evaluate(model, judge, SCORE_BATCH).accuracy  # noqa: E731
        data = list(repair.batches(CALIBRATION_BATCH, epoch=None))
        (best, tried), seconds = timed(lambda: climb(network, removal, data, value, 1.0, UNTRAINED))
        rungs = [{"name": t.name, "value": t.value, "seconds": t.seconds, "kept": t.kept} for t in tried]
        kept = [t.name for t in tried if t.kept][-1]
        return self.row(best.eval(), **about, recovery=f"auto: {kept}", rungs=rungs, seconds=before + seconds)

    def row(self, network: nn.Module, **about: Any) -> Row:
        found = evaluate(network, self.sample.scoring, SCORE_BATCH)
        low, high = interval(found.correct, found.n)
        measured = {"params": count_params(network), "macs": count_macs(network, self.one)}
        measured |= {"correct": found.correct, "n": found.n, "top1": found.accuracy, "low": low, "high": high}
        return {"recovery": "none", **about, **measured, "loss": found.loss}


def apart(images: TensorSplit, count: int) -> tuple[TensorSplit, TensorSplit]:
    """``count`` of the images, evenly spaced, as they are sorted by class; and the others."""
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[torch.linspace(0, len(images) - 1, count).long()] = True
    return split(images.x[chosen], images.y[chosen]), split(images.x[~chosen], images.y[~chosen])


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the processor seconds that it took: others may be at work on the machine."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def interval(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval of a share: the shares p with |correct/n − p| ≤ z·√(p(1 − p)/n)."""
    share, weight = correct / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / weight
    half = z / weight * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)
