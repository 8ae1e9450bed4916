"""The lottery's reproduction in small: what is watched, what is compared, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateurs.report import write_reproduction
from secateurs.reproduce import reproduce
from secateurs.reproduce.chains import Watch, run_chain
from secateurs.reproduce.claims import Claim
from secateurs.reproduce.lottery import cells_of, curves_of
from secateurs.training import Trainer
from secateurs.zoo import load_data

SMALL: dict[str, Any] = {
    "data": "digits", "model": "zoo:lenet-300-100-glorot", "steps": 24, "every": 8, "batch_size": 60, "lr": 1.2e-3,
    "rounds": 2, "rewind": 0, "controls": [2], "limit": 700, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def chain() -> dict[str, Any]:
    return run_chain(**SMALL)


def test_a_chain_by_hand(chain: dict[str, Any]) -> None:
    """64·300 + 300·100 + 100·10 = 50,200 weights; then 15,360 + 24,000 + 900, and 12,288 + 19,200 + 810."""
    assert [round(r["kept"] * 50_200) for r in chain["ticket"]] == [50_200, 40_260, 32_298]
    for kind in ("reinit", "random", "one-shot"):
        assert [round(r["kept"] * 50_200) for r in chain[kind]] == [32_298]
    rows = [r for found in chain.values() for r in found]
    assert all(r["stop"] in (8, 16, 24) and 0 < r["early"] <= 1 and 0 < r["end"] <= 1 for r in rows)
    ends = {kind: chain[kind][-1]["end"] for kind in chain}
    assert len(set(ends.values())) > 1  # they are different networks


def test_a_chain_is_the_same_again(chain: dict[str, Any]) -> None:
    assert run_chain(**SMALL) == chain


def test_each_network_reads_the_test_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from secateurs.reproduce import chains

    loaded = []
    load = chains.load_data
    monkeypatch.setattr(chains, "load_data", lambda *a, **k: loaded.append(load(*a, **k)) or loaded[-1])
    run_chain(**SMALL)
    assert [data.test_reads for data in loaded] == [3 + 3]  # dense, two tickets, three controls


def test_early_stopping_keeps_the_weights_of_the_lowest_validation_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    from secateurs.reproduce import chains
    from secateurs.training import Evaluation

    data = load_data("digits", limit=300)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    script = iter([0.5, 0.3, 0.4, 0.3])  # the lowest is at the second look; an equal one later does not count
    seen: list[torch.Tensor] = []

    def scripted(net: nn.Module, *_: Any) -> Evaluation:
        seen.append(net[1].weight.detach().clone())  # type: ignore[index]
        return Evaluation(0.0, next(script), 1, 0)

    tested: list[torch.Tensor] = []

    def both(networks: dict[str, nn.Module], *_: Any) -> dict[str, Evaluation]:
        tested.extend(n[1].weight.detach().clone() for n in networks.values())  # type: ignore[index]
        return {name: Evaluation(i / 10, 0.0, 1, 0) for i, name in enumerate(networks)}

    monkeypatch.setattr(chains, "evaluate", scripted)
    monkeypatch.setattr(chains, "evaluate_many", both)
    watch = Watch(data, 3, [0, 11])
    Trainer(model, data, batch_size=25, seed=0, epochs=1, callbacks=[watch], progress=False, evaluate_every=0).run()
    assert len(seen) == 4  # after 3, 6 and 9 steps, and at the end
    assert watch.found == [{"stop": 6, "early": 0.0, "end": 0.1}]
    assert torch.equal(tested[0], seen[1]) and torch.equal(tested[1], seen[3])


def claim(expected: Any, left: list[float], right: list[float]) -> str:
    return Claim("", "", left, right, expected).row()[-1]


def test_verdicts() -> None:
    low, high = [0.970, 0.971, 0.972, 0.970, 0.971], [0.980, 0.981, 0.983, 0.980, 0.982]
    assert claim("above", high, low) == claim("below", low, high) == "agrees"
    assert claim("not below", high, low) == "above it"
    assert claim("above", low, high) == claim("below", high, low) == claim("not below", low, high) == "disagrees"
    mixed = [0.969, 0.973, 0.971, 0.972, 0.969]
    assert claim("above", mixed, low) == "undecided" and claim("not below", mixed, low) == "agrees"
    assert claim("above", high[:1], low[:1]) == ""
    row = Claim("a", "b", [200.0, 100.0], [400.0, 200.0], "below", "iterations").row()
    assert row[2:5] == ["150", "300", "0.50×"]


def test_curves_lay_seeds_side_by_side() -> None:
    def found(shift: float) -> dict[str, Any]:
        rows = [{"kept": k, "stop": 100 * i, "early": k + shift, "end": k} for i, k in enumerate((1.0, 0.8, 0.6))]
        return {"ticket": rows, "reinit": rows[2:], "random": rows[2:], "one-shot": rows[2:]}

    curves = curves_of([found(0.0), found(0.1)], [found(0.2), found(0.3)], [2])
    assert curves.values("ticket", 1, "early") == pytest.approx([0.8, 0.9])
    assert curves.values("late", 2, "early") == pytest.approx([0.8, 0.9])
    assert curves.levels("reinit") == [0, 2] and curves.values("reinit", 0, "early") == [1.0, 1.1]
    assert curves.kept == pytest.approx({0: 1.0, 1: 0.8, 2: 0.6})


def test_the_page_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = reproduce("lottery", "digits", quick=True, progress=False)
    paths = write_reproduction(result, tmp_path / "pages")
    assert [p.name for p in paths] == [
        "lottery-quick.md", "lottery-quick.html",
        *(f"lottery-quick-{name}.svg" for name in ("early", "end", "stop")),
    ]  # fmt: skip
    text = paths[0].read_text()
    assert "quick run" in text and "Claims" not in text and "| 51.6" in text
    kept = list((tmp_path / "runs" / "reproductions" / "lottery").glob("*.json"))
    assert len(kept) == len(cells_of("digits", 1, True)) == 2
    before = [p.stat().st_mtime_ns for p in kept]
    assert reproduce("lottery", "digits", quick=True, progress=False) == result
    assert [p.stat().st_mtime_ns for p in kept] == before
