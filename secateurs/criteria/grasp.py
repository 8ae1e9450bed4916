"""GraSP: what a player does for the flow of gradients, before training."""

from __future__ import annotations

from typing import ClassVar

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Grasp(Score):
    """θ_gᵀ(Hg)_g, g the gradient and H the Hessian of the loss over the gated parameters; the highest stay
    (Wang et al. 2020).

    To first order, removing group g changes ‖g‖², the loss that one small step of gradient descent takes away, by
    2·(−θ_g)ᵀHg = −2 × the score. So who has the lowest score goes first: the gradients grow most without him.

    Signs differ in print. Wang et al. write S(−θ) = −θᵀHg and remove the *highest* S, which is this rule; surveys
    print the same −θᵀHg as a saliency of which the lowest are pruned, which is the opposite. The original also divides
    the logits by a temperature of 200; here the loss is the one that is trained.
    """

    name: ClassVar[str] = "grasp"
    summary: ClassVar[str] = "the smallest θᵀHg at initialisation: who holds back the gradient's norm"
    source: ClassVar[str] = "Wang et al. 2020"
    cost: ClassVar[str] = "one Hessian-vector product, before training"
    needs: ClassVar[str] = "a training batch"
    early: ClassVar[bool] = True
    calibration: ClassVar[int] = 1

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        _, product = signals.gradient_product
        return players.gates.dot(product, signals.theta)
