"""DIVNET's first layer cut by node and by edge: removal, reweighting against all the data, draws, claims, the page."""

from __future__ import annotations

import math

import pytest
import torch

from secateurs.maths.determinantal import Determinantal
from secateurs.maths.kernels import gaussian, weighted
from secateurs.partition import players
from secateurs.recovery import Removal, Reweight
from secateurs.reproduce import divnet_claims, divnet_tables
from secateurs.reproduce.cells import Asked
from secateurs.reproduce.divnet import REWEIGHTED, FirstLayer, Sums, Training, input_sums, linear, whole
from secateurs.reproduce.divnet_claims import Order
from secateurs.reproduce.divnet_cuts import cut_nodes, diverse_edges, top_of_rows
from secateurs.reproduce.divnet_tables import Found
from secateurs.reproduce.statmech_real import CIFAR, MNIST, cells_of, sections
from secateurs.structure import shrink
from secateurs.theory import parameter_counts
from secateurs.training import evaluate
from secateurs.zoo import build_model
from secateurs.zoo.mlp import MLP, mlp

QUICK = {"model": "zoo:mlp-digits", "batch_size": 32, "error": 0.08, "epochs": 5}


@pytest.fixture(scope="module")
def layer() -> FirstLayer:
    """Of a sigmoid network that has not been trained, on digits; biases are not zero."""
    data = whole("digits", None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = mlp((24, 16), 10, (1, 8, 8), activation="sigmoid")
    return FirstLayer(net.eval(), data, input_sums("digits", None))


def _inputs() -> torch.Tensor:
    return torch.cat([x.flatten(1) for x, _ in whole("digits", None).train.batches(500, epoch=None)])


def _few(layer: FirstLayer, k: int) -> torch.Tensor:
    keep = torch.zeros(24, dtype=torch.bool)
    keep[torch.randperm(24, generator=torch.Generator().manual_seed(k))[:k]] = True
    return keep


def test_all_training_examples_are_trained_on() -> None:
    data = whole("digits", None)
    assert data.sizes["train"] == data.sizes["validation"] == 1438  # of 1,797, every fifth is for the test
    x = _inputs().double()
    assert abs(float(x.mean())) < 1e-5 and float(x.std()) == pytest.approx(1, rel=1e-3)


def test_training_ends_when_the_error_is_low_enough() -> None:
    data = whole("digits", None)
    net, found = Training(**QUICK)(data, seed=0)  # type: ignore[arg-type]
    assert 1 < found["epochs"] < 5 and found["train"] > 0.92
    assert found["train"] == evaluate(net, data.train).accuracy
    _, shorter = Training(**{**QUICK, "epochs": found["epochs"] - 1})(data, seed=0)  # type: ignore[arg-type]
    assert shorter["train"] <= 0.92  # it was not reached an epoch earlier


def test_what_is_removed_is_gone_and_what_is_idle_returns_its_bias(layer: FirstLayer) -> None:
    keep, x = _few(layer, 7), _inputs()[:50]
    small = layer.without_nodes(keep)[""]
    idle = layer.with_idle_nodes(keep)
    first, second, out = (linear(layer.net, name) for name in ("fc1", "fc2", "out"))
    hidden = torch.sigmoid(first(x))
    for net, rest in ((small, torch.zeros(24)), (idle, torch.sigmoid(first.bias))):
        expected = out(torch.sigmoid(second(torch.where(keep, hidden, rest))))
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert linear(small, "fc1").out_features == linear(small, "fc2").in_features == 7
    assert linear(layer.net, "fc1").out_features == 24  # a copy was cut


def test_reweighted_nodes_are_those_of_least_squares_over_all_examples(layer: FirstLayer) -> None:
    keep = _few(layer, 7)
    found = linear(layer.without_nodes(keep)[REWEIGHTED], "fc2").weight.double()
    hidden = torch.sigmoid(linear(layer.net, "fc1")(_inputs())).double()
    weight = linear(layer.net, "fc2").weight.double()
    # α_i = argmin ‖Σ_j α_ij·a_j − a_i‖² of the dropped i, and w̃_kj = w_kj + Σ_i α_ij·w_ki.
    alpha = torch.linalg.lstsq(hidden[:, keep], hidden[:, ~keep]).solution
    torch.testing.assert_close(found, weight[:, keep] + weight[:, ~keep] @ alpha.T, rtol=1e-5, atol=1e-6)


def test_reweighting_by_stand_ins_is_the_recovery_on_the_whole_network(layer: FirstLayer) -> None:
    keep, data = _few(layer, 9), [(_inputs(), torch.zeros(1438))]
    found = players(layer.net, _inputs()[:2])
    everyone = torch.cat([keep, torch.ones(16, dtype=torch.bool)])
    shrunk = shrink(layer.net, found.structure, found.atom_mask(everyone))
    whole_way = Reweight()(shrunk.model, Removal(layer.net, shrunk.surgery), data)
    short = layer.without_nodes(keep)[REWEIGHTED]
    torch.testing.assert_close(linear(short, "fc2").weight, linear(whole_way, "fc2").weight, rtol=1e-4, atol=1e-5)
    edges = top_of_rows(layer.weight.abs(), 20)
    cut = layer.without_edges(edges)
    whole_way = Reweight()(cut[""], Removal(layer.net, masks={"fc1.weight": edges}), data)
    torch.testing.assert_close(
        linear(cut[REWEIGHTED], "fc1").weight, linear(whole_way, "fc1").weight, rtol=1e-3, atol=1e-4
    )


def test_edges_are_exactly_so_many_a_node_and_reweighting_helps_each_of_them(layer: FirstLayer) -> None:
    keep = top_of_rows(torch.rand(24, 64, generator=torch.Generator().manual_seed(0)), 30)
    assert keep.sum(1).tolist() == [30] * 24
    nets, x = layer.without_edges(keep), _inputs()
    sums = linear(layer.net, "fc1")(x)
    errors = [(linear(net, "fc1")(x) - sums).square().sum(0) for net in (nets[""], nets[REWEIGHTED])]
    assert (errors[1] <= errors[0]).all() and errors[1].sum() < 0.5 * errors[0].sum()
    assert not linear(nets[REWEIGHTED], "fc1").weight[~keep].any()


def test_importance_takes_the_largest_of_every_row() -> None:
    mask = top_of_rows(torch.tensor([[0.1, 3.0, 2.0], [5.0, 0.0, 4.0]]), 2)
    assert mask.tolist() == [[False, True, True], [True, False, True]]


def test_edges_that_carry_the_same_are_not_drawn_together() -> None:
    """Of three inputs the first two are alike; a 2-DPP takes both with a probability that is small and known."""
    nodes, examples = 600, 50
    x = torch.randn(examples, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 1] = x[:, 0]
    fake = FirstLayer.__new__(FirstLayer)
    fake.weight, fake.inputs, fake.examples = torch.full((nodes, 3), 0.5), Sums(3), examples
    fake.inputs.add(x)
    masks = diverse_edges(fake, [2], seed=0)[2]
    assert masks.shape == (nodes, 3) and (masks.sum(1) == 2).all()
    law = Determinantal(gaussian(weighted(fake.inputs.gram, fake.weight[:1]), examples)[0])
    p = float(law.log_probability([0, 1], 2).exp())
    assert p < 0.02  # a third, were they drawn evenly
    seen = int((masks[:, 0] & masks[:, 1]).sum())
    assert abs(seen - nodes * p) <= 4 * math.sqrt(nodes * p * (1 - p))


def test_a_square_root_stands_for_its_rows() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[:, 2] = x[:, 1]  # of rank 5
    sums = Sums(6)
    sums.add(x[:25])
    sums.add(x[25:])
    ((rows, _),) = sums.rows
    assert rows.shape == (6, 6)
    torch.testing.assert_close(rows.T @ rows, x.T @ x)


def test_the_kernel_of_pre_activations_has_no_bias(layer: FirstLayer) -> None:
    sums = _inputs().double() @ layer.weight.double().T
    torch.testing.assert_close(layer.projections, sums.T @ sums)


@pytest.mark.parametrize(("setting", "hidden"), [(MNIST, (500, 500)), (CIFAR, (1000, 1000))])
def test_figure_3_pairs_have_equal_parameters(setting: divnet_tables.Setting, hidden: tuple[int, int]) -> None:
    """k_e = k_n(d + h₂)/h₁ − h₂ (section 5.2), to the rounding of a whole node; the network is the one that is cut."""
    first, second = hidden
    a_node = (setting.features + second) / first
    for nodes, edges in zip(setting.nodes, setting.edges, strict=True):
        assert abs(parameter_counts.edges(nodes, setting.features, first, second) - edges) <= a_node
    assert [round(10 * share) for share in setting.shares] == [2, 3, 4, 5, 6, 7, 8, 9]
    net = build_model(setting.training["model"], input_shape=(setting.features,))
    assert isinstance(net, MLP) and net.activation == "sigmoid"
    assert linear(net, "fc2").weight.shape == (second, first) and linear(net, "fc1").in_features == setting.features


def test_a_cell_is_the_same_twice_and_counts_its_draws() -> None:
    asked = {"data": "digits", "training": QUICK, "kept": [20, 40], "variants": [20], "draws": 2, "seed": 1}
    first, again = cut_nodes(**asked), cut_nodes(**asked)  # type: ignore[arg-type]
    assert first == again
    assert [len(first["cut"][f"DPP node{way}"]["40"]) for way in ("", REWEIGHTED)] == [2, 2]
    assert len(first["cut"]["importance node"]["40"]) == 1
    assert list(first["cut"]["DPP node, σ(b) stays"]) == ["20"]


def _found(lead: dict[int, list[float]]) -> Found:
    """Results on three networks: random edge leads DIVNET by so much at every place."""
    setting = divnet_tables.Setting("mnist", "MNIST", 100, {}, (), (1, 2, 3), (20, 50, 80))
    return Found(setting, {
        "nodes": [{"cut": {f"DPP node{REWEIGHTED}": {str(k): [0.4, 0.6] for k in setting.nodes}}}] * 3,
        "edges": [
            {"cut": {f"random edge{REWEIGHTED}": {str(k): [0.5 + lead[k][seed]] for k in setting.edges}}}
            for seed in range(3)
        ],
    })  # fmt: skip


def test_a_claim_says_where_it_holds_and_where_not() -> None:
    found = _found({20: [-0.1, -0.11, -0.12], 50: [0.1, -0.1, 0.0], 80: [0.1, 0.11, 0.09]})
    edge, node = f"random edge{REWEIGHTED}", f"DPP node{REWEIGHTED}"
    assert Order("", edge, node).row(found)[2:] == ["80", "20", "50", "-0.33", "in part"]
    assert Order("", edge, node, where=lambda s: s > 0.6).row(found)[2:] == ["80", "", "", "+10.00", "agrees"]
    assert Order("", node, edge, where=lambda s: s > 0.6).row(found)[-1] == "disagrees"
    assert Order("", edge, node, where=lambda s: s > 0.4).row(found)[-1] == "agrees where decided"
    assert Order("", edge, node, where=lambda s: 0.4 < s < 0.6).row(found)[-1] == "undecided"


def test_a_difference_is_of_the_same_networks() -> None:
    # Differences 1, 2, 3 points: mean 2, and 4.30265/√3 to either side.
    left, right = [0.51, 0.62, 0.93], [0.50, 0.60, 0.90]
    assert divnet_tables.difference(left, right) == "+2.00 [-0.48, +4.48]"
    assert divnet_tables.order(left, right) == "undecided"
    assert divnet_tables.order([0.6, 0.7], [0.5, 0.6 - 1e-6]) == "above"


def test_cells_of_a_network_have_its_seed_and_claims_have_their_data() -> None:
    cells = cells_of(MNIST, "mnist:x", {"nodes": 2, "edges": 1})
    assert [c.seed for c in cells["nodes"]] == [0, 1] and len(cells["edges"]) == 1
    assert cells["nodes"][0].settings["kept"] == sorted({*MNIST.table, *MNIST.nodes})
    assert {s for claim in divnet_claims.CLAIMS for s in claim.sources} == {"mnist", "cifar10"}


def test_the_page_on_digits(tmp_path) -> None:
    parts = sections(Asked("digits", quick=True, progress=False, cache=tmp_path))
    titles = [part.title for part in parts]
    assert titles[0] == "DIVNET's networks"
    assert titles[4:] == [
        f"Figure 3 {name}, {way}" for name in ("A: MNIST", "B: CIFAR-10") for way in ("reweighted", "not reweighted")
    ]
    for part in parts:
        assert part.rows and all(len(row) == len(part.columns) for row in part.rows)
        assert not {"verdict", "the logged accuracy", "DPP against importance"} & set(part.columns)
    assert "DPP edge" in parts[4].columns and "DPP edge" not in parts[-1].columns
    assert [f.name for part in parts[4:6] for f in part.figures] == ["mnist-reweighted", "mnist-cut"]
    assert len(list(tmp_path.glob("*.json"))) == 5
