"""The network with its players, as data that a page can draw without the model."""

from __future__ import annotations

import numpy as np

from ..partition import Players
from ..records import Network, NetworkGroup, NetworkNode
from ..shapes import Mask
from ..structure import Structure, network


def draw(players: Players, kept: Mask | None = None) -> Network | None:
    """The network that the players were found in.

    Args:
        kept: ``(players,)`` who stays; None draws the network as it is.
    Returns:
        None where the structure was computed, not traced.
    """
    structure = players.structure
    if structure.evidence is None:
        return None
    group_of, groups = _groups(players, kept)
    alive = None
    if kept is not None and players.granularity != "weight":
        alive = np.append(players.atom_mask(kept).numpy(), True)  # −1 reads the last entry: always kept
    nodes = []
    for node in network(structure):
        shares = _shares(group_of[node.atoms[node.atoms >= 0]])
        nodes.append(
            NetworkNode(
                name=node.name,
                kind=node.kind,
                also=list(node.also),
                inputs=list(node.inputs),
                groups=list(shares),
                counts=list(shares.values()),
                width=len(node.atoms),
                kept=None if alive is None or not len(node.atoms) else int(alive[node.atoms].sum()),
                reason=node.reason,
            )
        )
    _blocks(structure, nodes, group_of, alive)
    return Network(nodes=nodes, groups=groups)


def _shares(groups: np.ndarray) -> dict[int, int]:
    """How often each is there, the most frequent first."""
    names, counts = np.unique(groups, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return dict(zip(names[order].tolist(), counts[order].tolist()))


def _groups(players: Players, kept: Mask | None) -> tuple[np.ndarray, list[NetworkGroup]]:
    """The group of each atom: the layers of players, then the families that are none's players."""
    structure = players.structure
    group_of = np.full(structure.atoms, -1)
    groups = []
    if players.granularity != "weight":
        layer_of, atoms = players.layer_of.cpu().numpy(), players.atoms.cpu().numpy()
        group_of[atoms] = layer_of
        each = {r: players.resource(r).marginal(players.sizes) for r in ("params", "macs")}
        for number, layer in enumerate(players.layers):
            groups.append(
                NetworkGroup(
                    name=layer.name,
                    kind=layer.kind,
                    total=layer.size,
                    kept=None if kept is None else int(kept[layer.start : layer.stop].sum()),
                    params_each=round(float(each["params"][number])),
                    macs_each=round(float(each["macs"][number])),
                )
            )
    for family in structure.families:
        left = family.atoms[group_of[family.atoms] < 0]
        if len(left):
            group_of[left] = len(groups)
            groups.append(NetworkGroup(name=family.name, kind=family.kind, total=len(left)))
    return group_of, groups


def _blocks(structure: Structure, nodes: list[NetworkNode], group_of: np.ndarray, alive: np.ndarray | None) -> None:
    """What lies in a block belongs to the block's group, too, and goes with it."""
    for bypass in structure.bypasses:
        for node in nodes:
            if node.name == bypass.path or node.name.startswith(bypass.path + "."):
                node.groups.append(int(group_of[bypass.atom]))
                node.counts.append(0)
                if alive is not None and not alive[bypass.atom]:
                    node.kept = 0
