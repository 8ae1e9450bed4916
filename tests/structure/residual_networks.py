"""Networks with residual blocks, and with modules that look like blocks and are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.zoo import build_model

from .networks import Function, randomise

BLOCKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}
IMAGE = (2, 3, 8, 8)


def blocks(build: Callable[[], tuple[nn.Module, Any]]) -> Callable[[], tuple[nn.Module, Any]]:
    BLOCKS[build.__name__] = build
    return build


def built(name: str) -> tuple[nn.Module, Any]:
    """A randomised float64 network and its example inputs."""
    torch.manual_seed(3)
    model, inputs = BLOCKS[name]()
    inputs = inputs if isinstance(inputs, (tuple, dict)) else (inputs,)
    return randomise(model).eval(), _double(inputs)


def _double(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    return tuple(v.double() if v.is_floating_point() else v for v in inputs)


@blocks
def resnet20() -> tuple[nn.Module, Any]:
    return build_model("zoo:resnet20", classes=10, input_shape=(3, 16, 16)), torch.randn(2, 3, 16, 16)


@blocks
def vit() -> tuple[nn.Module, Any]:
    return build_model("zoo:vit-tiny", classes=10, input_shape=(3, 16, 16)), torch.randn(2, 3, 16, 16)


class PreActivation(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.n1, self.c1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, 1, 1)
        self.n2, self.c2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.c2(self.n2(self.c1(self.n1(x).relu())).relu())


@blocks
def preactivation() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 3), *(PreActivation(6) for _ in range(3)), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), torch.randn(*IMAGE)


class PostActivation(nn.Module):
    """As in torchvision: in place, with a projection where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.act = activation(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.act(out)


@blocks
def postactivation() -> tuple[nn.Module, Any]:
    stem: list[nn.Module] = [nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 1, 1)]
    body = [PostActivation(4, 4), PostActivation(4, 6, 2), PostActivation(6, 6)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), torch.randn(*IMAGE)


@blocks
def relu6() -> tuple[nn.Module, Any]:
    """The first gets what may exceed 6."""
    stem = [nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU()]
    body = [PostActivation(4, 4, activation=nn.ReLU6), PostActivation(4, 4, activation=nn.ReLU6)]
    return nn.Sequential(*stem, *body, nn.Conv2d(4, 3, 3)), torch.randn(*IMAGE)


@blocks
def signed_stream() -> tuple[nn.Module, Any]:
    """ReLU after the sum of a stream that may be negative."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), PostActivation(4, 4), nn.Conv2d(4, 3, 3)), torch.randn(*IMAGE)


@blocks
def encoder_prenorm() -> tuple[nn.Module, Any]:
    layer = nn.TransformerEncoderLayer(12, 3, 10, norm_first=True, batch_first=True)
    return nn.TransformerEncoder(layer, 3, nn.LayerNorm(12), enable_nested_tensor=False), torch.randn(2, 5, 12)


@blocks
def encoder_postnorm() -> tuple[nn.Module, Any]:
    layer = nn.TransformerEncoderLayer(12, 3, 10, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 5, 12)


class Layer(nn.Module):
    """A transformer layer that takes more than its stream and returns a tuple."""

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.attention_type = "full" if number % 2 else "sliding"
        self.norm, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.down = nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **extra: Any) -> Any:
        h = self.norm(hidden_states)
        y, weights = self.attn(h, h, h, attn_mask=attention_mask)
        h = hidden_states + y
        return h + self.down(F.gelu(self.up(h))), extra.get("bias"), weights


@blocks
def tuples() -> tuple[nn.Module, Any]:
    """The parent reads a setting off each layer, and passes a value through all of them."""

    def forward(m: Any, x: Tensor) -> Tensor:
        masks = {"full": None, "sliding": torch.ones(5, 5, dtype=torch.bool).triu(2)}
        bias = x.mean(-1, keepdim=True)
        for number, layer in enumerate(m.layers):
            mask = masks[layer.attention_type]
            if number == 1:
                x, bias, _ = layer(hidden_states=x, attention_mask=mask, bias=bias)
            else:
                x, bias = layer(x, attention_mask=mask, bias=bias)[:2]
        return m.out(x + bias)

    layers = nn.ModuleList(Layer(8, number) for number in range(3))
    return Function(forward, layers=layers, out=nn.Linear(8, 3)), torch.randn(2, 5, 8)


@blocks
def needed() -> tuple[nn.Module, Any]:
    """Code around the blocks reads a weight of one, and asks another what a stand-in does not know."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = x.to(m.body[1].up.weight.dtype)
        for block in m.body:
            x = block(x, [])
        return m.out(x) * m.body[2].scale()

    class Scaled(Refused):
        def scale(self) -> float:
            return 2.0

    body = nn.ModuleList([Refused("fine"), Refused("fine"), Scaled("fine"), Refused("fine")])
    return Function(forward, body=body, out=nn.Linear(6, 2)), torch.randn(2, 4, 6)


class ConvNeXt(nn.Module):
    """Permutes in the branch, a layer scale, and a residual part inside the branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dw, self.norm = nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.LayerNorm(width)
        self.up, self.response, self.down = nn.Linear(width, 7), Response(7), nn.Linear(7, width)
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.dw(x).permute(0, 2, 3, 1))
        h = self.down(self.response(F.gelu(self.up(h)))).permute(0, 3, 1, 2)
        return x + self.drop(self.scale * h)


class Response(nn.Module):
    """Global response normalisation: y = γ·x·n(x) + β + x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.norm(dim=(1, 2), keepdim=True)
        return self.gamma * (x * (norm / (norm.mean(-1, keepdim=True) + 1e-6))) + self.beta + x


@blocks
def convnext() -> tuple[nn.Module, Any]:
    stages = [nn.Sequential(*(ConvNeXt(c) for _ in range(2))) for c in (4, 6)]
    layers = [nn.Conv2d(3, 4, 2, 2), stages[0], nn.Conv2d(4, 6, 2, 2), stages[1], nn.Flatten(), nn.Linear(24, 3)]
    return nn.Sequential(*layers), torch.randn(*IMAGE)


class Parallel(nn.Module):
    """Two branches added in one place, by way of a list."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, width)) for _ in "ab")

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        return self.branches[0](h) + self.branches[1](h) + x


class Recurrent(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.lstm = nn.LayerNorm(width), nn.LSTM(width, 5, batch_first=True)
        self.proj = nn.Linear(5, width)

    def forward(self, x: Tensor) -> Tensor:
        return x.sub(self.proj(self.lstm(self.norm(x))[0]))


@blocks
def mixed() -> tuple[nn.Module, Any]:
    """One container, blocks of two costs."""
    body = nn.ModuleDict({"a": Parallel(6), "b": Recurrent(6), "c": Parallel(6)})

    def forward(m: Any, x: Tensor) -> Tensor:
        for block in m.body.values():
            x = block(x)
        return m.out(x)

    return Function(forward, body=body, out=nn.Linear(6, 2)), torch.randn(2, 4, 6)


class Refused(nn.Module):
    """x + f(x) with something about it, by ``how``."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.up, self.down = nn.Linear(6, 5), nn.Linear(5, 6)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor, store: list[Tensor]) -> Any:
        y = self.down(self.up(x).relu())
        if self.how == "loud":
            return x + y.sigmoid()
        if self.how == "scaled":
            return 0.5 * x + y
        if self.how == "normed":
            return self.norm(x + y)
        if self.how == "clipped":
            return (x + y).clamp(-1, 1)
        if self.how == "scrambled":
            return x.transpose(1, 2).reshape(x.shape) + y
        if self.how == "stored":
            store.append(y)
        return (x + y, y) if self.how == "more" else {"x": x + y} if self.how == "dict" else x + y


REFUSED = (
    "loud", "scaled", "normed", "clipped", "scrambled", "stored", "more", "dict", "twice", "tied", "read", "lent",
)  # fmt: skip


@blocks
def refused() -> tuple[nn.Module, Any]:
    """None of these is a block but the first and the last."""

    def forward(m: Any, x: Tensor) -> Tensor:
        store: list[Tensor] = []
        x = m.body["fine"](x, store)
        for how in REFUSED:
            x = m.body[how](x, store)
            if how == "more":
                x = x[0] * x[1].mean()
            if how == "dict":
                x = x["x"]
            if how == "twice":
                x = m.body[how](x, store)
        x = F.linear(x, m.body["read"].up.weight.T @ m.body["read"].up.weight)
        x = m.body["lent"].norm(x)
        return m.out(m.body["last"](x, store))

    body = nn.ModuleDict({how: Refused(how) for how in ("fine", *REFUSED, "last")})
    out = nn.Linear(6, 5)
    out.weight = body["tied"].up.weight
    return Function(forward, body=body, out=out), torch.randn(2, 4, 6)
