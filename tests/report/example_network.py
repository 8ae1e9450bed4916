"""Networks to be drawn, made up: a small residual one, and a long one with dense connections."""

from __future__ import annotations

from secateurs.records import Network, NetworkGroup, NetworkNode


def residual(*, cut: bool = True) -> Network:
    """stem; two stages of two blocks each, with a norm beside each layer; a classifier whose output is fixed."""
    nodes = [NetworkNode(name="input"), _layer("stem", [0], 0, 16, 9, cut, also=["norm"])]
    groups = [_group("stem", 16, 9, cut)]
    for stage in (1, 2):
        for block in (0, 1):
            path, start = f"layer{stage}.{block}", len(nodes) - 1
            groups.append(_group(f"{path}.conv1", 32, 11, cut))
            nodes.append(
                _layer(f"{path}.conv1", [start], len(groups) - 1, 32, 11, cut, kind="Conv2d", also=[f"{path}.bn1"])
            )
            nodes.append(_layer(f"{path}.conv2", [start + 1], 0, 16, 9, cut, also=[f"{path}.bn2"]))
            nodes.append(_layer(path, [start, start + 2], 0, 16, 9, cut, kind="+"))
    last = len(nodes)
    nodes.append(NetworkNode(name="fc", kind="Linear", inputs=[last - 1], width=10, reason="the model's output"))
    return Network(nodes=[*nodes, NetworkNode(name="output", inputs=[last])], groups=groups)


def dense(layers: int) -> Network:
    """Every layer reads all before it."""
    nodes, groups = [NetworkNode(name="input")], []
    for number in range(layers):
        groups.append(_group(f"features.block.layer{number}.conv", 32, 16, False))
        read = [NetworkNode(name=f"features.block.layer{number}", kind="concat", inputs=list(range(len(nodes)))[-30:])]
        nodes += read
        nodes.append(_layer(f"features.block.layer{number}.conv", [len(nodes) - 1], number, 32, 16, False))
    return Network(nodes=[*nodes, NetworkNode(name="output", inputs=[len(nodes) - 1])], groups=groups)


def _layer(
    name: str,
    inputs: list[int],
    group: int,
    width: int,
    kept: int,
    cut: bool,
    *,
    kind: str = "Conv2d",
    also: list[str] | None = None,
) -> NetworkNode:
    return NetworkNode(
        name=name,
        kind=kind,
        also=also or [],
        inputs=inputs,
        groups=[group],
        counts=[width],
        width=width,
        kept=kept if cut else None,
    )


def _group(name: str, total: int, kept: int, cut: bool) -> NetworkGroup:
    return NetworkGroup(
        name=name, kind="channel", total=total, kept=kept if cut else None, params_each=290, macs_each=294_912
    )
