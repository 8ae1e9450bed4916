"""Timing: what is measured is what was asked for, and nothing is left changed."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from secateurs.measure import compare_latency, latency
from secateurs.measure.latency import interleaved, wall_timer


class Sleeper(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.seen: list[tuple[bool, bool, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
        time.sleep(self.seconds)
        return x


def test_a_known_duration_is_measured() -> None:
    found = latency(Sleeper(0.004), torch.zeros(3, 2), repeats=5, warmup=1)
    assert 4.0 <= found.q25_ms <= found.median_ms <= found.q75_ms
    assert found.median_ms < 40
    assert (found.batch, found.repeats, found.calls, found.device) == (3, 5, 1, "cpu")
    assert "batch 3, 1 thread, cpu" in str(found)


def test_runs_in_eval_and_inference_mode_on_the_asked_threads_and_restores_all() -> None:
    before = torch.get_num_threads()
    model = nn.Sequential(Sleeper(0.0), nn.Dropout())
    model[1].eval()
    latency(model, torch.zeros(1, 2), threads=2, repeats=3, warmup=1)
    assert set(model[0].seen) == {(False, True, 2)}
    assert torch.get_num_threads() == before
    assert [m.training for m in model.modules()] == [True, True, False]
    assert not torch.is_inference_mode_enabled()


def test_all_is_restored_after_a_failure() -> None:
    before = torch.get_num_threads()
    model = nn.Linear(3, 2)
    with pytest.raises(RuntimeError):
        latency(model, torch.zeros(1, 4), threads=before + 1)
    assert torch.get_num_threads() == before
    assert model.training


def test_short_calls_are_gathered_into_one_measurement() -> None:
    found = latency(nn.Identity(), torch.zeros(1), repeats=3)
    assert found.calls > 1
    assert found.median_ms < 0.5


def test_repeats_stop_when_time_is_up() -> None:
    assert latency(Sleeper(0.01), torch.zeros(1), repeats=1000, warmup=0, seconds=0.05).repeats < 50


def test_comparison_interleaves_and_alternates() -> None:
    order: list[str] = []

    def timer(name: str, seconds: float):
        def run(calls: int) -> float:
            order.append(name)
            return seconds * calls

        return run

    timers = {"dense": timer("dense", 0.016), "pruned": timer("pruned", 0.004)}
    about = {"threads": 1, "batch": 1, "device": "cpu"}
    found = interleaved(timers, repeats=4, warmup=0, seconds=9, about=about)
    assert order[2:] == ["dense", "pruned", "pruned", "dense", "dense", "pruned", "pruned", "dense"]
    assert found["dense"].median_ms == pytest.approx(16)
    assert found.speedup["pruned"].median == pytest.approx(4)
    assert found.speedup["dense"].median == found.speedup["dense"].q75 == 1


def test_ratios_are_taken_within_rounds() -> None:
    # A machine that becomes ten times slower half way does not disturb the ratio.
    slow = {"dense": 0, "pruned": 0}

    def timer(name: str, seconds: float):
        def run(calls: int) -> float:
            slow[name] += 1
            return calls * seconds * (10 if slow[name] > 6 else 1)

        return run

    about = {"threads": 1, "batch": 1, "device": "cpu"}
    timers = {"dense": timer("dense", 0.003), "pruned": timer("pruned", 0.001)}
    found = interleaved(timers, repeats=10, warmup=0, seconds=9, about=about)
    ratio = found.speedup["pruned"]
    assert (ratio.q25, ratio.median, ratio.q75) == pytest.approx((3, 3, 3))


def test_a_smaller_network_is_seen_to_be_faster() -> None:
    found = compare_latency(
        {"dense": nn.Linear(1024, 1024), "pruned": nn.Linear(1024, 16)}, torch.randn(64, 1024), repeats=7
    )
    assert found.speedup["pruned"].median > 2


def test_keyword_inputs() -> None:
    assert latency(nn.Linear(3, 2), {"input": torch.randn(5, 3)}, repeats=3).batch == 5


def test_senseless_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="threads=0"):
        latency(nn.Identity(), torch.zeros(1), threads=0)
    with pytest.raises(ValueError, match="repeats=0"):
        latency(nn.Identity(), torch.zeros(1), repeats=0)


def test_the_wall_timer_waits_for_the_device() -> None:
    waits: list[int] = []
    wall_timer(lambda: waits.append(0), lambda: waits.append(1))(2)
    assert waits == [1, 0, 0, 1]
