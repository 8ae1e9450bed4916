"""What units say of the calibration batches, as Gram matrices: which of them say the same.

A *channel*'s information is what its readers are given of it, or, before the nonlinearity, what the modules that make
it return; positions of a feature map count as examples, and so do several readers. An *edge*'s is w_ji·x_j: what the
neuron i is given over it. Only sums of products are kept, so that the data may stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import DataError, StructureError
from ..maths.kernels import Gram, weighted
from ..partition import Layer, Players
from ..signals import Signals
from ..signals.patches import Linear, groups_of, patches
from ..structure.naming import CONVOLUTIONS
from .places import consumers, makers, require_every_layer

WIDEST = 4096  # inputs of a neuron: its kernel has as many rows and columns


def require_channels(players: Players, score: str, *, made: bool) -> None:
    """Check that every channel says something.

    Raises:
        StructureError: names the layers that nothing reads (or makes).
    """
    found = (makers if made else consumers)(players).values()
    lacking = "is made by" if made else "is read by"
    require_every_layer(players, [who for _, who, _ in found], score, f"{lacking} no linear or convolutional module")


def channel_grams(players: Players, signals: Signals, *, made: bool) -> list[Gram]:
    """Of every layer, over its channels.

    Args:
        made: what the modules that make the channels return; else what those that read them are given.
    Raises:
        DataError: something is not finite; names the layer.
    """
    found = (makers if made else consumers)(players)
    grams = [Gram(layer.size, players.device) for layer in players.layers]
    parts = {name: list(_columns(players, who)) for name, (_, who, _) in found.items()}

    def look(name: str, x: Tensor) -> None:
        flat = x.movedim(found[name][2], -1)
        for number, columns in parts[name]:  # a channel may come several times, flattened with its positions
            grams[number].add(flat[..., columns].reshape(-1, columns.shape[1]))

    signals.visit({name: module for name, (module, _, _) in found.items()}, look, outputs=made)
    for layer, gram in zip(players.layers, grams):
        _require_finite(layer.name, gram)
    return grams


def _columns(players: Players, who: Tensor) -> list[tuple[int, Tensor]]:
    """Layers that are among the owners: number, and where its channels are, ``(times, channels)``."""
    out = []
    for number, layer in enumerate(players.layers):
        at = ((who >= layer.start) & (who < layer.stop)).nonzero().flatten()
        if len(at):
            order = at[torch.sort(who[at], stable=True).indices]
            out.append((number, order.view(layer.size, -1).T.to(players.device)))
    return out


@dataclass(frozen=True, eq=False)
class Edges:
    """One layer's single weights, and what its neurons' inputs say.

    Attributes:
        layer: the players. weight: ``(neurons, inputs)``. grams: of the inputs, one for each group of a convolution.
    """

    layer: Layer
    weight: Tensor
    grams: list[Gram]

    def weighted(self, piece: int) -> Iterator[tuple[int, Tensor, int]]:
        """Gram matrices ``(b, inputs, inputs)`` of w_ji·x_j for some neurons at a time, at most ``piece`` numbers: the
        first neuron, theirs, and of how many examples."""
        own = len(self.weight) // len(self.grams)
        step = max(1, piece // self.weight.shape[1] ** 2)
        for group, gram in enumerate(self.grams):
            for start in range(0, own, step):
                row = group * own + start
                yield row, weighted(gram.matrix, self.weight[row : row + min(step, own - start)]), gram.examples


def require_edges(players: Players, score: str) -> None:
    """Check that every weight is a linear map's or a convolution's, and not too wide.

    Raises:
        StructureError: names the weight.
    """
    for layer in players.layers:
        module, leaf = _owner(players, layer)
        weight = players.model.get_parameter(layer.name)
        if leaf != "weight" or not isinstance(module, (nn.Linear, *CONVOLUTIONS)):
            raise StructureError(
                f"score {score!r} looks at what a neuron is given over its edges, and {layer.name} is of a "
                f"{type(module).__name__}; leave it whole (ignore), or take another score"
            )
        if weight[0].numel() > WIDEST:
            raise StructureError(
                f"score {score!r} makes a kernel over the inputs of every neuron, and those of {layer.name} have "
                f"{weight[0].numel():,}, more than {WIDEST:,}; leave it whole (ignore), or take another score"
            )


def edges(players: Players, signals: Signals) -> list[Edges]:
    """Of every layer of single weights.

    Raises:
        DataError: something is not finite; names the layer.
    """
    made = []
    watched: dict[str, tuple[Linear, list[Gram]]] = {}
    for layer in players.layers:
        module, _ = _owner(players, layer)
        weight = players.model.get_parameter(layer.name).detach().flatten(1)
        grams = [Gram(weight.shape[1], players.device) for _ in range(groups_of(module))]
        watched[layer.name.rpartition(".")[0]] = (module, grams)
        made.append(Edges(layer, weight, grams))

    def look(name: str, x: Tensor) -> None:
        module, grams = watched[name]
        for rows in patches(module, x):
            for gram, own in zip(grams, rows):
                gram.add(own)

    signals.visit({name: module for name, (module, _) in watched.items()}, look)
    for each in made:
        for gram in each.grams:
            _require_finite(each.layer.name, gram)
    return made


def _owner(players: Players, layer: Layer) -> tuple[Linear, str]:
    path, _, leaf = layer.name.rpartition(".")
    return players.model.get_submodule(path), leaf  # type: ignore[return-value]  # checked by require_edges


def _require_finite(name: str, gram: Gram) -> None:
    if not bool(gram.matrix.isfinite().all()):
        raise DataError(
            f"activations at {name} are not finite, so that no kernel can be made of them; mend the network"
        )
    if not gram.examples:
        raise StructureError(f"{name} was not run on the calibration batches; leave it whole (ignore)")
