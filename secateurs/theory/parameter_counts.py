"""Node and edge pruning with equally many parameters: how many nodes k_n are how many edges k_e of every neuron.

To keep k_n of h hidden neurons keeps their incoming and outgoing weights, k_n·(d + o); to keep k_e of the d incoming
weights of every neuron keeps all outgoing ones, h·(k_e + o). Equal counts mean (Acharyya et al. 2021)

    k_e = k_n·(d + o)/h − o,        k_n = h·(k_e + o)/(d + o)

with d inputs and o outputs of the layer: h₂, the next hidden layer's width, in their §5.2, and o = 1 in the
teacher–student setup of appendix E, k_e = (k_n(1 + N) − K)/K. As d → ∞ it is k_e/d = k_n/h = c (eq. 4). Biases are not
counted. Below k_n = h·o/(d + o) the outgoing weights alone are more than the nodes have, and k_e is negative.
"""

from __future__ import annotations


def edges(nodes: float, inputs: int, hidden: int, outputs: int = 1) -> float:
    """k_e, edges of every neuron, for k_n kept nodes: a real number, not rounded.

    Args:
        nodes: k_n, 0 to ``hidden``. inputs: d. hidden: h. outputs: o, 1 for a single output.
    Raises:
        ValueError: a width below 1, or more nodes than there are.
    """
    _check(inputs, hidden, outputs)
    if not 0 <= nodes <= hidden:
        raise ValueError(f"{nodes:g} nodes of {hidden}: must be 0 … {hidden}")
    return nodes * (inputs + outputs) / hidden - outputs


def nodes(edges: float, inputs: int, hidden: int, outputs: int = 1) -> float:
    """k_n, nodes, for k_e kept edges of every neuron: the inverse of :func:`edges`.

    Args:
        edges: k_e, 0 to ``inputs``.
    Raises:
        ValueError: a width below 1, or more edges than there are.
    """
    _check(inputs, hidden, outputs)
    if not 0 <= edges <= inputs:
        raise ValueError(f"{edges:g} edges of {inputs}: must be 0 … {inputs}")
    return hidden * (edges + outputs) / (inputs + outputs)


def share(nodes: float, hidden: int) -> float:
    """c = k_n/K = lim k_e/N, the share that stays of either (eq. 4)."""
    _check(1, hidden, 1)
    return nodes / hidden


def _check(inputs: int, hidden: int, outputs: int) -> None:
    if min(inputs, hidden, outputs) < 1:
        raise ValueError(f"widths {inputs}, {hidden}, {outputs}: must be at least 1")
