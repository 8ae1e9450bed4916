"""How long a draw from a k-DPP takes, beside DPPy 0.3.3.

    python -m benchmarks.dpp_speed --items 1000 --size 100

One exact draw of k items from a kernel over n, by ``secateurs.maths.Determinantal`` and by DPPy's ``FiniteDPP`` (its
default, Gram & Schmidt on the chosen eigenvectors), in one run, taking turns, on one thread. Four things are timed:

* all of it, from the kernel: checks, eigendecomposition, draw;
* all of it, from features B with L = BBᵀ, as many as ``--features``, by the dual d × d form in both;
* the draw, the eigendecomposition given: what is left of the first;
* a further draw of the same size: DPPy keeps its table of symmetric polynomials, ours needs none.

Medians, and the ratio of the two in each turn, its median and quartiles. That both have one law is a test's
(``tests/maths/test_determinantal_draws.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from secateurs.maths import Determinantal


@dataclass(frozen=True)
class Row:
    """Seconds of both, turn by turn."""

    name: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.ours, self.theirs)]

    def __str__(self) -> str:
        low, middle, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        ours, theirs = (1e3 * statistics.median(x) for x in (self.ours, self.theirs))
        return f"{self.name:<34} {ours:8.1f} ms {theirs:8.1f} ms {middle:6.1f} × ({low:.1f} – {high:.1f})"


def kernel(n: int, features: int | None = None, seed: int = 0) -> np.ndarray:
    """Rows of standard normal features, ``(n, d)``, scaled so that eigenvalues are about 1."""
    d = n if features is None else features
    return np.random.RandomState(seed).randn(n, d) / np.sqrt(d)


def measure(n: int, k: int, features: int, turns: int) -> list[Row]:
    """All rows. The eigendecompositions of the given form are made once, outside of the clock."""
    from dppy.finite_dpps import FiniteDPP

    B, G = kernel(n), kernel(n, features)
    L = B @ B.T
    tensor, rows = torch.from_numpy(L), torch.from_numpy(G)
    generator, random = torch.Generator().manual_seed(0), np.random.RandomState(0)
    held, theirs = Determinantal(tensor), FiniteDPP("likelihood", L=L)

    def dppy(process: Any) -> None:
        process.sample_exact_k_dpp(size=k, random_state=random)

    def dual() -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
            process = FiniteDPP("likelihood", L_gram_factor=G.T)
        dppy(process)

    def first() -> None:
        theirs.E_poly = None
        dppy(theirs)

    dppy(theirs)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        f"from the kernel, n = {n:,}": (
            lambda: Determinantal(tensor).sample(generator, k),
            lambda: dppy(FiniteDPP("likelihood", L=L)),
        ),
        f"from {features} features": (
            lambda: Determinantal.of_features(rows).sample(generator, k),
            dual,
        ),
        "eigendecomposition given": (lambda: held.sample(generator, k), first),
        "a further draw of the same size": (lambda: held.sample(generator, k), lambda: dppy(theirs)),
    }
    out = {name: Row(name, [], []) for name in pairs}
    for turn in range(turns + 1):  # the first is not counted
        for name, both in pairs.items():
            seconds = [_timed(call) for call in both]
            if turn:
                out[name].ours.append(seconds[0])
                out[name].theirs.append(seconds[1])
    return list(out.values())


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--turns", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{args.size} of {args.items:,} items, one thread, {args.turns} turns; median ratio (quartiles)")
    print(f"{'':<34} {'ours':>11} {'DPPy':>11}")
    for row in measure(args.items, args.size, args.features, args.turns):
        print(row)


if __name__ == "__main__":
    main()
