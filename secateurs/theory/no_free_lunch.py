"""No free lunch: where labels are noise, whatever was learnt is right on one test example in K.

Labels of training and test are drawn uniformly from K classes, independently of the inputs and of each other. Given a
trained network and the test inputs, every test label is still uniform, so the number of hits among n is exactly
Binomial(n, 1/K), whatever the method, its mask and its training accuracy (survey *magnitude*). That is what is tested,
with the exact two-sided test; and a leak of test examples into the training data, which must be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ..maths.binomial import interval, p_value
from ..spec import derive_seed
from ..training import evaluate
from ..zoo import Data, TensorSplit
from ..zoo.data import content_hash

Fit = Callable[[Data, int], nn.Module]
"""``fit(data, seed)`` → a trained network. It must not look at ``data.test``."""


def random_labels(
    *, seed: int, classes: int = 4, features: int = 16, train: int = 256, test: int = 2000, leak: float = 0.0
) -> Data:
    """Gaussian inputs with labels that know nothing of them.

    Args:
        leak: fraction of the training data that is copied from the test set, labels included: a mistake to be found.
    Returns:
        data with a validation part of a quarter of ``train``, random too.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "random labels"))

    def part(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(n, features, generator=generator)
        return x, torch.randint(classes, (n,), generator=generator)

    (x, y), held, (tx, ty) = part(train), part(max(1, train // 4)), part(test)
    copied = round(leak * train)
    if copied > test:
        raise ValueError(f"leak={leak:g} of {train} training examples is more than the {test} of the test set")
    x[:copied], y[:copied] = tx[:copied], ty[:copied]
    arrays = [t.numpy() for t in (x, y, *held, tx, ty)]
    splits = TensorSplit(x, y), TensorSplit(*held), TensorSplit(tx, ty)
    return Data("random labels", classes, (features,), content_hash(*arrays), *splits)


@dataclass(frozen=True)
class Verdict:
    """Hits over all seeds together.

    Attributes:
        hits, trials: on test examples. chance: 1/K.
        low, high: Clopper and Pearson's interval for the accuracy, 99%. p_value: exact, two-sided, of chance.
        training: mean accuracy on the training data, which may be anything.
    """

    hits: int
    trials: int
    chance: float
    low: float
    high: float
    p_value: float
    training: float

    @property
    def accuracy(self) -> float:
        return self.hits / self.trials

    def at_chance(self, level: float = 0.01) -> bool:
        """Whether the hits do not contradict 1/K at this level of significance."""
        return self.p_value >= level


def hits(fit: Fit, seed: int, **settings) -> tuple[int, int, float]:
    """One training on random labels: hits, test examples, accuracy on the training data.

    Args:
        settings: of :func:`random_labels`.
    """
    data = random_labels(seed=seed, **settings)
    model = fit(data, seed)
    learnt = evaluate(model, data.train).accuracy
    if data.test_reads:
        raise ValueError("the method looked at the test set while it was trained")
    found = evaluate(model, data.test)
    return found.correct, found.n, learnt


def judged(counts: Iterable[tuple[int, int, float]], classes: int) -> Verdict:
    """Hits of independent seeds add up to one binomial count."""
    rows = list(counts)
    right, trials = sum(r[0] for r in rows), sum(r[1] for r in rows)
    low, high = interval(right, trials)
    learnt = sum(r[2] for r in rows) / len(rows)
    return Verdict(right, trials, 1 / classes, low, high, p_value(right, trials, 1 / classes), learnt)


__all__ = ["Fit", "Verdict", "hits", "judged", "random_labels"]
