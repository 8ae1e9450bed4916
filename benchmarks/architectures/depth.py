"""Is the trace linear in the number of layers? GPT-2 of one width, deeper and deeper."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

import secateurs

from .models import VOCABULARY, transformers_model

DEPTHS = (12, 24, 48, 96)


def measured(depths: tuple[int, ...] = DEPTHS, repeats: int = 3) -> Iterator[tuple[int, float, int]]:
    """(layers, the least seconds of a few traces, families found)."""
    ids = torch.randint(3, VOCABULARY, (2, 8))
    for layers in depths:
        widths = {"vocab_size": VOCABULARY, "n_embd": 32, "n_head": 4, "n_positions": 16}
        arguments = {**widths, "n_layer": layers, "bos_token_id": 1, "eos_token_id": 2}
        model = transformers_model("GPT2Config", "GPT2LMHeadModel", arguments)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            structure = secateurs.trace(model, {"input_ids": ids})
            seconds.append(time.perf_counter() - start)
        yield layers, min(seconds), len(structure.families)


def main() -> None:
    print("GPT-2, width 32: layers, trace seconds, milliseconds a layer, families")
    for layers, seconds, families in measured():
        print(f"{layers:6} {seconds:8.2f} s {1000 * seconds / layers:8.1f} ms {families:6}", flush=True)
