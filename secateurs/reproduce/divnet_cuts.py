"""The experiments on DIVNET's networks: train one, cut its first layer in every way, test what is left.

Who stays is decided at random, by importance or by a determinantal point process, for nodes and for the weights into
every node ("edges"). What is drawn is drawn several times for nodes, and once for edges, of which every node has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..maths.determinantal import Determinantal
from ..maths.kernels import gaussian, weighted
from ..selection import top_k
from ..spec import derive_seed
from ..training import evaluate
from ..zoo import Data
from .cells import Kinds, Result
from .divnet import FirstLayer, input_gram, linear, trained, whole

IDLE = ", σ(b) stays"
PRE = "DPP node of pre-activations"
CHUNK = 8  # kernels of edges decomposed side by side


def cut_everything(
    *,
    data: str,
    limit: int | None,
    training: Mapping[str, Any],
    nodes: Sequence[int],
    edges: Sequence[int],
    draws: int,
    seed: int,
) -> Result:
    """One repetition: a network, its first layer cut to each of ``nodes``, and to each of ``edges`` into every node.

    Returns:
        what :func:`secateurs.reproduce.divnet.trained` says, and ``cut``: method → number kept → test accuracies.
    """
    loaded, layer, found = _layer(data, limit, training, seed)
    tested = _Tested(loaded)
    for kind, k, keep in _nodes(layer, nodes, draws, seed):
        for way, net in layer.without_nodes(keep).items():
            tested(f"{kind}{way}", k, net)
        if kind != PRE:
            tested(f"{kind}{IDLE}", k, layer.with_idle_nodes(keep))
    for k in edges:
        random = torch.rand(layer.weight.shape, generator=_generator(seed, "random edge", k))
        for kind, scores in (("random edge", random), ("importance edge", layer.weight.abs())):
            for way, net in layer.without_edges(top_of_rows(scores, k)).items():
                tested(f"{kind}{way}", k, net)
    return {**found, "cut": tested.found}


def cut_diverse_edges(
    *, data: str, limit: int | None, training: Mapping[str, Any], edges: Sequence[int], seed: int
) -> Result:
    """The same repetition's network with edges drawn by a DPP for every node: an eigendecomposition for each."""
    loaded, layer, found = _layer(data, limit, training, seed)
    tested = _Tested(loaded)
    for k, keep in diverse_edges(layer, edges, seed).items():
        for way, net in layer.without_edges(keep).items():
            tested(f"DPP edge{way}", k, net)
    return {**found, "cut": tested.found}


KINDS: Kinds = {"everything": cut_everything, "diverse-edges": cut_diverse_edges}


class _Tested:
    """Accuracies on the test set, of which each network is given one reading."""

    def __init__(self, data: Data) -> None:
        self.split = data.test
        self.found: dict[str, dict[str, list[float]]] = {}

    def __call__(self, method: str, kept: int, net: nn.Module) -> None:
        accuracy = evaluate(net, self.split, 2000).accuracy
        self.found.setdefault(method, {}).setdefault(str(kept), []).append(accuracy)


def _layer(data: str, limit: int | None, training: Mapping[str, Any], seed: int) -> tuple[Data, FirstLayer, Result]:
    loaded = whole(data, limit)
    net, found = trained(loaded, seed=seed, **training)
    return loaded, FirstLayer(net, loaded, input_gram(data, limit)), found


def _nodes(layer: FirstLayer, counts: Sequence[int], draws: int, seed: int) -> Iterator[tuple[str, int, Tensor]]:
    """Who stays: the kind of choice, how many, booleans ``(nodes,)``."""
    importance = linear(layer.net, "fc2").weight.detach().abs().sum(0)
    grams = {"DPP node": layer.activations, PRE: layer.projections}
    laws = {kind: Determinantal(gaussian(gram, layer.examples)) for kind, gram in grams.items()}
    for k in counts:
        yield "importance node", k, top_k(importance, k)
        for draw in range(draws):
            generator = _generator(seed, "random node", k, draw)
            yield "random node", k, top_k(torch.rand(len(importance), generator=generator), k)
            for kind, law in laws.items():
                yield kind, k, law.mask(_generator(seed, kind, k, draw), k)


def top_of_rows(scores: Tensor, k: int) -> Tensor:
    """The k largest of every row, exactly k."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.topk(k, 1).indices, True)


def diverse_edges(layer: FirstLayer, counts: Sequence[int], seed: int) -> dict[int, Tensor]:
    """For every count, as many edges of each node, drawn by the DPP of what they carry, w_ji·x_j over all examples."""
    generator = _generator(seed, "DPP edge")
    found: dict[int, list[Tensor]] = {k: [] for k in counts}
    for rows in layer.weight.split(CHUNK):
        law = Determinantal(gaussian(weighted(layer.inputs, rows), layer.examples))
        for k in counts:
            found[k].append(law.mask(generator, k))
    return {k: torch.cat(masks) for k, masks in found.items()}


def _generator(seed: int, *names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *names))


__all__ = ["IDLE", "KINDS", "PRE", "cut_diverse_edges", "cut_everything", "diverse_edges", "top_of_rows"]
