"""Gates, reasons and attributes, against results worked out by hand."""

from __future__ import annotations

import copy
import json
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.errors import StructureError
from secateurs.structure import PrunedMultiheadAttention, Surgery, mask, replay, shrink, trace
from secateurs.structure.coupling import Classes
from secateurs.structure.labels import make_data
from secateurs.structure.ledger import Ledger

from .networks import Attention, Function, build


def gates(model: nn.Module, inputs: object) -> dict[str, list[tuple[int, list[int]]]]:
    structure = trace(model, inputs)
    return {n: [(g.axis, g.ids.tolist()) for g in held] for n, held in structure.gates.items()}


def test_gate_of_a_plain_layer_is_its_rows_and_bias() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    assert gates(model, torch.randn(1, 3)) == {"0.weight": [(0, [0, 1])], "0.bias": [(0, [0, 1])]}


def test_gate_before_a_batch_norm_is_its_affine() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1))
    assert gates(model, torch.randn(1, 3, 4, 4)) == {"1.weight": [(0, [0, 1])], "1.bias": [(0, [0, 1])]}


def test_gate_after_a_sigmoid_is_the_consumers_columns() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid(), nn.Linear(2, 2))
    assert gates(model, torch.randn(1, 3)) == {"2.weight": [(1, [0, 1])]}


def test_gate_of_a_head_is_its_columns_of_the_output_projection() -> None:
    assert gates(Attention(4, 2, True), torch.randn(1, 3, 4)) == {"proj.weight": [(1, [0, 0, 1, 1])]}


def test_both_producers_of_a_sum_are_gated() -> None:
    modules = {"a": nn.Linear(3, 2), "b": nn.Linear(3, 2, bias=False), "c": nn.Linear(2, 2)}
    model = Function(lambda m, x: m.c((m.a(x) + m.b(x)).relu()), **modules)
    assert set(gates(model, torch.randn(1, 3))) == {"a.weight", "a.bias", "b.weight"}


def test_adding_a_constant_moves_the_gate_to_the_consumer() -> None:
    model = Function(lambda m, x: m.b(m.a(x).relu() + 1), a=nn.Linear(3, 2), b=nn.Linear(2, 2))
    assert set(gates(model, torch.randn(1, 3))) == {"b.weight"}


def test_a_silent_value_without_weights_to_gate_is_fixed() -> None:
    model = Function(lambda m, x: m.a(x).sigmoid().sum(-1), a=nn.Linear(3, 4))
    structure = trace(model, torch.randn(2, 3))
    assert structure.atoms == 0
    assert any(f.where == "a.weight[out]" and "silenced" in f.reason for f in structure.frozen)


@pytest.mark.parametrize(
    "forward, words",
    [
        (lambda m, x: m.b(m.a(x).softmax(-1)), "softmax"),
        (lambda m, x: m.b(m.a(x) - m.a(x).mean(-1, keepdim=True)), "mean"),
        (lambda m, x: m.b(F.layer_norm(m.a(x), (4,))), "layer norm"),
        (lambda m, x: m.b(m.a(x).sort(-1)[0]), "sort"),
        (lambda m, x: m.b(m.a(x) * torch.arange(4.0)), "set by the input or the code"),
        (
            lambda m, x: m.b(torch.linalg.matrix_exp(m.a(x)[:, None] * m.a(x)[..., None]).diagonal(0, 1, 2)),
            "no rule",
        ),
        (lambda m, x: m.b(m.a(x).flip(-1)), "reversed"),
        (lambda m, x: (m.b(m.a(x)), m.a(x)), "output"),
        (lambda m, x: m.b(m.a(x)[:, [3, 1, 2, 0]]), "looked up"),
        (lambda m, x: m.b(m.a(x).cumsum(-1)), "cumsum"),
    ],
)
def test_what_depends_on_the_whole_axis_fixes_it_and_says_so(forward, words: str) -> None:  # type: ignore[no-untyped-def]
    model = Function(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    structure = trace(model, torch.randn(2, 3))
    assert structure.atoms == 0
    reasons = [f.reason for f in structure.frozen if f.where == "a.weight[out]"]
    assert any(words in r for r in reasons), reasons


def test_unknown_operators_name_themselves_and_their_module() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    model = nn.Sequential(nn.Linear(3, 4), Odd(), nn.Linear(4, 2))
    (reason,) = [f.reason for f in trace(model, torch.randn(2, 3)).frozen if f.where == "0.weight[out]"]
    assert "special_bessel_j0" in reason and "'1'" in reason


def test_attention_weights_that_are_returned_fix_the_heads() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    inputs = torch.randn(1, 3, 8)
    used = Function(lambda m, x: m.a(x, x, x), a=attention)
    dropped = Function(lambda m, x: m.a(x, x, x)[0], a=attention)
    assert trace(used, inputs).atoms == 0
    assert trace(dropped, inputs).atoms == 2


def test_what_no_output_depends_on_fixes_nothing() -> None:
    def forward(m, x):  # type: ignore[no-untyped-def]
        h = m.a(x).relu()
        m.seen = (h.softmax(-1).mean(-1, keepdim=True) + 1) * 2
        return m.b(h)

    structure = trace(Function(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2)), torch.randn(2, 3))
    assert structure.family("a").atoms.tolist() == [0, 1, 2, 3]


def test_a_silencer_of_another_class_is_not_used() -> None:
    """A consumer's option that would zero slices that stay must be passed over for the next."""
    ledger = Ledger()
    mine, other = ledger.tensor("mine", (2,)).blocks[0], ledger.tensor("other", (2,)).blocks[0]
    borrowed = make_data(mine.ids, columns=[other.ids])
    ledger.consume(mine.ids, borrowed, mine.data)
    ledger.finish({0})
    roots, nodes = Classes(ledger, [], set()).gates
    assert nodes.tolist() == mine.ids.tolist() == roots.tolist()


def test_a_mask_over_examples_leaves_channels_prunable() -> None:
    model = Function(lambda m, x: m.b(m.a(x).relu()[x[:, 0] > 0]), a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    x = torch.tensor([[1.0, 2, 3], [-1, 2, 3], [2, 0, 1]])
    structure = trace(model, x)
    assert structure.atoms == 4
    shrink(model, structure, torch.tensor([True, False, True, True]))


def test_an_encoder_no_longer_packs_what_its_cut_layers_cannot_read() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval()
    x = torch.randn(2, 4, 8)
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    structure = trace(model, {"src": x, "src_key_padding_mask": padding})
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[structure.families[0].atoms[0]] = False
    small = shrink(model, structure, keep).model
    with torch.no_grad():
        expected = mask(copy.deepcopy(model), structure, keep)(x, src_key_padding_mask=padding)
        got = small(x, src_key_padding_mask=padding)
    torch.testing.assert_close(got[~padding], expected[~padding], rtol=1e-4, atol=1e-5)


def test_attributes_and_repr_tell_the_truth() -> None:
    model, inputs = build("depthwise_separable")
    structure = trace(model, inputs)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[[1, 7]] = False
    small = shrink(model, structure, keep).model
    assert repr(small[0]) == "Conv2d(3, 5, kernel_size=(1, 1), stride=(1, 1))"
    assert (small[3].in_channels, small[3].out_channels, small[3].groups) == (5, 5, 5)
    assert (small[7].in_channels, small[7].out_channels, small[7].groups) == (7, 14, 7)
    assert (small[1].num_features, small[8].num_parameters, small[11].in_features) == (5, 14, 14)


def test_group_norm_loses_whole_groups() -> None:
    model, inputs = build("group_norm")
    structure = trace(model, inputs)
    keep = torch.tensor([True, False, True, True, True, True, False])
    small = shrink(model, structure, keep).model
    assert (small[1].num_groups, small[1].num_channels, small[1].weight.shape) == (3, 6, (6,))
    assert (small[4].num_groups, small[4].num_channels) == (2, 4)


def test_multihead_attention_is_swapped_in_place() -> None:
    model, inputs = build("encoder")
    structure = trace(model, inputs)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[0] = False
    small = shrink(model, structure, keep).model
    attention = small.layers[0].self_attn
    assert type(attention) is PrunedMultiheadAttention and isinstance(attention, nn.MultiheadAttention)
    assert (attention.num_heads, attention.embed_dim, attention.in_proj_weight.shape) == (2, 12, (24, 12))
    assert type(small.layers[1].self_attn) is nn.MultiheadAttention
    # With the fast path on, as users run it.
    with torch.no_grad():
        expected = mask(copy.deepcopy(model), structure, keep).eval()(*inputs)
        torch.testing.assert_close(small.eval()(*inputs), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_the_stand_in_computes_what_torch_does(batch_first: bool, need_weights: bool) -> None:
    torch.manual_seed(0)
    original = nn.MultiheadAttention(8, 4, batch_first=batch_first, add_bias_kv=True, add_zero_attn=True).eval()
    stand_in = copy.deepcopy(original)
    stand_in.__class__ = PrunedMultiheadAttention
    stand_in.adopt()
    q, k = torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    padding = torch.tensor([[False, False, True]] * 3)
    for attn_mask in (None, torch.ones(3, 3).tril().logical_not(), torch.randn(12, 3, 3)):
        given = padding if attn_mask is None or attn_mask.dtype == torch.bool else padding.float() * -1e4
        a = original(q, k, k, key_padding_mask=given, need_weights=need_weights, attn_mask=attn_mask)
        b = stand_in(q, k, k, key_padding_mask=given, need_weights=need_weights, attn_mask=attn_mask)
        torch.testing.assert_close(a, b, equal_nan=True)
    torch.testing.assert_close(original(q[0], k[0], k[0]), stand_in(q[0], k[0], k[0]))


def test_trace_leaves_the_model_untouched() -> None:
    model, inputs = build("conv_chain")
    model.train()
    model[1].eval()
    hooked = model[0].register_forward_hook(lambda *_: None)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    attributes = [sorted(vars(p)) for p in model.parameters()]
    state = torch.get_rng_state()
    trace(model, inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()]
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    assert attributes == [sorted(vars(p)) for p in model.parameters()]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()
    hooked.remove()


def test_keyword_inputs_and_other_batches() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
            return {"y": self.b(self.a(x).relu()) * scale}

    model = Two()
    structure = trace(model, {"x": torch.randn(5, 3), "scale": 2.0})
    assert structure.amount("macs") == 3 * 4 + 4 * 2
    small = shrink(model, structure, np.array([True, False, True, True]), {"x": torch.randn(1, 3)}).model
    assert small(torch.randn(7, 3))["y"].shape == (7, 2)


def test_a_model_that_does_not_run_says_so() -> None:
    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = logged.append  # type: ignore[method-assign]
    logging.getLogger("torch._subclasses.fake_tensor").addHandler(handler)
    with pytest.raises(StructureError, match=r"does not run on the example inputs of shape \(2, 5\)"):
        trace(nn.Linear(3, 2), torch.randn(2, 5))
    logging.getLogger("torch._subclasses.fake_tensor").removeHandler(handler)
    assert not logged  # torch's own page about fakes
    with pytest.raises(StructureError, match="no shape yet"):
        trace(nn.LazyLinear(3), torch.randn(2, 5))


def test_explain_names_members_and_reasons() -> None:
    model, inputs = build("mlp")
    structure = trace(model, inputs)
    text = structure.explain("0")
    assert "8 channels" in text and "2.weight[in]" in text
    assert "output" in structure.explain("5.weight[out]")


def test_surgery_is_json_and_replays_on_a_fresh_instance() -> None:
    for name in ("residual_a_pair", "encoder", "depthwise_separable", "vit", "tied"):
        model, inputs = build(name)
        fresh = copy.deepcopy(model)
        structure = trace(model, inputs)
        keep = torch.arange(structure.atoms) % 3 > 0
        result = shrink(model, structure, keep)
        surgery = Surgery.model_validate_json(json.dumps(result.surgery.model_dump(mode="json")))
        again = replay(fresh, surgery)
        assert repr(again) == repr(result.model)
        args = inputs.values() if isinstance(inputs, dict) else inputs
        torch.testing.assert_close(again.eval()(*args), result.model.eval()(*args), rtol=0, atol=0)


def test_replay_refuses_another_architecture() -> None:
    model, inputs = build("mlp")
    structure = trace(model, inputs)
    surgery = shrink(model, structure, torch.arange(structure.atoms) > 0).surgery
    other = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7))
    with pytest.raises(StructureError, match=r"of shape \(8, 6\)"):
        replay(other, surgery)
    assert other[0].weight.shape == (9, 6)
    with pytest.raises(StructureError, match="does not have"):
        replay(nn.Linear(3, 3), surgery)
