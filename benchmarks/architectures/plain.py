"""Small modules of the kinds people write themselves, each with one idea that a tracer may stumble over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS = 50


class LSTMClassifier(nn.Module):
    """Two stacked recurrent layers; the last step decides."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 24)
        self.rnn = nn.LSTM(24, 32, num_layers=2, batch_first=True)
        self.hidden = nn.Linear(32, 40)
        self.out = nn.Linear(40, 5)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.rnn(self.embed(ids))
        return self.out(self.hidden(states[:, -1]).relu())


class GRUClassifier(nn.Module):
    """Both directions, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 24)
        self.rnn = nn.GRU(24, 32, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(64, 40)
        self.out = nn.Linear(40, 5)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.rnn(self.embed(ids))
        return self.out(self.hidden(states.mean(1)).relu())


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Skips are concatenated; the way up alternates between transposed convolution and interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = double_conv(3, 16), double_conv(16, 32), double_conv(32, 48)
        self.up2, self.right2 = nn.ConvTranspose2d(48, 32, 2, stride=2), double_conv(64, 32)
        self.right1 = double_conv(48, 16)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        low = self.middle(F.max_pool2d(two, 2))
        two = self.right2(torch.cat([two, self.up2(low)], 1))
        one = self.right1(torch.cat([one, F.interpolate(two, scale_factor=2, mode="bilinear")], 1))
        return self.out(one)


class Encoder(nn.Module):
    """PyTorch's own transformer, with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 32)
        self.positions = nn.Parameter(torch.randn(64, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 80, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(32, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.positions[: ids.shape[1]]
        return self.out(self.encoder(x).mean(1))


class TiedWeights(nn.Module):
    """The embedding reads and writes words; a hidden layer is decoded by its own transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 24)
        self.code = nn.Linear(24, 40)
        self.after = nn.Parameter(torch.randn(24))
        self.decode = nn.Linear(24, WORDS, bias=False)
        self.decode.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = x + F.linear(torch.tanh(self.code(x)), self.code.weight.t(), self.after)
        return self.decode(x)


class Joints(nn.Module):
    """Concatenation, chunks that gate each other, and depth moved into space."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(3, 20, 5, padding=2)
        self.norm = nn.BatchNorm2d(32)
        self.gated = nn.Conv2d(32, 48, 1)
        self.up = nn.Conv2d(24, 4 * 10, 3, padding=1)
        self.out = nn.Conv2d(10, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.cat([self.left(x), self.right(x)], 1)).relu()
        value, gate = self.gated(x).chunk(2, 1)
        x = value * gate.sigmoid()
        return self.out(F.pixel_shuffle(self.up(x), 2).relu())


class ChannelShuffle(nn.Module):
    """Grouped convolutions that exchange channels by a reshape, as ShuffleNet's do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.one, self.norm = nn.Conv2d(24, 36, 1, groups=3), nn.BatchNorm2d(36)
        self.two = nn.Conv2d(36, 24, 1, groups=3)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.one(self.stem(x).relu())).relu()
        batch, width, height, breadth = x.shape
        x = x.view(batch, 3, width // 3, height, breadth).transpose(1, 2).reshape(batch, width, height, breadth)
        return self.out(self.two(x).relu().mean((2, 3)))


class Generator(nn.Module):
    """From noise to an image, DCGAN's way."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(20, 48 * 4 * 4)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(48, 32, 4, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(16, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.layers(self.start(noise).view(-1, 48, 4, 4))


class GroupNormAutoencoder(nn.Module):
    """Channels are normalised in groups, so only whole groups can go."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.GroupNorm(8, 32)
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class Branching(nn.Module):
    """Python looks at the values and picks a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 32)
        self.warm, self.cold = nn.Linear(32, 24), nn.Linear(32, 24)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        branch = self.warm if x.sum().item() > 0 else self.cold
        return self.out(branch(hidden).relu())


def tokens(batch: int, length: int | None) -> Tensor:
    return torch.randint(0, WORDS, (batch, length or 7))


def image(batch: int, length: int | None) -> Tensor:
    return torch.randn(batch, 3, 16, 16)


def vector(width: int) -> Callable[[int, int | None], Tensor]:
    return lambda batch, length: torch.randn(batch, width)


# name → module, its inputs, further sequence lengths
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int, int | None], Any], tuple[int, ...]]] = {
    "lstm_classifier": (LSTMClassifier, tokens, (11,)),
    "gru_classifier": (GRUClassifier, tokens, (11,)),
    "unet": (UNet, image, ()),
    "transformer_encoder": (Encoder, tokens, (11,)),
    "tied_weights": (TiedWeights, tokens, (11,)),
    "concat_chunk_pixel_shuffle": (Joints, image, ()),
    "channel_shuffle": (ChannelShuffle, image, ()),
    "convtranspose_generator": (Generator, vector(20), ()),
    "groupnorm_autoencoder": (GroupNormAutoencoder, image, ()),
    "branches_on_data": (Branching, vector(12), ()),
}
