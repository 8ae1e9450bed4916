"""N:M patterns: of every m consecutive weights along a layer's input, exactly n stay (Mishra et al. 2021).

Hardware multiplies such matrices at the speed of the smaller ones (2:4 on recent GPUs), since where the n are is a
few bits for each run. Which layers follow the pattern is a matter of shapes alone, and so is how many weights stay.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from ..errors import StructureError
from ..partition import Layer, Players
from ..shapes import Mask, PerPlayer
from ..structure.naming import TRANSPOSED


def parse_pattern(text: str) -> tuple[int, int]:
    """Read ``2:4``.

    Raises:
        ValueError: not of that form, or not 1 ≤ n < m.
    """
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text)
    n, m = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= n < m:
        raise ValueError(f"pattern {text!r}: write n:m with 1 ≤ n < m, such as 2:4")
    return n, m


def pattern_mask(players: Players, scores: PerPlayer, n: int, m: int) -> Mask:
    """Of every m consecutive weights along the input axis the n with the highest scores.

    A layer whose input width is not a multiple of m stays dense (:func:`unpatterned` says which).

    Args:
        scores: ``(players,)``, higher = keep, ties by lower index; NaN counts as lowest.
    Raises:
        StructureError: the players are not single weights.
    """
    if players.granularity != "weight":
        raise StructureError(
            f"pattern {n}:{m} is of single weights, and the players are {players.granularity}s; "
            "use granularity='weight'"
        )
    scores = torch.nan_to_num(scores.detach().double(), nan=-torch.inf)
    keep = torch.ones(players.count, dtype=torch.bool, device=scores.device)
    for layer in players.layers:
        weight, axis = players.model.get_parameter(layer.name), _input_axis(players, layer)
        if weight.shape[axis] % m:
            continue
        runs = scores[layer.start : layer.stop].view(weight.shape).movedim(axis, -1)
        best = torch.sort(runs.reshape(-1, m), dim=1, descending=True, stable=True).indices[:, :n]
        mask = torch.zeros(len(best), m, dtype=torch.bool, device=keep.device).scatter_(1, best, True)
        keep[layer.start : layer.stop] = mask.view(runs.shape).movedim(-1, axis).flatten()
    return keep.to(players.device)


def unpatterned(players: Players, m: int) -> list[str]:
    """Names of the layers that no pattern of m fits."""
    return [x.name for x in players.layers if players.model.get_parameter(x.name).shape[_input_axis(players, x)] % m]


def _input_axis(players: Players, layer: Layer) -> int:
    module: nn.Module = players.model.get_submodule(layer.name.rpartition(".")[0])
    return 0 if isinstance(module, TRANSPOSED) else 1
