"""What a network's answers tell beyond their accuracy: by class, how sure, how faithful, and how much they give away.

Logits are ``(n, classes)``, labels ``(n,)``; everything is computed in float64.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..records import Fidelity

BINS = 15


def class_accuracy(logits: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Accuracy on the examples of each class; None for a class without any."""
    right = (logits.argmax(-1) == labels).double()
    total = torch.bincount(labels, minlength=classes)
    hits = torch.bincount(labels, weights=right, minlength=classes)
    return [float(h / t) if t else None for h, t in zip(hits, total)]


def calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error of the top label, Σ_b n_b/n·|accuracy_b − confidence_b| (Guo et al. 2017), with bins
    that hold equally many examples (Nguyen & O'Connor 2015), to one, in the order of their confidence."""
    confidence, answer = logits.double().softmax(-1).max(-1)
    order = confidence.argsort(stable=True)
    right = (answer == labels).double()[order]
    gaps = [abs(float((r - c).sum())) for r, c in zip(right.tensor_split(bins), confidence[order].tensor_split(bins))]
    return sum(gaps) / len(labels)


def agreement(dense: Tensor, pruned: Tensor) -> float:
    """Share of examples with the same answer."""
    return float((dense.argmax(-1) == pruned.argmax(-1)).double().mean())


def divergence(dense: Tensor, pruned: Tensor) -> float:
    """Mean KL(p_dense ‖ p_pruned) over examples, in nats."""
    p, q = dense.double().log_softmax(-1), pruned.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def fidelity(dense: Tensor, pruned: Tensor, labels: Tensor, classes: int) -> Fidelity:
    """A pruned network's answers held against the dense network's."""
    before, after = (logits.argmax(-1) == labels for logits in (dense, pruned))
    pairs = zip(class_accuracy(dense, labels, classes), class_accuracy(pruned, labels, classes))
    drops = {i: a - b for i, (a, b) in enumerate(pairs) if a is not None and b is not None}
    worst = max(drops, key=lambda i: drops[i]) if drops else None
    return Fidelity(
        agreement=agreement(dense, pruned),
        kl=divergence(dense, pruned),
        flipped=int((before & ~after).sum()),
        gained=int((~before & after).sum()),
        worst_drop=None if worst is None else drops[worst],
        worst_drop_class=worst,
    )


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example, ``(n,)``, in nats."""
    return F.cross_entropy(logits.double(), labels, reduction="none")


def membership(members: Tensor, others: Tensor) -> tuple[float, tuple[float, float]]:
    """How well a threshold on the loss tells training examples from others (Yeom et al. 2018).

    AUC = P(loss of a member < loss of another) + ½·P(equal), over all pairs, by ranks; 0.5 is not at all. The 95%
    interval is DeLong's (1988), with variance s²(V_members)/m + s²(V_others)/n over each example's own share of pairs,
    clipped to [0, 1].

    Args:
        members: losses of training examples, ``(m,)``. others: of examples that were not trained on, ``(n,)``.
    Raises:
        ValueError: one of the two is empty.
    """
    if not len(members) or not len(others):
        raise ValueError("membership is told apart between two sets, and one of them is empty")
    a, b = members.double(), others.double()
    by_member = 1 - _below(a, b) / len(b)
    by_other = _below(b, a) / len(a)
    auc = float(by_member.mean())
    variance = sum(float(v.var()) / len(v) for v in (by_member, by_other) if len(v) > 1)
    half = 1.959964 * math.sqrt(variance)
    return auc, (max(0.0, auc - half), min(1.0, auc + half))


def _below(values: Tensor, others: Tensor) -> Tensor:
    """For each value, how many of the others are smaller, ties counted by half."""
    ordered = others.sort().values
    return (torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)).double() / 2
