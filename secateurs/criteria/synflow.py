"""SynFlow: how much of the network's total path weight runs through a player. No data, no loss."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from ..errors import StructureError
from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class SynFlow(Score):
    """⟨|θ_g|, ∂R/∂|θ_g|⟩/R with R = 1ᵀ(Π_l |θ^[l]|)1 (Tanaka et al. 2020): the network with the absolute values of its
    weights, on an input of ones, its outputs summed; as a share of R, which may be beyond what float32 holds.

    The sum of the scores over each layer's weights is 1, whatever the layer's size (where there are no biases and the
    nonlinearities are those of ReLU). So a layer that has lost much concentrates what is left, and over many rounds,
    the mask closing geometrically, none is emptied while others have more.

    The network runs in evaluation mode; BatchNorm's running means are taken as zero, so that it only scales. It runs in
    float64: R grows with the product of all widths. The model itself is not changed.

    Raises:
        StructureError: no input is of floating point, so that there are no ones to give; or R is not finite.
    """

    name: ClassVar[str] = "synflow"
    summary: ClassVar[str] = "the smallest |θ·∂R/∂θ| of the synaptic flow R, in 100 rounds, without data"
    source: ClassVar[str] = "Tanaka et al. 2020"
    cost: ClassVar[str] = "100 passes on one example, before training"
    early: ClassVar[bool] = True
    rounds: ClassVar[int] = 100

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        tensors = _absolute(players.model)
        gated = [tensors[name].requires_grad_() for name in players.gates.names]
        with signals.mode(training=False) as model:
            flow = _total(_call(model, tensors, _ones(players.example_inputs)))
        if not bool(flow.isfinite()):
            raise StructureError(f"score 'synflow': the flow through {type(players.model).__name__} is {flow.item():g}")
        grads = torch.autograd.grad(flow, gated, allow_unused=True)
        flows = [torch.zeros_like(t) if g is None else g for t, g in zip(gated, grads)]
        share = flow.detach() if float(flow.detach()) > 0 else torch.ones_like(flow)
        return players.gates.dot([f / share for f in flows], [t.detach() for t in gated])


def _absolute(model: nn.Module) -> dict[str, Tensor]:
    """|θ| of all parameters and buffers, in float64; running means zero. Tied tensors stay one."""
    made: dict[int, Tensor] = {}
    out: dict[str, Tensor] = {}
    for named in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        for name, tensor in named:
            if tensor.is_floating_point():
                value = tensor.detach().double().abs()
                if name.rpartition(".")[2] == "running_mean":
                    value.zero_()
                out[name] = made.setdefault(id(tensor), value)
    return out


def _ones(inputs: Any) -> Any:
    """The inputs with ones for every number of floating point."""
    leaves, form = pytree.tree_flatten(inputs)
    if not any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in leaves):
        raise StructureError("score 'synflow' gives the network ones, and none of its inputs is of floating point")
    ones = [torch.ones_like(x).double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in leaves]
    return pytree.tree_unflatten(ones, form)


def _call(model: nn.Module, tensors: dict[str, Tensor], inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return functional_call(model, tensors, (), inputs)
    return functional_call(model, tensors, inputs if isinstance(inputs, tuple) else (inputs,))


def _total(output: Any) -> Tensor:
    leaves = [x for x in pytree.tree_leaves(output) if isinstance(x, Tensor) and x.is_floating_point()]
    return torch.stack([x.sum() for x in leaves]).sum()
