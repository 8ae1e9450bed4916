"""Table 3 of Acharyya et al. (2021) as printed, and what their public code logged (boyu-zhang-25/DropConnect_DPP).

The logs of DPP node and of random edge date from January and early February 2020. The code of January pruned the
student as it was trained, and all of these logs have its unpruned loss, the same to all digits: ten rounds are ten lots
of masks of one student. That loss is a mean squared error, all others are halved. The other methods were added in May
2020, when the code rescaled the rows of w first; no log of them is public, so their state is inferred.
"""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("DPP node", "random edge", "random node", "importance edge", "importance node")
STATE = {  # in which the authors' students were when they were pruned
    "DPP node": "as trained",
    "random edge": "as trained",
    "random node": "rescaled",
    "importance edge": "rescaled",
    "importance node": "rescaled",
}
SHARES = ("17%", "33%", "50%", "67%", "83%")


@dataclass(frozen=True)
class Column:
    """Half-MSE at the five levels, with the spread that is printed, if any."""

    mean: tuple[float, ...]
    spread: tuple[float, ...] = ()

    def text(self, level: int) -> str:
        return f"{self.mean[level]:.3f}" + (f" ± {self.spread[level]:.3f}" if self.spread else "")


PRINTED = {
    0.0: {
        "DPP node": Column((3.737, 2.310, 1.438, 0.740, 0.258), (0.009, 0.012, 0.015, 0.017, 0.008)),
        "random edge": Column((3.451, 2.300, 1.402, 0.730, 0.204), (0.011, 0.015, 0.006, 0.006, 0.005)),
        "random node": Column((3.978, 2.800, 1.748, 1.046, 0.540), (0.016, 0.035, 0.036, 0.018, 0.010)),
        "importance edge": Column((1.911, 0.814, 0.311, 0.110, 0.040)),
        "importance node": Column((3.760, 2.719, 1.540, 0.721, 0.360)),
    },
    0.25: {
        "DPP node": Column((4.000, 2.622, 1.633, 0.890, 0.394), (0.005, 0.015, 0.002, 0.018, 0.001)),
        "random edge": Column((3.769, 2.558, 1.675, 1.007, 0.490), (0.012, 0.011, 0.010, 0.007, 0.003)),
        "random node": Column((4.188, 3.041, 2.023, 1.269, 0.643), (0.001, 0.024, 0.035, 0.022, 0.002)),
        "importance edge": Column((1.963, 0.905, 0.450, 0.271, 0.253)),
        "importance node": Column((4.167, 2.910, 2.031, 1.144, 0.659)),
    },
}
LOGGED = {  # means and standard deviations of the ten rows of each in loss_stat.py
    0.0: {
        "DPP node": Column((3.737, 2.310, 1.438, 0.740, 0.258), (0.009, 0.012, 0.015, 0.017, 0.008)),
        "random edge": Column((3.651, 2.500, 1.602, 0.930, 0.404), (0.011, 0.015, 0.006, 0.006, 0.005)),
    },
    0.25: {
        "DPP node": Column((4.000, 2.622, 1.634, 0.890, 0.394), (0.005, 0.015, 0.007, 0.018, 0.001)),
        "random edge": Column((3.769, 2.558, 1.675, 1.007, 0.490), (0.012, 0.011, 0.010, 0.007, 0.003)),
    },
}
WHOLE = {0.0: 0.051, 0.25: 0.241}  # "original test loss"; 0.0514385 and 0.2410864 in the logs: not halved


def compared(noise: float, method: str) -> Column:
    """What a method is held against: the log where there is one, else the print."""
    return LOGGED[noise].get(method, PRINTED[noise][method])


__all__ = ["LOGGED", "METHODS", "PRINTED", "SHARES", "STATE", "WHOLE", "Column", "compared"]
