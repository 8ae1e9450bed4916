"""The zoo's networks: sizes against hand counts, reproducible weights, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from secateurs.errors import DataError, ModelError, UnknownNameError
from secateurs.zoo import MODELS, build_model, check_fit

# Hand counts. resnet20 with option A shortcuts: He et al. (2015), table 6, print 0.27 M.
PARAMETERS = {
    "mlp-512-256": ((1, 28, 28), 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10),
    "mlp-500-300": ((1, 28, 28), 784 * 500 + 500 + 500 * 300 + 300 + 300 * 10 + 10),
    "lenet-300-100": ((1, 28, 28), 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10),
    "mlp-500-500-sigmoid": ((1, 28, 28), 784 * 500 + 500 + 500 * 500 + 500 + 500 * 10 + 10),
    "mlp-1000x3-sigmoid": ((3, 32, 32), 3072 * 1000 + 1000 + 2 * (1000 * 1000 + 1000) + 1000 * 10 + 10),
    "mlp-digits": ((1, 8, 8), 64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10),
    "lenet5": ((1, 28, 28), 20 * 25 + 20 + 50 * 20 * 25 + 50 + 800 * 500 + 500 + 500 * 10 + 10),
    "resnet20": ((3, 32, 32), 269_722),
    "vgg16-bn": ((3, 32, 32), 14_710_464 + 2 * 4224 + 512 * 10 + 10),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_answers_and_learns(name: str) -> None:
    shape = (1, 28, 28) if name == "lenet5" else (3, 32, 32)
    model = build_model(f"zoo:{name}", classes=7, input_shape=shape)
    output = model(torch.randn(2, *shape))
    assert output.shape == (2, 7)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_sizes(name: str) -> None:
    shape, count = PARAMETERS[name]
    model = build_model(f"zoo:{name}", classes=10, input_shape=shape)
    assert sum(p.numel() for p in model.parameters()) == count


def test_weights_come_from_the_seed_and_the_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (build_model("zoo:mlp-digits", input_shape=(64,), seed=s) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.fc1.weight, again.fc1.weight)  # type: ignore[union-attr, arg-type]
    assert not torch.equal(first.fc1.weight, other.fc1.weight)  # type: ignore[union-attr, arg-type]


def test_mlp_modules_have_the_promised_names() -> None:
    model = build_model("zoo:mlp-500-300", input_shape=(1, 28, 28))
    assert [name for name, _ in model.named_children()] == ["fc1", "fc2", "out"]


def test_glorot_weights_have_the_promised_spread_and_biases_are_zero() -> None:
    model = build_model("zoo:lenet-300-100-glorot", input_shape=(1, 28, 28))
    for name, inputs, outputs in (("fc1", 784, 300), ("fc2", 300, 100)):
        layer = model.get_submodule(name)
        count = inputs * outputs
        # The variance of a sample's variance of normal numbers is 2·σ⁴/n: four standard deviations around σ².
        expected, found = 2 / (inputs + outputs), float(layer.weight.detach().var())  # type: ignore[operator, union-attr]
        assert abs(found / expected - 1) < 4 * (2 / count) ** 0.5
        assert not layer.bias.any()  # type: ignore[operator, union-attr]


def test_sigmoid_networks_are_uniform_glorot_with_sigmoids_between() -> None:
    model = build_model("zoo:mlp-1000x3-sigmoid", input_shape=(3, 32, 32))
    x = torch.randn(3, 3, 32, 32)
    hidden = x.flatten(1)
    for name, inputs, outputs in (("fc1", 3072, 1000), ("fc2", 1000, 1000), ("fc3", 1000, 1000), ("out", 1000, 10)):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        bound = (6 / (inputs + outputs)) ** 0.5  # the variance 2/(inputs + outputs) of a uniform distribution
        assert 0.999 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()
        hidden = layer(hidden) if name == "out" else 1 / (1 + (-layer(hidden)).exp())
    torch.testing.assert_close(model(x), hidden)


def test_resnet_shortcut_is_slice_and_pad() -> None:
    model = build_model("zoo:resnet20", input_shape=(3, 32, 32)).eval()
    block = model.get_submodule("layer2.0")
    for name in ("conv1", "conv2"):
        nn.init.zeros_(block.get_submodule(name).weight)  # type: ignore[arg-type]
    x = torch.rand(1, 16, 8, 8)
    y = block(x)  # only the shortcut is left
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() == 0 and y[:, 24:].abs().sum() == 0


def test_attention_runs_on_fewer_heads() -> None:
    """What head removal does (slice qkv and proj, set num_heads) equals zeroing the head's projection."""
    attention = build_model("zoo:vit-tiny", input_shape=(3, 32, 32)).blocks[0].attn  # type: ignore[index, union-attr]
    x = torch.randn(2, 5, 96)
    d = attention.head_dim
    kept = torch.cat([torch.arange(0, d), torch.arange(2 * d, 4 * d)])  # head 1 leaves
    with torch.no_grad():
        attention.proj.weight[:, d : 2 * d] = 0
        masked = attention(x)
        rows = torch.cat([kept + i * 4 * d for i in range(3)])
        attention.qkv.weight.data = attention.qkv.weight[rows]
        attention.qkv.bias.data = attention.qkv.bias[rows]
        attention.proj.weight.data = attention.proj.weight[:, kept]
        attention.num_heads = 3
        assert torch.allclose(attention(x), masked, atol=1e-6)


def test_vit_equals_torch_multihead_attention() -> None:
    attention = build_model("zoo:vit-tiny", input_shape=(3, 32, 32)).blocks[0].attn  # type: ignore[index, union-attr]
    reference = nn.MultiheadAttention(96, 4, batch_first=True)
    reference.in_proj_weight.data, reference.in_proj_bias.data = (
        attention.qkv.weight.data,
        attention.qkv.bias.data,
    )
    reference.out_proj.load_state_dict(attention.proj.state_dict())
    x = torch.randn(2, 6, 96)
    assert torch.allclose(attention(x), reference(x, x, x, need_weights=False)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "shape", "error", "says"),
    [
        ("zoo:resnt20", (3, 32, 32), UnknownNameError, "zoo:resnet20"),
        ("resnet20", (3, 32, 32), ModelError, "did you mean 'zoo:resnet20'"),
        ("zoo:lenet5", (64,), ModelError, "at least 16×16"),
        ("zoo:vgg16-bn", (1, 8, 8), ModelError, "(1, 8, 8)"),
        ("nowhere.py:build", (3, 32, 32), ModelError, "no file 'nowhere.py'"),
    ],
)
def test_bad_names(spec: str, shape: tuple[int, ...], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=r".") as caught:
        build_model(spec, input_shape=shape)
    assert says in str(caught.value)


FILE = """
import torch
from neighbour import WIDTH
def build(): return torch.nn.Linear(4, WIDTH)
def shaped(classes, input_shape): return torch.nn.Linear(input_shape[0], classes)
def wrong(): return 3
def broken(): raise ValueError("boom")
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_users_factory(module: Path) -> None:
    assert build_model(f"{module}:build").out_features == 5
    shaped = build_model(f"{module}:shaped", classes=3, input_shape=(6,), seed=1)
    assert (shaped.in_features, shaped.out_features) == (6, 3)
    again = build_model(f"{module}:shaped", classes=3, input_shape=(6,), seed=1)
    assert torch.equal(shaped.weight, again.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (":wrong", "returned a int"),
        (":broken", "boom"),
        (":biuld", "did you mean"),
        ("", "build"),
        (":nothing", "broken, build, shaped, wrong"),
    ],
)
def test_a_users_factory_that_cannot_be_used(module: Path, name: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_model(f"{module}{name}")
    assert says in str(caught.value) and "mine.py" in str(caught.value)


def test_an_edited_file_is_imported_again(module: Path) -> None:
    build_model(f"{module}:build")
    module.write_text(FILE.replace("torch.nn.Linear(4, WIDTH)", "torch.nn.Linear(9, 2)"))
    assert build_model(f"{module}:build").in_features == 9


def test_a_misfit_is_seen_before_training() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout()).train()
    check_fit(model, (torch.randn(2, 4),), 3)
    assert model.training and model[1].training
    with pytest.raises(DataError, match=r"\(2, 5\)"):
        check_fit(model, (torch.randn(2, 5),), 3)
    with pytest.raises(DataError, match="10 classes"):
        check_fit(model, (torch.randn(2, 4),), 10)
