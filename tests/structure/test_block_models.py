"""Blocks of networks that people use: how many there are, and that all of them can be taken out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from secateurs.structure import Structure, shrink, trace

from .test_blocks import dropping, found, refusals

IMAGE = torch.randn(2, 3, 64, 64)
# Convolutional ones by residual additions whose shortcut keeps the shape; the others by their layers.
TORCHVISION = {"resnet18": 5, "resnet50": 12, "mobilenet_v2": 10, "regnet_y_400mf": 12, "shufflenet_v2_x0_5": 0}
TORCHVISION |= {"convnext_tiny": 18, "swin_t": 12, "vgg11": 0}
TOKENS = {"input_ids": torch.arange(18).view(2, 9)}
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


def without_all(model: nn.Module, inputs: Any) -> Structure:
    structure = trace(model.eval(), inputs, trial=False, blocks=True)
    if found(structure):
        keep = dropping(structure, 0.0)
        small = shrink(model, structure, keep).model  # compared with the masked network on the way
        assert sum(p.numel() for p in small.parameters()) == structure.amount("params", keep)
    return structure


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    structure = without_all(getattr(models, name)(weights=None), IMAGE)
    assert sum(map(len, found(structure).values())) == TORCHVISION[name]


@pytest.mark.parametrize("name", ["Llama", "Gemma2", "GPT2", "GPTJ", "ViT", "Bert", "T5"])
def test_transformers(name: str) -> None:
    library = pytest.importorskip("transformers", reason="needs transformers (in the extra 'test')")
    text = {"vocab_size": 40, "use_cache": False}
    gpt = {**text, "n_embd": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
    settings: dict[str, dict[str, Any]] = {
        "Llama": {**SMALL, **text, "num_key_value_heads": 2},
        "Gemma2": {**SMALL, **text, "num_key_value_heads": 2, "head_dim": 8},
        "GPT2": gpt,
        "GPTJ": {**gpt, "rotary_dim": 4},
        "ViT": {**SMALL, "image_size": 32, "patch_size": 8},
        "Bert": {**SMALL, "vocab_size": 40},
        "T5": {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4},
    }
    config = getattr(library, f"{name}Config")(**settings[name])
    model = getattr(library, f"{name}EncoderModel" if name == "T5" else f"{name}Model")(config)
    structure = without_all(model, {"pixel_values": torch.randn(2, 3, 32, 32)} if name == "ViT" else TOKENS)
    # Bert's norms come after its additions; a T5 layer's attention and MLP are modules of their own, and the first
    # attention makes the position bias of all.
    assert sum(map(len, found(structure).values())) == {"Bert": 0, "T5": 5}.get(name, 3)
    if name == "Llama":
        model.config.use_cache = True
        assert set(refusals(trace(model, TOKENS, trial=False, blocks=True)).values()) == {
            "it stores what it computes outside itself, as a cache does"
        }
