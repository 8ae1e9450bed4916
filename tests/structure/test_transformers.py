"""Hugging Face transformers: which families there are, that cuts are exact, and that configurations stay true."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateurs
from secateurs.errors import ArtifactError
from secateurs.measure import count_macs
from secateurs.structure import Structure, mask, replay, shrink, trace

transformers = pytest.importorskip("transformers", reason="needs transformers (in the extra 'test')")

WORDS, LENGTH = 40, 9
SIZES = {"vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 20, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "max_position_embeddings": 32, "pad_token_id": 0}
GROUPED = {**SIZES, **HEADS, "num_attention_heads": 8, "num_key_value_heads": 4}
VISION = {"hidden_size": 32, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE = {"image_size": 16, "patch_size": 8}
ROTATION = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
START = {"decoder_start_token_id": 0}
NO_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}

# name → (class, configuration)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", {**SIZES, **HEADS}),
    "distilbert": (
        "DistilBertForSequenceClassification",
        {"vocab_size": WORDS, "dim": 32, "hidden_dim": 20, "n_layers": 2, "n_heads": 4, "pad_token_id": 0},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, **NO_SPECIAL},
    ),
    "llama": ("LlamaForCausalLM", GROUPED),
    "qwen2": ("Qwen2ForCausalLM", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "mistral": ("MistralForCausalLM", GROUPED),
    "gemma2": ("Gemma2ForCausalLM", {**GROUPED, "head_dim": 8}),
    "opt": (
        "OPTForCausalLM",
        {**HEADS, "vocab_size": WORDS, "hidden_size": 32, "ffn_dim": 20, "num_hidden_layers": 2},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_heads": 4, **START},
    ),
    "vit": ("ViTForImageClassification", {**VISION, **IMAGE}),
    "clip": (
        "CLIPModel",
        {"text_config": {**SIZES, **HEADS}, "vision_config": {**VISION, **IMAGE}, "projection_dim": 24},
    ),
    "mixtral": ("MixtralForCausalLM", {**GROUPED, "num_local_experts": 3}),
    "mamba": (
        "MambaForCausalLM",
        {"vocab_size": WORDS, "hidden_size": 24, "state_size": 6, "num_hidden_layers": 2, **NO_SPECIAL},
    ),
}

# Families, in the order of the forward; heads are "h". A rule that froze one of them would show here.
EXPECTED: dict[str, dict[str, str]] = {
    "bert": {
        **{f"bert.encoder.layer.{i}.attention": "4h" for i in (0, 1)},
        **{f"bert.encoder.layer.{i}.intermediate.dense": "20" for i in (0, 1)},
        "bert.pooler.dense": "32",
    },
    "distilbert": {
        **{f"distilbert.transformer.layer.{i}.attention": "4h" for i in (0, 1)},
        **{f"distilbert.transformer.layer.{i}.ffn.lin1": "20" for i in (0, 1)},
        "pre_classifier": "32",
    },
    "gpt2": {f"transformer.h.{i}.{n}": k for i in (0, 1) for n, k in {"attn": "4h", "mlp.c_fc": "128"}.items()},
    **{
        name: {
            f"model.layers.{i}.{n}": k for i in (0, 1) for n, k in {"self_attn": "4h", "mlp.gate_proj": "20"}.items()
        }
        for name in ("llama", "qwen2", "qwen3", "mistral", "gemma2")
    },
    "opt": {f"model.decoder.layers.{i}.{n}": k for i in (0, 1) for n, k in {"self_attn": "4h", "fc1": "20"}.items()},
    # One table of relative positions serves all layers, and so does the cross attention's empty one.
    "t5": {
        "encoder.block": "4h",
        **{f"encoder.block.{i}.layer.1.DenseReluDense.wi": "20" for i in (0, 1)},
        "decoder.block": "4h",
        "decoder.block#2": "4h",
        **{f"decoder.block.{i}.layer.2.DenseReluDense.wi": "20" for i in (0, 1)},
    },
    "vit": {f"vit.layers.{i}.{n}": k for i in (0, 1) for n, k in {"attention": "4h", "mlp.fc1": "20"}.items()},
    "clip": {
        f"{part}_model.encoder.layers.{i}.{n}": k
        for part in ("text", "vision")
        for i in (0, 1)
        for n, k in {"self_attn": "4h", "mlp.fc1": "20"}.items()
    },
    "mixtral": {
        f"model.layers.{i}.{n}": k for i in (0, 1) for n, k in {"self_attn": "4h", "mlp.experts": "20"}.items()
    },
    # Inner width, rank of the time step, size of the state.
    "mamba": {
        f"backbone.layers.{i}.mixer.{n}": k
        for i in (0, 1)
        for n, k in {"in_proj": "48", "x_proj": "2", "x_proj#2": "6"}.items()
    },
}


def build(name: str) -> nn.Module:
    """In float64, with norms, biases and whatever else starts constant made random."""
    kind, arguments = MODELS[name]
    torch.manual_seed(3)
    class_ = getattr(transformers, kind)
    arguments = {k: dict(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    torch.set_default_dtype(torch.float64)
    try:
        model = class_(class_.config_class(**arguments)).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    if name == "mixtral":
        model.set_experts_implementation("batched_mm")  # the default has no kernel for float64
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return model


def inputs(name: str, batch: int = 2, length: int = LENGTH, padded: bool = True) -> dict[str, Tensor]:
    ids = torch.randint(3, WORDS, (batch, length))
    images = {"pixel_values": torch.randn(batch, 3, 16, 16, dtype=torch.float64)}
    if name == "vit":
        return images
    given = {"input_ids": ids}
    if name == "t5":
        given["decoder_input_ids"] = ids[:, : length - 2].contiguous()
    elif padded and name in ("bert", "distilbert", "clip"):
        given["attention_mask"] = torch.ones_like(ids)
        given["attention_mask"][0, -2:] = 0
    return given | images if name == "clip" else given


TRACED: dict[str, tuple[nn.Module, Structure]] = {}


def traced(name: str) -> tuple[nn.Module, Structure]:
    """A fresh copy of the network with its structure (traced once)."""
    if name not in TRACED:
        model = build(name)
        TRACED[name] = model, trace(model, inputs(name))
    model, structure = TRACED[name]
    return copy.deepcopy(model), structure


def families(structure: Structure) -> dict[str, str]:
    return {f.name: f"{len(f.atoms)}{'h' if f.kind == 'head' else ''}" for f in structure.families}


def outputs(model: nn.Module, given: dict[str, Any]) -> list[Tensor]:
    with torch.no_grad():
        return [v for v in model(**given).values() if isinstance(v, Tensor)]


def random_keep(structure: Structure, seed: int, share: float) -> Tensor:
    """A share of each family, at least one, in layers by another number."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.zeros(structure.atoms, dtype=torch.bool)
    for index, family in enumerate(structure.families):
        count = max(1, round(len(family.atoms) * share) - index % 2)
        keep[torch.from_numpy(family.atoms)[torch.randperm(len(family.atoms), generator=generator)[:count]]] = True
    return keep


def alike(structure: Structure, heads: int | None = None, channels: int | None = None) -> Tensor:
    """So many of each family, chosen by chance; None for all. Single layers outside of the blocks stay whole."""
    generator = torch.Generator().manual_seed(5)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        count = heads if family.kind == "head" else channels
        if count is not None and not family.name.endswith(("pooler.dense", "pre_classifier")):
            gone = torch.randperm(len(family.atoms), generator=generator)[count:]
            keep[torch.from_numpy(family.atoms)[gone]] = False
    return keep


@pytest.mark.parametrize("name", MODELS)
def test_heads_and_widths_are_families(name: str) -> None:
    _, structure = traced(name)
    assert families(structure) == EXPECTED[name]


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
@pytest.mark.parametrize("name", MODELS)
def test_masked_equals_shrunk(name: str, share: float) -> None:
    model, structure = traced(name)
    keep = random_keep(structure, round(share * 100), share)
    small = shrink(model, structure, keep, check=False).model
    masked = mask(copy.deepcopy(model), structure, keep)
    assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
    given = inputs(name)
    assert structure.amount("macs", keep) == count_macs(small, given)
    for batch, length in ((2, LENGTH), (1, LENGTH), (3, 6), (2, 13)):
        given = inputs(name, batch, length, padded=batch > 1)
        expected, found, dense = (outputs(m, given) for m in (masked, small, model))
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-6)  # norms compute in float32
        moved = max(float((a - d).abs().max() / a.abs().max()) for a, d in zip(expected, dense) if a.numel())
        assert moved > 1e-3, "the cut changes nothing, so its exactness shows nothing"


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "opt", "t5", "vit", "clip"])
def test_eager_attention_has_the_same_families(name: str) -> None:
    model, _ = traced(name)
    model.set_attn_implementation("eager")
    structure = trace(model, inputs(name))
    assert families(structure) == EXPECTED[name]
    shrink(model, structure, random_keep(structure, 1, 0.5))  # checks itself


def test_a_padding_mask_changes_no_family() -> None:
    model, structure = traced("llama")
    given = inputs("llama")
    padded = {**given, "attention_mask": torch.ones_like(given["input_ids"])}
    padded["attention_mask"][0, :3] = 0
    assert families(trace(model, padded)) == EXPECTED["llama"]
    keep = random_keep(structure, 2, 0.5)
    expected = outputs(mask(copy.deepcopy(model), structure, keep), padded)
    found = outputs(shrink(model, structure, keep).model, padded)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-6)


def test_two_groups_of_heads_come_down_to_one() -> None:
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**GROUPED, "num_attention_heads": 4, "num_key_value_heads": 2})
    ).eval()
    structure = trace(model, inputs("llama"))
    assert families(structure) == {k: v.replace("4h", "2h") for k, v in EXPECTED["llama"].items()}
    shrink(model, structure, random_keep(structure, 0, 0.5))


def test_a_single_key_head_serves_fewer_queries() -> None:
    config = transformers.LlamaConfig(**{**GROUPED, "num_key_value_heads": 1})
    model = transformers.LlamaForCausalLM(config).eval()
    given = inputs("llama")
    structure = trace(model, given)
    assert families(structure) == {k: v.replace("4h", "8h") for k, v in EXPECTED["llama"].items()}
    keep = alike(structure, heads=4)
    keep[structure.family("model.layers.1.self_attn").atoms] = torch.arange(8) % 3 == 0
    small, masked = shrink(model, structure, keep).model, mask(copy.deepcopy(model), structure, keep)
    assert [layer.self_attn.num_key_value_groups for layer in small.model.layers] == [4, 3]
    padded = torch.ones_like(given["input_ids"])
    padded[0, :3] = 0  # with a mask, the code repeats the key head as often as it remembers
    said = [
        m.generate(given["input_ids"], attention_mask=padded, max_new_tokens=4, do_sample=False)
        for m in (small, masked)
    ]
    assert torch.equal(*said)


def test_grouped_products_of_experts_lose_their_inner_width() -> None:
    """The default kernel, in float32; it takes rows of 16 bytes only, so eight neighbours go together."""
    kind, arguments = MODELS["mixtral"]
    class_ = getattr(transformers, kind)
    model = class_(class_.config_class(**{**arguments, "intermediate_size": 40})).eval()
    structure = trace(model, inputs("mixtral"))
    assert families(structure) == {k: v.replace("20", "5") for k, v in EXPECTED["mixtral"].items()}
    keep = random_keep(structure, 1, 0.6)
    small = shrink(model, structure, keep).model
    assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
    assert structure.amount("macs", keep) == count_macs(small, inputs("mixtral"))
    masked = mask(copy.deepcopy(model), structure, keep)
    given = inputs("mixtral", 3, 7)
    torch.testing.assert_close(outputs(small, given)[0], outputs(masked, given)[0])


def test_a_rotation_of_the_whole_head_leaves_nothing_to_join() -> None:
    """Where a part of a head is rotated and that part is all of it, an empty rest is joined on."""
    config = transformers.PhiConfig(**SIZES, **HEADS, rope_parameters=ROTATION)
    structure = trace(transformers.PhiForCausalLM(config).eval(), inputs("phi"))
    assert set(families(structure).values()) == {"4h", "20"}


def test_a_cache_that_pytree_knows_is_no_output() -> None:
    from transformers.integrations.executorch import register_dynamic_cache_export_support

    register_dynamic_cache_export_support()
    try:
        model, _ = traced("llama")
        assert families(trace(model, inputs("llama"))) == EXPECTED["llama"]
    finally:
        torch.utils._pytree._deregister_pytree_node(transformers.DynamicCache)


# -- generation ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "opt", "t5", "mixtral", "mamba"])
def test_a_cut_model_generates_what_the_masked_one_does(name: str) -> None:
    model, structure = traced(name)
    keep = random_keep(structure, 4, 0.5)
    small, masked = shrink(model, structure, keep).model, mask(copy.deepcopy(model), structure, keep)
    ids = inputs(name)["input_ids"]
    said = [m.generate(ids, max_new_tokens=6, do_sample=False) for m in (small, masked)]
    assert said[0].shape[1] > 1
    assert torch.equal(*said)


# -- configurations ------------------------------------------------------------------------------------------
WRITTEN: dict[str, dict[str, int]] = {
    "bert": {"intermediate_size": 12},
    "distilbert": {"hidden_dim": 12},
    "gpt2": {"n_inner": 12},
    "llama": {"intermediate_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
    "qwen2": {"intermediate_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
    "qwen3": {"intermediate_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
    "mistral": {"intermediate_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
    "gemma2": {"intermediate_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
    "opt": {"ffn_dim": 12},
    "t5": {"d_ff": 12, "num_heads": 2, "d_kv": 8},
    "vit": {"intermediate_size": 12, "num_attention_heads": 2, "head_dim": 8},
    "clip": {"text_config.intermediate_size": 12, "vision_config.intermediate_size": 12},
    "mixtral": {"intermediate_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
    "mamba": {"intermediate_size": 12},
}
# The class divides the hidden size by the number of heads, so no configuration has fewer heads of that width.
HEADS_DIVIDE = ("bert", "distilbert", "gpt2", "opt", "clip")


def stored(config: Any, field: str) -> Any:
    for part in field.split("."):
        config = getattr(config, part)
    return config


def loaded(model: nn.Module, folder: Path) -> nn.Module:
    """What a stranger gets from the folder."""
    model.save_pretrained(folder)
    other = type(model).from_pretrained(folder, dtype=torch.float64).eval()
    if "Mixtral" in type(model).__name__:
        other.set_experts_implementation("batched_mm")
    return other


def inner_only(structure: Structure, name: str) -> Tensor:
    keep = alike(structure, heads=None if name in HEADS_DIVIDE else 2, channels=12)
    for family in structure.families:
        if "x_proj" in family.name:  # two and six are not twelve
            keep[torch.from_numpy(family.atoms)] = True
    return keep


@pytest.mark.parametrize("name", MODELS)
def test_a_uniform_cut_goes_through_save_pretrained(name: str, tmp_path: Path) -> None:
    model, structure = traced(name)
    config = model.config
    before = config.to_dict()
    small = shrink(model, structure, inner_only(structure, name), inplace=True).model
    assert config.to_dict() == before, "the configuration may belong to other models, too"
    for part in small.modules():  # an encoder keeps a copy of its own
        if type(getattr(part, "config", None)) is type(config):
            assert {field: stored(part.config, field) for field in WRITTEN[name]} == WRITTEN[name]
    other = loaded(small, tmp_path)
    given = inputs(name, 3, 7)
    for a, b in zip(outputs(small, given), outputs(other, given), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
    numbers = [
        {(path, k): v for path, m in each.named_modules() for k, v in vars(m).items() if type(v) in (int, float)}
        for each in (small, other)
    ]
    assert numbers[0] == numbers[1]


def test_several_widths_of_one_sum_are_told_apart(tmp_path: Path) -> None:
    model, structure = traced("mamba")
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        keep[family.atoms[{48: 20, 2: 1, 6: 4}[len(family.atoms)] :]] = False
    small = shrink(model, structure, keep).model
    config = small.config
    assert (config.intermediate_size, config.time_step_rank, config.state_size) == (20, 1, 4)
    given = inputs("mamba")
    torch.testing.assert_close(outputs(loaded(small, tmp_path), given)[0], outputs(small, given)[0])


@pytest.mark.parametrize("name", HEADS_DIVIDE)
def test_heads_that_no_configuration_can_count_are_refused(name: str, tmp_path: Path) -> None:
    model, structure = traced(name)
    small = shrink(model, structure, alike(structure, heads=2)).model
    with pytest.raises(ArtifactError, match="no configuration of this class says so"):
        small.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    base = getattr(small, small.base_model_prefix, None)
    if base is not None and base is not small:
        with pytest.raises(ArtifactError, match="from_pretrained cannot load"):
            base.save_pretrained(tmp_path)


def test_layers_cut_differently_are_refused_until_they_are_alike(tmp_path: Path) -> None:
    model, structure = traced("llama")
    keep = alike(structure, channels=12)
    keep[structure.family("model.layers.1.mlp.gate_proj").atoms[:12]] = False
    keep[structure.family("model.layers.1.mlp.gate_proj").atoms[12:]] = True
    small = shrink(model, structure, keep).model
    with pytest.raises(ArtifactError, match=r"layers\.[01]\.mlp\.\w+\.weight is (8|12) × 32"):
        small.save_pretrained(tmp_path)
    assert small.config.intermediate_size == 20
    assert small(**inputs("llama")).logits.shape[-1] == WORDS
    again = trace(small, inputs("llama"))
    even = shrink(small, again, alike(again, channels=8)).model
    assert even.config.intermediate_size == 8
    assert even.model.layers[0].mlp.intermediate_size == 8
    given = inputs("llama")
    torch.testing.assert_close(outputs(loaded(even, tmp_path), given)[0], outputs(even, given)[0])
    # What cannot be described can be copied and sent on, and refuses there, too.
    with pytest.raises(ArtifactError):
        copy.deepcopy(small).save_pretrained(tmp_path)
    del small.save_pretrained
    small.save_pretrained(tmp_path)


def test_numbers_that_the_configuration_does_not_take_are_refused(tmp_path: Path) -> None:
    model, structure = traced("llama")
    small = shrink(model, structure, alike(structure, heads=3)).model  # six queries, and 32 is not a multiple
    with pytest.raises(ArtifactError, match="does not take num_attention_heads = 6"):
        small.save_pretrained(tmp_path)
    assert small.config.num_attention_heads == 8


def test_a_replayed_cut_writes_the_configuration_as_well(tmp_path: Path) -> None:
    model, structure = traced("qwen2")
    shrunk = shrink(model, structure, alike(structure, heads=2, channels=8))
    fresh = replay(build("qwen2"), shrunk.surgery)
    assert fresh.config.to_dict() == shrunk.model.config.to_dict()
    fresh.load_state_dict(shrunk.model.state_dict())
    given = inputs("qwen2")
    torch.testing.assert_close(outputs(loaded(fresh, tmp_path), given)[0], outputs(shrunk.model, given)[0])


# -- artifacts -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_language_model_is_saved_without_its_cache(name: str, tmp_path: Path) -> None:
    model, structure = traced(name)
    small = shrink(model, structure, random_keep(structure, 6, 0.5)).model
    given = inputs(name)
    secateurs.save(small, tmp_path / "network", factory=None, example_inputs=given)
    assert small.config.use_cache
    torch.testing.assert_close(secateurs.load(tmp_path / "network")(**given)["logits"], outputs(small, given)[0])


FACTORY = """
from transformers import LlamaConfig, LlamaForCausalLM

def make(classes, input_shape):
    return LlamaForCausalLM(LlamaConfig(**{arguments})).double()
"""


def test_a_language_model_comes_back_from_its_factory_and_generates(tmp_path: Path) -> None:
    model, structure = traced("llama")
    shrunk = shrink(model, structure, random_keep(structure, 6, 0.5))
    given = inputs("llama")
    (tmp_path / "factory.py").write_text(FACTORY.format(arguments=GROUPED), encoding="utf-8")
    spec = f"{tmp_path / 'factory.py'}:make"
    secateurs.save(shrunk.model, tmp_path / "n", factory=spec, surgery=shrunk.surgery, example_inputs=given)
    other = secateurs.load(tmp_path / "n")
    ids = inputs("llama", length=5)["input_ids"]
    said = [m.generate(ids, max_new_tokens=5, do_sample=False) for m in (shrunk.model, other)]
    assert torch.equal(*said)


# -- a pretrained model --------------------------------------------------------------------------------------
@pytest.fixture
def stories(shared: Path) -> tuple[nn.Module, Any]:
    folder = shared / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip("needs the model ../shared/models/stories260k beside the project")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def heaviest(model: nn.Module, structure: Structure, heads: int, share: float) -> Tensor:
    """Keep those of largest norm: in each layer, so many heads and this share of the channels."""
    weights = dict(model.named_parameters())
    size = torch.zeros(structure.atoms)
    for (name, axis), ids in structure.axes.items():
        along = weights[name].detach().square().transpose(0, axis).flatten(1).sum(1)
        size.index_add_(0, torch.from_numpy(ids), along)
    keep = torch.zeros(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        count = heads if family.kind == "head" else round(share * len(family.atoms))
        atoms = torch.from_numpy(family.atoms)
        keep[atoms[size[atoms].topk(count).indices]] = True
    return keep


@pytest.mark.parametrize(("heads", "share"), [(4, 0.9), (2, 0.75)])
def test_stories_are_told_by_fewer_groups_of_heads(
    stories: tuple[nn.Module, Any], heads: int, share: float, tmp_path: Path
) -> None:
    model, tokenizer = stories
    told: Callable[[str], Any] = lambda text: dict(tokenizer(text, return_tensors="pt"))  # noqa: E731
    structure = trace(model, told("Once upon a time there was a little dog."))
    assert [len(f.atoms) for f in structure.families] == [4, 172] * 5
    keep = heaviest(model, structure, heads, share)
    small, masked = shrink(model, structure, keep).model, mask(copy.deepcopy(model), structure, keep)
    config = small.config
    assert (config.num_key_value_heads, config.num_attention_heads) == (heads, 2 * heads)
    assert config.intermediate_size == round(share * 172)
    start = told("Lily and Tom went to the park and saw")
    wide = [copy.deepcopy(m).double() for m in (small, masked)]
    torch.testing.assert_close(*(outputs(m, start)[0] for m in wide), rtol=1e-5, atol=1e-5)
    small.save_pretrained(tmp_path)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    said = [m.generate(**start, max_new_tokens=30, do_sample=False) for m in (small, masked, other)]
    assert torch.equal(said[0], said[1])
    assert torch.equal(said[0], said[2])
    if share == 0.9:
        with torch.no_grad():
            text = told("One day, a girl named Lily went to the park. She saw a big dog. The dog was happy.")
            losses = [float(m(**text, labels=text["input_ids"]).loss) for m in (model, small)]
        assert losses[1] < losses[0] + 1, "a tenth of the width takes little from what it knows"
