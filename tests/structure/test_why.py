"""Chains of operators, each worked out by hand from the network's code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.errors import StructureError
from secateurs.structure import Structure, network, trace

from .networks import NETWORKS, Attention, Function, build

IMAGE = torch.zeros(2, 3, 8, 8)


def structure_of(forward: Any, inputs: Any = IMAGE, **modules: nn.Module) -> Structure:
    return trace(Function(forward, **modules).eval(), inputs)


def chains(structure: Structure, where: str) -> dict[str, str]:
    """The chain to each place that a place of one family is tied to."""
    (tied,) = structure.why(where).tied
    return {c.end: str(c) for c in tied.chains}


def test_a_residual_addition_ties_both_branches() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm1(m.conv1(x)).relu()
        return m.out((m.norm2(m.conv2(y)) + y).relu().mean((2, 3)))

    convs = {"conv1": nn.Conv2d(3, 4, 3, 1, 1, bias=False), "conv2": nn.Conv2d(4, 4, 3, 1, 1, bias=False)}
    norms = {"norm1": nn.BatchNorm2d(4), "norm2": nn.BatchNorm2d(4)}
    structure = structure_of(forward, **convs, **norms, out=nn.Linear(4, 2))
    found = chains(structure, "conv1.weight[out]")
    start = "conv1.weight[out] → conv2d (conv1) → batch_norm (norm1)"
    assert found == {
        **{f"norm1.{n}": f"{start} ← norm1.{n}" for n in ("weight", "bias", "running_mean", "running_var")},
        "conv2.weight[in]": f"{start} → relu → conv2d (conv2) ← conv2.weight[in]",
        "conv2.weight[out]": f"{start} → relu → add ← batch_norm (norm2) ← conv2d (conv2) ← conv2.weight[out]",
        **{
            f"norm2.{n}": f"{start} → relu → add ← batch_norm (norm2) ← norm2.{n}"
            for n in ("weight", "bias", "running_mean", "running_var")
        },
        "out.weight[in]": f"{start} → relu → add → relu → mean → linear (out) ← out.weight[in]",
    }


def test_the_text_joins_places_of_one_module_and_leaves_out_what_stood_above() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm1(m.conv1(x)).relu()
        return m.out((m.norm2(m.conv2(y)) + y).relu().mean((2, 3)))

    convs = {"conv1": nn.Conv2d(3, 4, 3, 1, 1, bias=False), "conv2": nn.Conv2d(4, 4, 3, 1, 1, bias=False)}
    norms = {"norm1": nn.BatchNorm2d(4), "norm2": nn.BatchNorm2d(4)}
    structure = structure_of(forward, **convs, **norms, out=nn.Linear(4, 2))
    statistics = "{weight, bias, running_mean, running_var}"
    start = "  conv1.weight[out] → conv2d (conv1) → batch_norm (norm1)"
    assert str(structure.why("conv1.weight[out]")).splitlines() == [
        "conv1.weight[out] belongs to conv1: 4 channels. Each is cut in all these places, for they are tied:",
        f"{start} → relu → add ← batch_norm (norm2) ← conv2d (conv2) ← conv2.weight[out]",
        f"{start} → relu → conv2d (conv2) ← conv2.weight[in]",
        f"{start} ← norm1.{statistics}",
        f"  … batch_norm (norm2) ← norm2.{statistics}",
        "  … add → relu → mean → linear (out) ← out.weight[in]",
    ]


def test_what_is_concatenated_is_tied_to_what_reads_it_and_not_to_its_neighbour() -> None:
    convs = {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(3, 5, 1), "c": nn.Conv2d(9, 2, 1)}
    structure = structure_of(lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1)), **convs)
    assert chains(structure, "a.weight[out]") == {
        "a.bias": "a.weight[out] → conv2d (a) ← a.bias",
        "c.weight[in]": "a.weight[out] → conv2d (a) → cat → conv2d (c) ← c.weight[in]",
    }
    first, second = structure.why("c.weight[in]").tied
    assert (first.family, second.family) == ("a", "b")
    assert str(second.chains[0]) == "c.weight[in] → conv2d (c) ← cat ← conv2d (b) ← b.weight[out]"


def test_a_concatenation_is_not_taken_for_the_tie_that_an_addition_makes() -> None:
    """Both branches also meet in a concatenation, and sooner; that does not tie them."""

    def forward(m: Any, x: Tensor) -> Tensor:
        a, b = m.a(x), m.b(x)
        both = m.c(torch.cat([a, b], 1)).mean()
        return both + m.d(a.relu() + b.relu()).mean()

    convs = {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(3, 4, 1), "c": nn.Conv2d(8, 2, 1), "d": nn.Conv2d(4, 2, 1)}
    found = chains(structure_of(forward, **convs), "a.weight[out]")
    assert found["b.weight[out]"] == "a.weight[out] → conv2d (a) → relu → add ← relu ← conv2d (b) ← b.weight[out]"


def test_flattening_after_a_convolution_ties_a_channel_to_its_columns() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    structure = trace(model, IMAGE)
    assert chains(structure, "0.weight[out]") == {
        "0.bias": "0.weight[out] → conv2d (0) ← 0.bias",
        "3.weight[in]": "0.weight[out] → conv2d (0) → relu (1) → view (2) → linear (3) ← 3.weight[in]",
    }
    # 36 columns of one channel: they are tied to one another, by the channel.
    assert chains(structure, "3.weight[in]")["3.weight[in]"] == "3.weight[in] → linear (3) ← 3.weight[in]"


def test_a_depthwise_convolution_ties_its_output_to_its_input() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    found = chains(trace(model, IMAGE), "0.weight[out]")
    assert found == {
        "0.bias": "0.weight[out] → conv2d (0) ← 0.bias",
        "1.weight[out]": "0.weight[out] → conv2d (0) → conv2d (1) ← 1.weight[out]",
        "1.bias": "0.weight[out] → conv2d (0) → conv2d (1) ← 1.bias",
        "2.weight[in]": "0.weight[out] → conv2d (0) → conv2d (1) → conv2d (2) ← 2.weight[in]",
    }


def test_a_channel_shuffle_ties_channels_of_one_axis() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        b, c, h, w = x.shape
        return m.b(x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w))

    structure = structure_of(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 3))
    assert chains(structure, "a.weight[out]") == {
        "a.weight[out]": "a.weight[out] → conv2d (a) → view ← conv2d (a) ← a.weight[out]",
        "a.bias": "a.weight[out] → conv2d (a) ← a.bias",
        "b.weight[in]": "a.weight[out] → conv2d (a) → view → transpose → view → conv2d (b) ← b.weight[in]",
    }


def test_attention_ties_queries_to_keys_and_columns_of_a_head() -> None:
    structure = trace(Attention(8, 2, True).eval(), torch.zeros(1, 3, 8))
    attention = "scaled_dot_product_attention"
    (tied,) = structure.why("qkv.weight[out]").tied
    assert (tied.family, tied.kind, tied.groups) == ("qkv", "head", 2)
    assert [str(c) for c in tied.chains] == [
        "qkv.weight[out] → linear (qkv) → view → unbind → "
        f"{attention} ← unbind ← view ← linear (qkv) ← qkv.weight[out]",
        "qkv.weight[out] → linear (qkv) ← qkv.bias",
        f"qkv.weight[out] → linear (qkv) → view → unbind → {attention} → view → linear (proj) ← proj.weight[in]",
    ]


def test_padding_that_no_tensor_holds_is_passed_on_the_way() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.c(m.b(x) + F.pad(x, (0, 0, 0, 0, 1, 1)))

    convs = {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(4, 6, 1), "c": nn.Conv2d(6, 2, 1)}
    found = chains(structure_of(forward, **convs), "a.weight[out]")
    assert found["b.weight[out]"] == "a.weight[out] → conv2d (a) → pad → add ← conv2d (b) ← b.weight[out]"


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_place_of_every_family_has_a_chain(name: str) -> None:
    structure = trace(*build(name))
    assert structure.evidence is not None
    for family in structure.families:
        for member in family.members:
            answers = [t for t in structure.why(member).tied if t.family == family.name]
            assert len(answers) == 1
            assert {c.end for c in answers[0].chains} | {member} == set(family.members)
            assert all(c.start == member and c.steps for c in answers[0].chains)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_fixed_axis_has_its_reason(name: str) -> None:
    structure = trace(*build(name))
    for frozen in structure.frozen:
        found = {f.reason: f for f in structure.why(frozen.where).fixed}
        assert found[frozen.reason].size == frozen.size


# -- fixed ---------------------------------------------------------------------------------------------------


def fixed(structure: Structure, where: str) -> tuple[str, str]:
    (only,) = structure.why(where).fixed
    return only.reason, str(only.chain)


def test_the_output_and_the_input_are_fixed_where_they_are_read() -> None:
    structure = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Sigmoid()), torch.zeros(2, 3))
    assert fixed(structure, "2.weight[out]") == (
        "the model's output",
        "2.weight[out] → linear (2) → sigmoid (3) → output",
    )
    assert fixed(structure, "0.weight[in]") == (
        "multiplies a tensor whose size is set by the input or the code (in '0')",
        "0.weight[in] → linear (0)",
    )


def test_a_chain_leads_to_a_far_operator_that_fixes() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.out(m.norm(x + m.c(m.b(x).relu())))

    layers = {"a": nn.Linear(3, 4), "b": nn.Linear(4, 5), "c": nn.Linear(5, 4), "norm": nn.LayerNorm(4)}
    structure = structure_of(forward, torch.zeros(2, 3), **layers, out=nn.Linear(4, 2))
    reason = "layer norm: its statistics run over this axis, so cutting it would change them (in 'norm')"
    assert fixed(structure, "c.weight[out]") == (reason, "c.weight[out] → linear (c) → add → layer_norm (norm)")
    chain = "b.weight[in] → linear (b) ← linear (a) → add → layer_norm (norm)"
    assert fixed(structure, "b.weight[in]") == (reason, chain)
    assert [f.axis for f in structure.why("norm").fixed] == ["norm.weight"]  # its bias says the same


def test_what_makes_a_silent_value_loud_is_named() -> None:
    model = Function(lambda m, x: m.a(x).sigmoid().sum(-1), a=nn.Linear(3, 4))
    (found,) = trace(model, torch.zeros(2, 3)).why("a.weight[out]").fixed
    assert (found.reason, found.because) == (
        "cannot be silenced exactly by zeroing weights",
        "sigmoid makes something else of zeros",
    )
    assert str(found.chain) == "a.weight[out] → linear (a) → sigmoid → sum"


def test_what_no_operator_fixes_has_a_reason_and_no_chain() -> None:
    model = Function(lambda m, x: m.b(m.a(x)) if x.shape[0] else m.c(x), a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    model.c = nn.Linear(3, 7)
    (only,) = (f for f in trace(model, torch.zeros(2, 3)).why("c").fixed if f.axis == "c.weight[out]")
    assert only.chain is None and only.reason == "its value does not reach the output"


def test_part_of_an_axis_may_be_fixed() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.b(torch.cat([m.a(x), x], 1))

    answer = structure_of(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(7, 2, 1)).why("b.weight[in]")
    (tied,), (part,) = answer.tied, answer.fixed
    assert tied.family == "a" and part.size == 3
    assert str(part.chain) == "b.weight[in] → conv2d (b) ← cat"


# -- names ---------------------------------------------------------------------------------------------------


class Names(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 4)
        self.again, self.act, self.gain = self.last, nn.ReLU(), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.act(self.last(self.first(x)))) * self.gain


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("firts", "the model has no module, tensor or axis 'firts'; did you mean 'first'"),
        ("zzz", "name a module, a tensor or an axis, such as 'first', 'first.weight' or 'first.weight[out]'"),
        (
            "first.weight[up]",
            "'first.weight' has no axis 'first.weight[up]'; it has first.weight[out], first.weight[in]",
        ),
        ("gain", "'gain' has no axis longer than 1"),
        ("act", "'act' holds no weights, so nothing can be cut in it"),
        ("again.weight[in]", "'again.weight' is another name of 'last.weight'"),
        ("", "the model has no module"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(where: str, message: str) -> None:
    with pytest.raises(StructureError) as caught:
        trace(Names(), torch.zeros(2, 3)).why(where)
    assert message in str(caught.value)


def test_a_module_may_be_asked_for_by_another_name_and_a_family_by_its_own() -> None:
    structure = trace(Names(), torch.zeros(2, 3))
    assert structure.why("again").fixed[0].axis == "last.weight[out]"
    model = Function(lambda m, x: m.b(F.linear(x, m.w).relu()), b=nn.Linear(4, 2))
    model.w = nn.Parameter(torch.randn(4, 3))
    structure = trace(model, torch.zeros(2, 3))
    (family,) = structure.families
    assert structure.why(family.name).tied[0].axis in family.members


def test_a_structure_that_was_computed_says_so() -> None:
    structure = trace(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.zeros(2, 3))
    cut = structure.restrict(np.array([True, True, False, True]))
    with pytest.raises(StructureError, match="trace the network"):
        cut.why("0")
    with pytest.raises(StructureError, match="only a trace"):
        network(cut)


def test_the_answer_as_data_is_json() -> None:
    structure = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(2, 3))
    found = json.loads(json.dumps(structure.why("0").as_dict()))
    (tied,) = found["tied"]
    assert {k: tied[k] for k in ("axis", "family", "kind", "groups")} == {
        "axis": "0.weight[out]", "family": "0", "kind": "channel", "groups": 4,
    }  # fmt: skip
    assert tied["chains"][1] == {
        "from": "0.weight[out]",
        "to": "2.weight[in]",
        "steps": [
            {"arrow": "→", "operator": "linear", "module": "0"},
            {"arrow": "→", "operator": "relu", "module": "1"},
            {"arrow": "→", "operator": "linear", "module": "2"},
            {"arrow": "←", "place": "2.weight[in]"},
        ],
        "text": "0.weight[out] → linear (0) → relu (1) → linear (2) ← 2.weight[in]",
    }
    assert found["fixed"][0]["axis"] == "0.weight[in]" and found["blocks"] == []


# -- the network ---------------------------------------------------------------------------------------------


def drawn(structure: Structure) -> list[tuple[str, str, tuple[str, ...], tuple[int, ...], int]]:
    return [(n.name, n.kind, n.also, n.inputs, len(n.atoms)) for n in network(structure)]


def test_the_network_has_layers_and_meetings_in_order() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm1(m.conv1(x)).relu()
        return m.out((m.norm2(m.conv2(y)) + y).relu().mean((2, 3)))

    convs = {"conv1": nn.Conv2d(3, 4, 3, 1, 1, bias=False), "conv2": nn.Conv2d(4, 4, 3, 1, 1, bias=False)}
    norms = {"norm1": nn.BatchNorm2d(4), "norm2": nn.BatchNorm2d(4)}
    structure = structure_of(forward, **convs, **norms, out=nn.Linear(4, 2))
    assert drawn(structure) == [
        ("input", "", (), (), 0),
        ("conv1", "Conv2d", ("norm1",), (0,), 4),
        ("conv2", "Conv2d", ("norm2",), (1,), 4),
        ("", "+", (), (1, 2), 4),
        ("out", "Linear", (), (3,), 2),
        ("output", "", (), (4,), 0),
    ]
    nodes = network(structure)
    assert (nodes[1].atoms == nodes[3].atoms).all() and nodes[4].reason == "the model's output"


def test_a_norm_before_a_layer_stands_beside_it_and_gates_meet() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        y = m.b(m.norm(x)) * m.gate(x).sigmoid()
        return m.out(torch.cat([x, y * y.sigmoid()], -1))

    layers = {"a": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "b": nn.Linear(4, 5), "gate": nn.Linear(4, 5)}
    structure = structure_of(forward, torch.zeros(2, 3), **layers, out=nn.Linear(9, 2))
    assert [(n, k, also, i) for n, k, also, i, _ in drawn(structure)] == [
        ("input", "", (), ()),
        ("a", "Linear", (), (0,)),
        ("b", "Linear", ("norm",), (1,)),
        ("gate", "Linear", (), (1,)),
        ("", "×", (), (2, 3)),
        ("", "concat", (), (1, 4)),
        ("out", "Linear", (), (5,)),
        ("output", "", (), (6,)),
    ]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_can_be_drawn(name: str) -> None:
    structure = trace(*build(name))
    nodes = network(structure)
    assert nodes[0].name == "input" and nodes[-1].name == "output" and nodes[-1].inputs
    assert all(i < number for number, node in enumerate(nodes) for i in node.inputs)
    seen = {int(structure.family_of[atom]) for node in nodes for atom in node.atoms if atom >= 0}
    assert seen == set(range(len(structure.families)))
