"""Random labels: nobody beats chance, and a leak does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateurs.theory import no_free_lunch as nfl
from secateurs.training import Trainer
from secateurs.zoo import Data


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def dense(data: Data, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, data.classes))
    Trainer(
        net, data, seed=seed, epochs=60, batch_size=64, progress=False, evaluate_every=0,
        optimizer=torch.optim.Adam(net.parameters(), lr=5e-3),
    ).run()  # fmt: skip
    return net


def test_data_are_what_they_say():
    data = nfl.random_labels(seed=3, classes=5, features=7, train=40, test=60)
    assert data.sizes == {"train": 40, "validation": 10, "test": 60} and data.input_shape == (7,)
    again, other = nfl.random_labels(seed=3, classes=5, features=7, train=40, test=60), nfl.random_labels(seed=4)
    assert data.hash == again.hash != other.hash
    x, y = next(iter(data.train.batches(40, epoch=None)))
    tx, ty = next(iter(data.test.batches(60, epoch=None)))
    assert not (x[:, None] == tx).all(2).any()
    leaky = nfl.random_labels(seed=3, classes=5, features=7, train=40, test=60, leak=0.5)
    x, y = next(iter(leaky.train.batches(40, epoch=None)))
    tx, ty = next(iter(leaky.test.batches(60, epoch=None)))
    assert int((x[:, None] == tx).all(2).sum()) == 20 and torch.equal(y[:20], ty[:20])
    with pytest.raises(ValueError, match="leak=1 of 40"):
        nfl.random_labels(seed=0, train=40, test=20, leak=1.0)


def test_memorised_noise_is_worth_nothing_and_a_leak_is_found():
    fair = nfl.judged([nfl.hits(dense, seed) for seed in range(3)], 4)
    assert fair.training > 0.9 and fair.trials == 6000  # it learnt the noise by heart
    assert fair.at_chance() and fair.low <= 0.25 <= fair.high
    leaky = nfl.judged([nfl.hits(dense, seed, leak=0.5) for seed in range(3)], 4)
    assert not leaky.at_chance() and leaky.low > 0.25


def test_a_method_that_reads_the_test_set_is_caught():
    def cheat(data: Data, seed: int) -> nn.Module:
        len(data.test)
        return dense(data, seed)

    with pytest.raises(ValueError, match="looked at the test set"):
        nfl.hits(cheat, 0)


def test_verdicts_by_hand():
    verdict = nfl.judged([(30, 100, 1.0), (20, 100, 0.5)], 4)
    assert (verdict.hits, verdict.trials, verdict.chance, verdict.accuracy) == (50, 200, 0.25, 0.25)
    assert verdict.p_value == pytest.approx(1.0) and verdict.training == 0.75
    assert not nfl.judged([(80, 200, 1.0)], 4).at_chance()
