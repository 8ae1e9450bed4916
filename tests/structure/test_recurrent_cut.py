"""What a cut leaves of recurrent layers: gates, attributes, optimizer state, exports and artifacts."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateurs
from secateurs.errors import StructureError
from secateurs.measure import count_macs
from secateurs.structure import Structure, mask, remap_optimizer, replay, shrink, trace
from secateurs.structure.rules import recurrent

from .networks import Function
from .test_exactness import random_keep
from .test_recurrent import KINDS, UNITS, prepared
from .test_shrink import OPTIMIZERS, loss


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


class Classifier(nn.Module):
    def __init__(self, rnn: str = "lstm") -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.rnn = KINDS[rnn](5, UNITS, 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0][:, -1])


def cut_classifier(kind: str) -> tuple[nn.Module, Structure, Any, Tensor]:
    model, tokens = prepared(Classifier(kind)), torch.randint(11, (4, 7))
    structure = trace(model, tokens)
    return model, structure, shrink(model, structure, random_keep(structure, 1, 0.5)), tokens


def test_gates_are_the_candidates_rows() -> None:
    model = Function(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.GRU(3, 2, bias=False), out=nn.Linear(2, 1))
    gates = trace(model, torch.randn(4, 1, 3)).gates
    expected = [(0, [-1, -1, -1, -1, 0, 1])]
    assert {n: [(g.axis, g.ids.tolist()) for g in held] for n, held in gates.items()} == {
        "rnn.weight_ih_l0": expected,
        "rnn.weight_hh_l0": expected,
    }


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_oracle_refuses_another_gate(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for gate in range(4 if kind == "lstm" else 3):
        monkeypatch.setitem(recurrent.CANDIDATE, kind, gate)
        # Output and input gates of an LSTM halve at zero, and a GRU's other gates do not silence either.
        if gate == 2:
            cut_classifier(kind)
        else:
            with pytest.raises(StructureError, match="would change"):
                cut_classifier(kind)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_a_step_after_the_cut_is_the_masked_networks_step_on_the_survivors(kind: str, optimizer: str) -> None:
    model, tokens = prepared(Classifier(kind)), (torch.randint(11, (4, 7)),)
    structure = trace(model, tokens)
    stepper = OPTIMIZERS[optimizer](model.parameters())
    for _ in range(2):
        stepper.zero_grad()
        loss(model, tokens).backward()
        stepper.step()
    keep = random_keep(structure, 4, 0.6)
    masked = mask(copy.deepcopy(model), structure, keep)
    other = OPTIMIZERS[optimizer](masked.parameters())
    other.load_state_dict(copy.deepcopy(stepper.state_dict()))
    surgery = shrink(model, structure, keep, inplace=True).surgery
    remap_optimizer(stepper, model, surgery)
    for net, opt in ((model, stepper), (masked, other)):
        opt.zero_grad()
        loss(net, tokens).backward()
        opt.step()
    for (n, small), (m, full) in zip(model.named_parameters(), masked.named_parameters()):
        assert n == m
        torch.testing.assert_close(small, surgery.cut(n, full.detach()), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_the_cut_network_replays_exports_and_comes_back(kind: str, tmp_path: Path) -> None:
    _, structure, result, tokens = cut_classifier(kind)
    small, rest = result.model.eval(), structure.restrict(random_keep(structure, 1, 0.5))
    again = replay(prepared(Classifier(kind)), result.surgery)
    again.load_state_dict(small.state_dict())
    exported = torch.export.export(small, (tokens,)).module()
    saved = secateurs.save(small, tmp_path / "program", factory=None, example_inputs=tokens)
    for other in (again, copy.deepcopy(small), exported, secateurs.load(saved)):
        torch.testing.assert_close(other(tokens), small(tokens))
    traced = trace(small, tokens)
    assert rest.amount("macs") == traced.amount("macs") == count_macs(small, tokens)
    assert {f.name: len(f.atoms) for f in traced.families} == {f.name: len(f.atoms) for f in rest.families}


FACTORY = """
from torch import nn

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(5, 6, 2, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.out(self.rnn(x)[0])

def build():
    return Tagger()
"""


def test_the_cut_network_comes_back_through_its_factory(tmp_path: Path) -> None:
    source = tmp_path / "tagger.py"
    source.write_text(FACTORY)
    model, x = runpy.run_path(str(source))["build"]().eval(), torch.randn(7, 3, 5)
    structure = trace(model, x)
    result = shrink(model, structure, random_keep(structure, 1, 0.5))
    where = {"factory": f"{source}:build", "surgery": result.surgery, "example_inputs": x}
    back: Any = secateurs.load(secateurs.save(result.model, tmp_path / "saved", **where))
    assert back.rnn.hidden_size < 6
    torch.testing.assert_close(back(x), result.model(x))


def test_weights_are_laid_out_in_one_piece_after_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", lambda module: calls.append(module.hidden_size))
    model, structure = cut_classifier("gru")[:2]
    calls.clear()
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[structure.family("rnn").atoms[0]] = False
    shrink(model, structure, keep, inplace=True, check=False)
    assert calls == [UNITS - 1]
