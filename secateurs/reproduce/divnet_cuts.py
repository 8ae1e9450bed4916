"""The experiments on DIVNET's networks: train one, cut its first layer in every way, test what is left.

Who stays is decided at random, by importance or by a determinantal point process (DPP), among nodes, or among the
weights into every node ("edges"). Nodes are drawn several times; edges once, as every node has a draw of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..criteria.importance import Importance
from ..maths.determinantal import Determinantal
from ..maths.kernels import gaussian, weighted
from ..selection import top_k
from ..signals import Signals
from ..spec import derive_seed
from ..training import evaluate
from .cells import Kinds, Result
from .divnet import PASS, FirstLayer, Training, input_sums, whole

IDLE = ", σ(b) stays"
PRE = "DPP node of pre-activations"
CHUNK = 8  # kernels of edges decomposed side by side


def cut_nodes(
    *,
    data: str,
    training: Mapping[str, Any],
    kept: Sequence[int],
    variants: Sequence[int],
    draws: int,
    seed: int,
    limit: int | None = None,
) -> Result:
    """One repetition: a network, and its first layer cut to every number of nodes; at some of them also as the authors'
    code does.

    Returns:
        how the training went, see :class:`secateurs.reproduce.divnet.Training`, and ``cut``: method → number kept →
        test accuracies.
    """
    tested = _Tested(data, limit, training, seed)
    layer = tested.layer
    for kind, k, keep in _nodes(layer, kept, variants, draws, seed):
        for way, net in layer.without_nodes(keep).items():
            tested(f"{kind}{way}", k, net)
        if k in variants and kind != PRE:
            tested(f"{kind}{IDLE}", k, layer.with_idle_nodes(keep))
    return tested.found


def cut_edges(
    *, data: str, training: Mapping[str, Any], kept: Sequence[int], seed: int, limit: int | None = None
) -> Result:
    """The same repetition's network, cut to every number of edges into each node; see :func:`cut_nodes`."""
    tested = _Tested(data, limit, training, seed)
    layer = tested.layer
    for k in kept:
        random = torch.rand(layer.weight.shape, generator=_generator(seed, "random edge", k))
        for kind, scores in (("random edge", random), ("importance edge", layer.weight.abs())):
            for way, net in layer.without_edges(top_of_rows(scores, k)).items():
                tested(f"{kind}{way}", k, net)
    return tested.found


def cut_diverse_edges(
    *, data: str, training: Mapping[str, Any], kept: Sequence[int], seed: int, limit: int | None = None
) -> Result:
    """The same with edges drawn by a DPP, which costs an eigendecomposition for every node."""
    tested = _Tested(data, limit, training, seed)
    for k, keep in diverse_edges(tested.layer, kept, seed).items():
        for way, net in tested.layer.without_edges(keep).items():
            tested(f"DPP edge{way}", k, net)
    return tested.found


KINDS: Kinds = {"nodes": cut_nodes, "edges": cut_edges, "diverse-edges": cut_diverse_edges}


class _Tested:
    """A trained network, and the test accuracies of what it is cut to.

    Attributes:
        layer: its first. found: what a cell returns.
    """

    def __init__(self, data: str, limit: int | None, training: Mapping[str, Any], seed: int) -> None:
        self.layer, found = _first_layer(data, limit, Training(**training), seed)
        self.split = whole(data, limit).test
        self.found: Result = {**found, "cut": {}}

    def __call__(self, method: str, kept: int, net: nn.Module) -> None:
        accuracy = evaluate(net, self.split, PASS).accuracy
        self.found["cut"].setdefault(method, {}).setdefault(str(kept), []).append(accuracy)


@lru_cache(maxsize=1)
def _first_layer(data: str, limit: int | None, training: Training, seed: int) -> tuple[FirstLayer, Result]:
    """Kept for the next cell, which may be of the same network."""
    loaded = whole(data, limit)
    net, found = training(loaded, seed)
    return FirstLayer(net, loaded, input_sums(data, limit)), found


def _nodes(
    layer: FirstLayer, kept: Sequence[int], variants: Sequence[int], draws: int, seed: int
) -> Iterator[tuple[str, int, Tensor]]:
    """Who stays: the kind of choice, how many, booleans ``(nodes,)``."""
    importance = Importance()(layer.found, Signals(layer.found))[: len(layer.weight)]
    grams = {"DPP node": layer.activations.gram, PRE: layer.projections}
    laws = {kind: Determinantal(gaussian(gram, layer.examples)) for kind, gram in grams.items()}
    for k in kept:
        yield "importance node", k, top_k(importance, k)
        for draw in range(draws):
            generator = _generator(seed, "random node", k, draw)
            yield "random node", k, top_k(torch.rand(len(importance), generator=generator), k)
            for kind, law in laws.items():
                if kind != PRE or k in variants:
                    yield kind, k, law.mask(_generator(seed, kind, k, draw), k)


def top_of_rows(scores: Tensor, k: int) -> Tensor:
    """The k largest of every row, exactly k."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.topk(k, 1).indices, True)


def diverse_edges(layer: FirstLayer, counts: Sequence[int], seed: int) -> dict[int, Tensor]:
    """For every count, as many edges of each node, drawn by the DPP of what they carry, w_ji·x_j over all examples."""
    generator = _generator(seed, "DPP edge")
    found: dict[int, list[Tensor]] = {k: [] for k in counts}
    for rows in layer.weight.split(CHUNK):
        law = Determinantal(gaussian(weighted(layer.inputs.gram, rows), layer.examples))
        for k in counts:
            found[k].append(law.mask(generator, k))
    return {k: torch.cat(masks) for k, masks in found.items()}


def _generator(seed: int, *names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *names))


__all__ = ["IDLE", "KINDS", "PRE", "cut_diverse_edges", "cut_edges", "cut_nodes", "diverse_edges", "top_of_rows"]
