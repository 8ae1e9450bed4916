"""A made-up but realistic record: an equilibrium run on 768 players. No figure here was measured."""

from __future__ import annotations

import math
import random

from secateurs.records import (
    Certificate,
    HistoryPoint,
    LayerRow,
    Measured,
    PlayersBlock,
    Record,
    TrainBlock,
    TrainSeconds,
)

EPOCHS, STEPS = 20, 8600


def example_record(*, kept: tuple[int, int] = (21, 16)) -> Record:
    """An equilibrium run over 512 + 256 neurons, all sections filled."""
    rng = random.Random(0)
    return Record(
        method="equilibrium",
        model="zoo:mlp-512-256",
        data="mnist",
        budget={"groups": 0.0482, "macs": 0.04},
        targets={"groups": 37.0, "macs": 21407.0},
        dense=Measured(
            accuracy=0.9812,
            loss=0.0714,
            params=535_818,
            macs=535_040,
            bytes=2_143_272,
            file_bytes=2_144_024,
            latency_ms=0.1342,
            latency_spread_ms=(0.1318, 0.1397),
        ),
        gated=Measured(accuracy=0.9490, loss=0.1771),
        cut=Measured(accuracy=0.9446, loss=0.1893),
        pruned=Measured(
            accuracy=0.9704,
            loss=0.1012,
            params=17_007,
            macs=16_960,
            bytes=68_028,
            file_bytes=68_760,
            latency_ms=0.0421,
            latency_spread_ms=(0.0409, 0.0447),
        ),
        groups_total=768,
        groups_kept=sum(kept),
        layers=[
            LayerRow(
                name="fc1",
                kind="channel",
                total=512,
                kept=kept[0],
                minimum=6,
                tied_to=["fc1.weight[out]", "fc1.bias", "fc2.weight[in]"],
            ),
            LayerRow(
                name="fc2",
                kind="channel",
                total=256,
                kept=kept[1],
                minimum=6,
                tied_to=["fc2.weight[out]", "fc2.bias", "fc3.weight[in]"],
            ),
        ],
        certificate=Certificate(
            scope="market",
            nash_gap=0.00213,
            nash_gap_median=0.0000114,
            dominated=729,
            dominated_and_removed=729,
            undominated_and_kept=37,
            spectral_radius=0.41,
            contraction=True,
            market_clearing_error=3.1e-6,
            condition_numbers={"fc1": 8.41, "fc2": 12.7, "fc3": 3.06},
            sentence="No player gains more than 0.00213 by moving alone; 729 dominated players were removed, "
            "and best responses contract (spectral radius 0.41): the profile is the only one near it.",
        ),
        train=TrainBlock(
            seconds=TrainSeconds(dense_equivalent=31.2, game=4.6, recovery=9.8, reference=52.4),
            steps={"warmup": 860, "market": 2580, "recovery": 5160, "total": STEPS},
            batch_size=128,
            examples={"train": 55_000, "validation": 5_000, "test": 10_000},
        ),
        history=_history(rng),
        players=_players(rng, kept),
        config={
            "model": "zoo:mlp-512-256",
            "epochs": EPOCHS,
            "batch_size": 128,
            "granularity": "channel",
            "options": {
                "benefit": "marginal",
                "step": 0.005,
                "gauge": "norm",
                "rent": "concave",
                "epsilon": 0.01,
            },
        },
        config_hash="3f9c2a71be04d655",
        seed=0,
        versions={"secateurs": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
        device="cpu: 2 cores",
        threads=1,
        data_hash="9d5f0c1e" * 8,
        created="2026-01-15T10:00:00Z",
        files={"artifact": "artifact", "onnx": "model.onnx", "report": "report.html"},
        notes=["Latency was measured on a shared machine; the quartiles show how steady it was."],
    )


def _history(rng: random.Random) -> list[HistoryPoint]:
    out = []
    for step in range(0, STEPS + 1, 86):
        epoch = EPOCHS * step / STEPS
        phase = "warmup" if epoch < 2 else "market" if epoch < 8 else "recovery"
        t = min(1.0, max(0.0, (epoch - 2) / 6))
        path = 0.04 + 0.96 * (1 - t) ** 3
        mean = 1 - 0.952 * (1 - (1 - t) ** 2.6)
        active = round(768 * (0.0482 + 0.9518 * (1 - t) ** 2))
        if phase == "recovery":
            accuracy = 0.972 - 0.026 * math.exp(-(epoch - 8) / 2.5)
        else:
            accuracy = 0.979 - 0.085 * math.exp(-epoch / 0.7) - 0.033 * t**4
        whole = abs(epoch - round(epoch)) < 1e-9 and epoch > 0
        market = {} if phase != "market" else {"macs": path}
        out.append(
            HistoryPoint(
                step=step,
                epoch=epoch,
                phase=phase,
                loss=0.05 + 2 * math.exp(-epoch),
                accuracy=accuracy + rng.gauss(0, 0.0012) if whole else None,
                sparsity=1 - active / 768,
                mean_participation=mean,
                active=active,
                path=market,
                price={k: 0.02 + 2.4 * t**1.7 * (1 - 0.3 * t) + rng.gauss(0, 0.015) for k in market},
                demand={k: v + abs(rng.gauss(0, 1e-6)) for k, v in market.items()},
                lr=1e-3,
            )
        )
    return out


def _players(rng: random.Random, kept: tuple[int, int]) -> PlayersBlock:
    layer, participation, benefit, cost, keep = [], [], [], [], []
    for index, (total, alive) in enumerate(zip((512, 256), kept)):
        for i in range(total):
            lives = i < alive
            s = min(1.0, max(0.3, rng.gauss(0.97, 0.09))) if lives else max(0.0, rng.gauss(0, 0.004)) if i % 9 else 0.0
            if not lives and i % 97 == 0:
                s = rng.uniform(0.01, 0.3)
            layer.append(index)
            participation.append(s)
            benefit.append(rng.lognormvariate(0.6, 0.5) if lives else rng.gauss(0.05, 0.25))
            cost.append((1.0 if index == 0 else 0.33) / (0.1 + s) * rng.uniform(0.97, 1.03))
            keep.append(lives)
    return PlayersBlock(layer=layer, participation=participation, benefit=benefit, cost=cost, kept=keep, epsilon=0.01)
