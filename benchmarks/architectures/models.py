"""The list: real architectures with random weights, at the smallest inputs that leave their structure alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from . import plain
from .wheels import import_vision

# How many examples the trace sees; the checks take other numbers, too.
TRACED_BATCH = 2
FAMILIES = ("torchvision", "timm", "transformers", "plain")


@dataclass(frozen=True)
class Case:
    """One model of the list.

    Attributes:
        build: makes it, with random weights.
        inputs: (batch, length) → example inputs; ``length`` is None for the length of the trace.
        lengths: other sequence lengths that the cut model must take; empty where there is no sequence.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int, int | None], Any]
    lengths: tuple[int, ...] = ()


def images(size: int) -> Callable[[int, int | None], torch.Tensor]:
    return lambda batch, length: torch.randn(batch, 3, size, size)


# -- torchvision ---------------------------------------------------------------------------------------------
# name → side of the input image, then arguments of the builder.
TORCHVISION: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (64, {}),
    "vgg16_bn": (32, {}),
    "resnet18": (64, {}),
    "resnet50": (64, {}),
    "resnext50_32x4d": (64, {}),
    "wide_resnet50_2": (64, {}),
    "densenet121": (64, {}),
    "googlenet": (128, {"init_weights": False}),
    "inception_v3": (299, {"init_weights": False}),  # its auxiliary head needs this size in training
    "mobilenet_v2": (64, {}),
    "mobilenet_v3_small": (64, {}),
    "mnasnet1_0": (64, {}),
    "shufflenet_v2_x1_0": (64, {}),
    "squeezenet1_1": (64, {}),
    "efficientnet_b0": (64, {}),
    "regnet_x_400mf": (64, {}),
    "regnet_y_400mf": (64, {}),
    "convnext_tiny": (64, {}),
    "vit_b_16": (224, {}),
    "swin_t": (224, {}),
    "maxvit_t": (224, {}),
    "deeplabv3_resnet50": (64, {"weights_backbone": None}),
    "lraspp_mobilenet_v3_large": (64, {"weights_backbone": None}),
}


def torchvision_model(name: str, **arguments: Any) -> nn.Module:
    return import_vision("torchvision.models").get_model(name, weights=None, **arguments)


def detector_backbone() -> nn.Module:
    """Without the detector's own head, whose number of boxes depends on the image."""
    return torchvision_model("fasterrcnn_resnet50_fpn", weights_backbone=None).get_submodule("backbone")


def video(batch: int, length: int | None) -> torch.Tensor:
    return torch.randn(batch, 3, 8, 32, 32)


def image_pair(batch: int, length: int | None) -> dict[str, Any]:
    first, second = torch.rand(2, batch, 3, 128, 128) * 2 - 1
    return {"image1": first, "image2": second, "num_flow_updates": 2}


# -- timm ----------------------------------------------------------------------------------------------------
TIMM = {
    "vit_tiny_patch16_224": 224,
    "deit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "beit_base_patch16_224": 224,
    "convnextv2_atto": 64,
    "mixer_s32_224": 224,
    "resmlp_12_224": 224,
    "poolformer_s12": 64,
    "levit_128s": 224,
    "mobilevit_xs": 64,
    "ghostnet_100": 64,
    "hrnet_w18_small": 64,
    "dla34": 64,
    "res2net50_26w_4s": 64,
    "dm_nfnet_f0": 64,
    "cait_xxs24_224": 224,
    "xcit_nano_12_p16_224": 224,
    "rexnet_100": 64,
    "fastvit_t8": 64,
    "repvit_m1": 64,
    "mobilenetv4_conv_small": 64,
    "edgenext_xx_small": 64,
}


def timm_model(name: str) -> nn.Module:
    return import_vision("timm").create_model(name, pretrained=False)


# -- transformers --------------------------------------------------------------------------------------------
VOCABULARY, LENGTH, OTHER_LENGTH = 99, 10, 13
_WORDS = {"bos_token_id": 1, "eos_token_id": 2}
_WIDTHS = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2}
_HEADS = {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0}
_GROUPED = {**_WIDTHS, **_HEADS, "num_key_value_heads": 2}
_VISION = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
_IMAGE = {"image_size": 32, "patch_size": 8}

# name → (configuration class, model class, arguments of the configuration, kind of inputs)
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "bert": ("BertConfig", "BertForSequenceClassification", {**_WIDTHS, **_HEADS}, "masked"),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {"vocab_size": VOCABULARY, "dim": 64, "hidden_dim": 112, "n_layers": 2, "n_heads": 4, "pad_token_id": 0},
        "masked",
    ),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, **_WORDS},
        "tokens",
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _GROUPED, "tokens"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _GROUPED, "tokens"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**_GROUPED, "head_dim": 16}, "tokens"),
    "mistral": ("MistralConfig", "MistralForCausalLM", _GROUPED, "tokens"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**_GROUPED, "head_dim": 16}, "tokens"),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {**_HEADS, "vocab_size": VOCABULARY, "hidden_size": 64, "ffn_dim": 112, "num_hidden_layers": 2},
        "tokens",
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": VOCABULARY, "d_model": 64, "d_kv": 16, "d_ff": 112, "num_layers": 2, "num_heads": 4},
        "translation",
    ),
    "vit": ("ViTConfig", "ViTForImageClassification", {**_VISION, **_IMAGE}, "image"),
    "clip": (
        "CLIPConfig",
        "CLIPModel",
        {"text_config": {**_WIDTHS, **_HEADS}, "vision_config": {**_VISION, **_IMAGE}, "projection_dim": 40},
        "pair",
    ),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {**_GROUPED, "num_local_experts": 4}, "tokens"),
    "mamba": (
        "MambaConfig",
        "MambaForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": 48, "state_size": 8, "num_hidden_layers": 2},
        "tokens",
    ),
}


def transformers_model(config: str, model: str, arguments: dict[str, Any]) -> nn.Module:
    library = import_vision("transformers")
    # A copy: configurations change the dictionaries of their parts.
    arguments = {k: dict(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    return getattr(library, model)(getattr(library, config)(**arguments))


def words(kind: str, batch: int, length: int | None) -> dict[str, torch.Tensor]:
    """Token ids (1 and 2 are not padding), with a mask or an image where the model takes one."""
    ids = torch.randint(3, VOCABULARY, (batch, length or LENGTH))
    if kind == "image":
        return {"pixel_values": torch.randn(batch, 3, 32, 32)}
    if kind == "tokens":
        return {"input_ids": ids}
    if kind == "translation":
        return {"input_ids": ids, "decoder_input_ids": ids[:, 1:-2].contiguous()}
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0  # padding
    given = {"input_ids": ids, "attention_mask": mask}
    return {**given, "pixel_values": torch.randn(batch, 3, 32, 32)} if kind == "pair" else given


# -- the list ------------------------------------------------------------------------------------------------
def listed() -> dict[str, Case]:
    """Every case by name, in the order of the table."""
    cases = []
    for name, (size, arguments) in TORCHVISION.items():
        cases.append(Case(name, "torchvision", functools.partial(torchvision_model, name, **arguments), images(size)))
    cases.append(Case("fasterrcnn_resnet50_fpn.backbone", "torchvision", detector_backbone, images(64)))
    cases.append(Case("r3d_18", "torchvision", functools.partial(torchvision_model, "r3d_18"), video))
    cases.append(Case("raft_small", "torchvision", functools.partial(torchvision_model, "raft_small"), image_pair))
    for name, size in TIMM.items():
        cases.append(Case(name, "timm", functools.partial(timm_model, name), images(size)))
    for name, (config, model, arguments, kind) in TRANSFORMERS.items():
        build = functools.partial(transformers_model, config, model, arguments)
        others: tuple[int, ...] = () if kind == "image" else (OTHER_LENGTH,)
        cases.append(Case(name, "transformers", build, functools.partial(words, kind), others))
    for name, (module, inputs, lengths) in plain.MODELS.items():
        cases.append(Case(name, "plain", module, inputs, lengths))
    return {case.name: case for case in cases}
