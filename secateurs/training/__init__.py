"""The training loop, its callbacks and checkpoints. It knows no pruning."""

from __future__ import annotations

from .callback import Callback, Loss, cross_entropy, logits
from .checkpoint import Checkpoint
from .evaluation import Evaluation, Held, evaluate, evaluate_many
from .processes import decided, fitting, make_accelerator
from .rates import Rate, constant, cosine, drops
from .trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "Evaluation",
    "Held",
    "Loss",
    "Rate",
    "Trainer",
    "constant",
    "cosine",
    "cross_entropy",
    "decided",
    "drops",
    "evaluate",
    "evaluate_many",
    "fitting",
    "logits",
    "make_accelerator",
]
