"""The papers' laboratories: what their equations say of pruning, computed, and held against chance or brute force.

``recovery`` is the chance that a threshold on random weights finds a sparse truth; ``curvature`` the landscape that a
mask leaves; ``paths`` soft against hard thresholds; ``no_free_lunch`` what any method makes of random labels;
``parameter_counts`` how many pruned edges are how many pruned nodes.
"""

from . import curvature, no_free_lunch, parameter_counts, paths, recovery

__all__ = ["curvature", "no_free_lunch", "parameter_counts", "paths", "recovery"]
