"""Small networks, one for each way in which axes are tied; float64, statistics and affines randomised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}


def network(build: Callable[[], tuple[nn.Module, Any]]) -> Callable[[], tuple[nn.Module, Any]]:
    NETWORKS[build.__name__] = build
    return build


def randomise(model: nn.Module) -> nn.Module:
    """float64, and no statistic or affine at its initial value, where errors would not show."""
    model = model.double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter))
    return model


def build(name: str) -> tuple[nn.Module, Any]:
    """A randomised network and its example inputs."""
    torch.manual_seed(7)
    model, inputs = NETWORKS[name]()
    inputs = inputs if isinstance(inputs, (tuple, dict)) else (inputs,)
    if isinstance(inputs, tuple):
        inputs = tuple(v.double() if v.is_floating_point() else v for v in inputs)
    return randomise(model), inputs


class Function(nn.Module):
    """Modules by name and a forward given as a function of (modules, inputs)."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


IMAGE = (2, 3, 8, 8)


@network
def mlp() -> tuple[nn.Module, Any]:
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.Dropout(0.3), nn.GELU(), nn.Linear(7, 3)]
    return nn.Sequential(*layers), torch.randn(4, 6)


@network
def sigmoid_mlp() -> tuple[nn.Module, Any]:
    layers = [nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 7), nn.Softplus(), nn.Linear(7, 3)]
    return nn.Sequential(*layers), torch.randn(4, 6)


@network
def no_bias() -> tuple[nn.Module, Any]:
    layers = [nn.Linear(6, 8, bias=False), nn.SiLU(), nn.Linear(8, 3, bias=False)]
    return nn.Sequential(*layers), torch.randn(4, 5, 6)


@network
def conv_chain() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(6, 5, 3), nn.Hardswish(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(20, 4)]
    return nn.Sequential(*layers), torch.randn(*IMAGE)


@network
def conv_1d_3d() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor, y: Tensor) -> Tensor:
        a = F.avg_pool1d(m.b(m.a(x)).relu(), 2).mean(-1)
        return m.out(torch.cat([a, m.c(y).tanh().amax((2, 3, 4))], 1))

    modules = {
        "a": nn.Conv1d(3, 6, 3),
        "b": nn.BatchNorm1d(6),
        "c": nn.Conv3d(2, 4, 2),
        "out": nn.Linear(10, 3),
    }
    return Function(forward, **modules), (torch.randn(2, 3, 9), torch.randn(2, 2, 4, 4, 4))


class ShortcutA(nn.Module):
    def __init__(self, inputs: int, outputs: int, pad: Any) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        before, after = self.pad if isinstance(self.pad, tuple) else (self.pad, self.pad)
        return (y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, after))).relu()


def _residual_a(pads: list[Any]) -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU()]
    layers += [ShortcutA(4, 8, pads[0]), ShortcutA(8, 12, pads[1])]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)), torch.randn(*IMAGE)


@network
def residual_a_symmetric() -> tuple[nn.Module, Any]:
    return _residual_a([2, 2])


@network
def residual_a_pair() -> tuple[nn.Module, Any]:
    return _residual_a([(1, 3), (2, 2)])


@network
def residual_a_constant() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x).relu()
        y = m.bn(m.b(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return m.out(y.relu().mean((2, 3)))

    modules = {"a": nn.Conv2d(3, 4, 3, 1, 1), "b": nn.Conv2d(4, 8, 3, 2, 1), "bn": nn.BatchNorm2d(8)}
    return Function(forward, **modules, out=nn.Linear(8, 3)), torch.randn(*IMAGE)


@network
def residual_b() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.b0(m.a(x)).relu()
        y = m.b2(m.c(m.b1(m.b(x)).relu()))
        return m.out((y + m.b3(m.down(x))).relu().mean((2, 3)))

    convs = {"a": nn.Conv2d(3, 4, 3), "b": nn.Conv2d(4, 6, 3, 2, 1), "c": nn.Conv2d(6, 8, 3, 1, 1)}
    norms = {f"b{i}": nn.BatchNorm2d(c) for i, c in enumerate((4, 6, 8, 8))}
    return Function(forward, **convs, **norms, down=nn.Conv2d(4, 8, 1, 2), out=nn.Linear(8, 3)), torch.randn(*IMAGE)


@network
def preactivation() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        x = x + m.b(m.n1(x).relu())
        x = x + m.c(m.n2(x).relu())
        return m.out(m.n3(x).relu().mean((2, 3)))

    convs = {k: nn.Conv2d(i, 5, 3, 1, 1) for k, i in (("a", 3), ("b", 5), ("c", 5))}
    norms = {f"n{i}": nn.BatchNorm2d(5) for i in (1, 2, 3)}
    return Function(forward, **convs, **norms, out=nn.Linear(5, 3)), torch.randn(*IMAGE)


@network
def dense_concat() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        features = [m.stem(x)]
        for norm, conv in ((m.n1, m.c1), (m.n2, m.c2), (m.n3, m.c3)):
            features.append(conv(norm(torch.cat(features, 1)).relu()))
        return m.out(torch.cat(features, 1).relu().mean((2, 3)))

    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 4, 3, 1, 1), "out": nn.Linear(13, 3)}
    for i, c in ((1, 4), (2, 7), (3, 10)):
        modules |= {f"n{i}": nn.BatchNorm2d(c), f"c{i}": nn.Conv2d(c, 3, 3, 1, 1)}
    return Function(forward, **modules), torch.randn(*IMAGE)


@network
def depthwise_separable() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU6()]
    layers += [nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 8, 1)]
    layers += [
        nn.Conv2d(8, 16, 3, groups=8),
        nn.PReLU(16),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    ]
    return nn.Sequential(*layers), torch.randn(*IMAGE)


@network
def grouped() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=2),
    ]
    layers += [nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 3)]
    return nn.Sequential(*layers), torch.randn(*IMAGE)


@network
def transposed() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [
        nn.Linear(5, 6 * 4),
        nn.Unflatten(1, (6, 2, 2)),
        nn.ConvTranspose2d(6, 8, 2, 2),
    ]
    layers += [nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, 2, groups=2), nn.LeakyReLU()]
    layers += [nn.ConvTranspose2d(8, 8, 2, groups=8), nn.ConvTranspose2d(8, 3, 2), nn.Tanh()]
    return nn.Sequential(*layers), torch.randn(2, 5)


@network
def group_norm() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 6, 3)]
    layers += [nn.GroupNorm(3, 6, affine=False), nn.SiLU(), nn.Conv2d(6, 5, 3), nn.GroupNorm(1, 5)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 3)), torch.randn(*IMAGE)


@network
def instance_norm() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU()]
    layers += [nn.Conv2d(8, 6, 3), nn.InstanceNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1)]
    layers += [nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.BatchNorm2d(4, affine=False)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3)), torch.randn(*IMAGE)


@network
def squeeze_excite() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.n(m.a(x)).relu()
        gate = m.up(m.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return m.out((x * gate.expand_as(x)).mean((2, 3)))

    modules = {
        "a": nn.Conv2d(3, 8, 3),
        "n": nn.BatchNorm2d(8),
        "down": nn.Conv2d(8, 4, 1),
        "up": nn.Conv2d(4, 8, 1),
    }
    return Function(forward, **modules, out=nn.Linear(8, 3)), torch.randn(*IMAGE)


@network
def chunks() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        a, b = m.a(x).chunk(2, -1)
        return m.out(F.glu(m.b(F.silu(a) * b), -1))

    modules = {"a": nn.Linear(6, 12), "b": nn.Linear(6, 8), "out": nn.Linear(4, 3)}
    return Function(forward, **modules), torch.randn(4, 6)


@network
def shuffle() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.n(m.a(x)).relu()
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return m.out(m.b(x).relu().mean((2, 3)))

    modules = {"a": nn.Conv2d(3, 8, 1), "n": nn.BatchNorm2d(8), "b": nn.Conv2d(8, 6, 3, groups=2)}
    return Function(forward, **modules, out=nn.Linear(6, 3)), torch.randn(*IMAGE)


@network
def pixel_shuffle() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = [nn.Conv2d(3, 12, 3), nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(3, 4, 3)]
    layers += [nn.PixelUnshuffle(2), nn.Conv2d(16, 3, 1), nn.Upsample(scale_factor=2)]
    return nn.Sequential(*layers), torch.randn(*IMAGE)


@network
def manual_pixel_shuffle() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        b, c, h, w = x.shape
        x = x.view(b, -1, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)
        return m.b(x)

    return Function(forward, a=nn.Conv2d(3, 20, 3), b=nn.Conv2d(5, 3, 1)), torch.randn(*IMAGE)


class Attention(nn.Module):
    """Fused qkv with hand-written or fused products; sizes from attributes."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.fused = heads, width // heads, fused
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, -1))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, 12, 4, 4), nn.Parameter(torch.randn(1, 1, 12))
        self.position = nn.Parameter(torch.randn(1, 5, 12))
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(5))
        self.attention = nn.ModuleList([Attention(12, 3, True), Attention(12, 4, False)])
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(12, 9), nn.GELU(), nn.Linear(9, 12)) for _ in range(2))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        for i in range(2):
            x = x + self.attention[i](self.norms[2 * i](x))
            x = x + self.mlp[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[4](x)[:, 0])


@network
def vit() -> tuple[nn.Module, Any]:
    return ViT(), torch.randn(*IMAGE)


@network
def encoder() -> tuple[nn.Module, Any]:
    layer = nn.TransformerEncoderLayer(12, 3, 10, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 5, 12)


@network
def encoder_prenorm() -> tuple[nn.Module, Any]:
    return nn.TransformerEncoderLayer(12, 4, 10, norm_first=True), torch.randn(5, 2, 12)


@network
def decoder() -> tuple[nn.Module, Any]:
    return nn.TransformerDecoderLayer(12, 3, 10, batch_first=True), (
        torch.randn(2, 5, 12),
        torch.randn(2, 4, 12),
    )


@network
def multihead_extras() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool).tril().logical_not()
        return m.a(x, x[..., :6], x[..., :7], attn_mask=mask)[0]

    attention = nn.MultiheadAttention(12, 4, add_bias_kv=True, add_zero_attn=True, kdim=6, vdim=7)
    return Function(forward, a=attention), torch.randn(5, 2, 12)


@network
def grouped_query() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = m.q(x).view(b, n, -1, 4).transpose(1, 2)
        k, v = (f(x).view(b, n, -1, 4).transpose(1, 2) for f in (m.k, m.v))
        q = q * torch.rsqrt(q.pow(2).mean(-1, keepdim=True) + 1e-6) * m.scale.weight
        k, v = (t[:, :, None].expand(b, t.shape[1], 2, n, 4).reshape(b, -1, n, 4) for t in (k, v))
        q = torch.cat([-q[..., 2:], q[..., :2]], -1) + q
        return m.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, -1))

    modules = {"q": nn.Linear(6, 24), "k": nn.Linear(6, 12), "v": nn.Linear(6, 12), "o": nn.Linear(24, 6)}
    return Function(forward, **modules, scale=nn.LayerNorm(4, bias=False)), torch.randn(2, 5, 6)


@network
def fused_grouped_query() -> tuple[nn.Module, Any]:
    """Slices of which the first, alone, might be half of two equal pieces."""

    def forward(m: Any, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        fused, queries, keys = m.qkv(x), m.settings[0] * 4, m.settings[1] * 4
        q, k, v = fused[..., :queries], fused[..., queries : queries + keys], fused[..., queries + keys :]
        q, k, v = (t.view(b, n, -1, 4).transpose(1, 2) for t in (q, k, v))
        k, v = (t[:, :, None].expand(b, t.shape[1], 2, n, 4).reshape(b, -1, n, 4) for t in (k, v))
        return m.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1))

    model = Function(forward, qkv=nn.Linear(6, 48), o=nn.Linear(24, 6))
    model.settings = (6, 3)
    return model, torch.randn(2, 5, 6)


@network
def written_by_parts() -> tuple[nn.Module, Any]:
    """What two layers put out is written beside each other: their channels are one axis, positions another."""

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = m.left(x), m.right(x)
        both = left.new_empty(*left.shape[:2], 9)
        both[..., :5] = left[..., :5]
        both[..., 5:].copy_(right[..., 2:])
        return m.out(both.relu())

    modules = {"left": nn.Conv1d(3, 6, 1), "right": nn.Conv1d(3, 6, 1), "out": nn.Conv1d(6, 2, 1)}
    return Function(forward, **modules), torch.randn(2, 3, 6)


@network
def one_head() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.o(F.scaled_dot_product_attention(*(f(x)[:, None] for f in (m.q, m.k, m.v)))[:, 0])

    modules = {"q": nn.Linear(5, 4), "k": nn.Linear(5, 4), "v": nn.Linear(5, 4), "o": nn.Linear(4, 5)}
    return Function(forward, **modules), torch.randn(2, 3, 5)


@network
def tied() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.up(m.embed(x)).relu()
        return F.linear(m.down(h), m.embed.weight)

    return (
        Function(forward, embed=nn.Embedding(11, 6), up=nn.Linear(6, 8), down=nn.Linear(8, 6)),
        torch.randint(11, (2, 4)),
    )


@network
def tied_modules() -> tuple[nn.Module, Any]:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.middle, self.again = nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 5)
            self.again.weight = self.first.weight
            self.out = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.again(self.middle(self.first(x).relu()).relu()).relu())

    return Twice(), torch.randn(4, 6)


@network
def embedding_mean() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> dict[str, Tensor]:
        h = m.n(m.embed(x).mean(1))
        return {"logits": m.out(h), "twice": m.out(h * 2)}

    modules = {"embed": nn.Embedding(9, 6), "n": nn.BatchNorm1d(6), "out": nn.Linear(6, 3)}
    return Function(forward, **modules), torch.randint(9, (2, 4))


@network
def unknown_operator() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.b(m.a(x).relu())
        return m.out(torch.linalg.matrix_exp(h[:, None, :] * h[:, :, None] * 0.01).sum((1, 2))[:, None] + m.c(h))

    modules = {"a": nn.Linear(6, 5), "b": nn.Linear(5, 4), "c": nn.Linear(4, 4), "out": nn.Linear(4, 3)}
    return Function(forward, **modules), torch.randn(4, 6)


@network
def python_branch() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x).relu()
        return m.b(h) if h.sum().item() > 0 else m.b(h * 2)

    return Function(forward, a=nn.Linear(6, 5), b=nn.Linear(5, 3)), torch.randn(4, 6)


@network
def constant_flatten() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.fc(m.b(m.a(x).relu()).relu().view(-1, 5 * 16))

    return (
        Function(forward, a=nn.Conv2d(3, 6, 3), b=nn.Conv2d(6, 5, 3), fc=nn.Linear(80, 3)),
        torch.randn(*IMAGE),
    )


@network
def mixer() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.patch(x).flatten(2).transpose(1, 2)
        x = x + m.t2(m.t1(m.n1(x).transpose(1, 2)).relu()).transpose(1, 2)
        x = x + m.c2(F.gelu(m.c1(m.n2(x))))
        return m.out(x.mean(1))

    modules = {
        "patch": nn.Conv2d(3, 8, 4, 4),
        "n1": nn.LayerNorm(8),
        "n2": nn.LayerNorm(8),
        "out": nn.Linear(8, 3),
    }
    modules |= {"t1": nn.Linear(4, 6), "t2": nn.Linear(6, 4), "c1": nn.Linear(8, 10), "c2": nn.Linear(10, 8)}
    return Function(forward, **modules), torch.randn(*IMAGE)


@network
def layer_scale() -> tuple[nn.Module, Any]:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(6, 3, 1)
            self.gamma = nn.Parameter(torch.randn(1, 6, 1, 1))
            self.register_buffer("shift", torch.randn(6, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x).relu()
            return self.c(x * self.shift + self.gamma * self.b(x))

    return Scaled(), torch.randn(*IMAGE)


@network
def recurrent() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(m.gru(m.lstm(m.inp(x).relu())[0])[0][:, -1])

    modules = {
        "inp": nn.Linear(4, 6),
        "lstm": nn.LSTM(6, 5, batch_first=True),
        "gru": nn.GRU(5, 4, batch_first=True),
    }
    return Function(forward, **modules, out=nn.Linear(4, 3)), torch.randn(2, 3, 4)


@network
def unet() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        a = m.n1(m.e1(x)).relu()
        b = m.n2(m.e2(F.max_pool2d(a, 2))).relu()
        up = m.up(b)
        return m.out(m.d(torch.cat([a, up], 1)).relu())

    modules = {"e1": nn.Conv2d(3, 5, 3, 1, 1), "n1": nn.BatchNorm2d(5), "e2": nn.Conv2d(5, 6, 3, 1, 1)}
    modules |= {"n2": nn.BatchNorm2d(6), "up": nn.ConvTranspose2d(6, 4, 2, 2), "d": nn.Conv2d(9, 5, 3, 1, 1)}
    return Function(forward, **modules, out=nn.Conv2d(5, 2, 1)), torch.randn(*IMAGE)


@network
def einsum_and_norms() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.normalize(m.a(x), dim=-1)
        y = torch.einsum("bnd,ed->bne", h, m.b.weight)
        return m.out(y.relu()), (h * h).sum(-1)

    return Function(forward, a=nn.Linear(6, 8), b=nn.Linear(8, 5), out=nn.Linear(5, 3)), torch.randn(2, 4, 6)


@network
def weight_normed() -> tuple[nn.Module, Any]:
    from torch.nn.utils.parametrizations import weight_norm

    return nn.Sequential(weight_norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3)), torch.randn(4, 6)


@network
def inplace_writes() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        out = torch.zeros(h.shape[0], 6, dtype=h.dtype)
        out[:, :3] = h[:, :3]
        out[:, 3:] += h[:, 3:]
        return m.b(out.relu_()) + m.d(m.c(x).mul_(2).add_(1).relu_())

    modules = {"a": nn.Linear(6, 6), "b": nn.Linear(6, 3), "c": nn.Linear(6, 5), "d": nn.Linear(5, 3)}
    return Function(forward, **modules), torch.randn(4, 6)
