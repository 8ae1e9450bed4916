"""Multiply-accumulates against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateurs.measure import count_bytes, count_macs, count_params


def test_mlp() -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    assert count_macs(model, torch.randn(4, 1, 28, 28)) == 784 * 512 + 512 * 256 + 256 * 10


def test_linear_over_positions_and_without_bias() -> None:
    assert count_macs(nn.Linear(8, 5, bias=False), torch.randn(3, 7, 8)) == 7 * 8 * 5


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 8 * 10 * 10 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2), 8 * 4 * 4 * 3 * 9),
        (nn.Conv2d(3, 8, 3, dilation=2), 8 * 6 * 6 * 3 * 9),
        (nn.ConvTranspose2d(3, 8, 3, stride=2), 3 * 10 * 10 * 8 * 9),
    ],
)
def test_convolution(layer: nn.Module, expected: int) -> None:
    assert count_macs(layer, torch.randn(2, 3, 10, 10)) == expected


def test_grouped_and_depthwise_convolution() -> None:
    grouped = nn.Conv2d(8, 12, 3, padding=1, groups=4)
    depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    x = torch.randn(2, 8, 6, 6)
    assert count_macs(grouped, x) == 12 * 36 * 2 * 9
    assert count_macs(depthwise, x) == 8 * 36 * 25
    assert count_macs(nn.ConvTranspose2d(8, 12, 3, groups=4), x) == 8 * 36 * 3 * 9


def test_attention_is_projections_and_two_products() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    n, d = 5, 12
    expected = n * d * 3 * d + 2 * n * n * d + n * d * d
    for mode in (True, False):  # the fast path of eval mode must not hide products
        assert count_macs(Attention().train(mode), torch.randn(2, n, d)) == expected


def test_grouped_query_attention_of_different_widths() -> None:
    class Sdpa(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    q, k, v = torch.randn(2, 4, 7, 8), torch.randn(2, 4, 9, 8), torch.randn(2, 4, 9, 6)
    assert count_macs(Sdpa(), (q, k, v)) == 4 * 7 * 9 * (8 + 6)


def test_transformer_encoder_layer() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    n, d = 6, 16
    assert count_macs(layer, torch.randn(3, n, d)) == n * 4 * d * d + 2 * n * n * d + 2 * n * d * 32


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent(cell: type[nn.Module], gates: int) -> None:
    model = cell(5, 7, num_layers=2, batch_first=True)
    assert count_macs(model, torch.randn(2, 11, 5)) == 11 * gates * (5 * 7 + 7 * 7 + 7 * 7 + 7 * 7)


def test_matrix_products_of_every_spelling() -> None:
    class Products(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            x = a @ b  # (2, 3, 4) @ (2, 4, 5)
            y = torch.einsum("bij,bjk->bik", a, b)
            return torch.baddbmm(x, a, b) + y

    assert count_macs(Products(), (torch.randn(2, 3, 4), torch.randn(2, 4, 5))) == 3 * (3 * 4 * 5)


def test_keyword_inputs_batches_and_control_flow() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, twice: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x)) if twice.item() > 0 else self.layer(x)

    for batch in (1, 3):
        x = torch.randn(batch, 4)
        assert count_macs(Branches(), {"x": x, "twice": torch.tensor(1)}) == 32
        assert count_macs(Branches(), {"x": x, "twice": torch.tensor(0)}) == 16


def test_nothing_but_contractions_counts() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LayerNorm(12), nn.Softmax(1))
    assert count_macs(model, torch.randn(2, 3, 4, 4)) == 0


def test_counting_leaves_the_model_and_the_random_state_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model[2].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    count_macs(model, torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="no example"):
        count_macs(nn.Linear(3, 2), torch.randn(0, 3))


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model.register_buffer("table", torch.zeros(3, dtype=torch.int64))
    assert count_params(model) == 16 + 4 + 4
    assert count_bytes(model) == 24 * 4 + 3 * 8
    assert count_bytes(model.half()) == 24 * 2 + 3 * 8
