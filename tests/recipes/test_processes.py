"""Two gloo processes play the game that one plays with the same global batch, a compaction in between."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from secateurs.storage import load_tree

from .child import CONTEXT, main

ARGV = [
    "prune", "--model", "zoo:mlp-digits", "--data", "digits", "--budget", "macs=0.15", "--epochs", "5",
    "--batch-size", "64", "--seed", "1", "--json",
]  # fmt: skip


def launch(folder: Path, world: int, argv: list[str] = ARGV) -> list[tuple[int | None, str, str]]:
    """Exit code, standard output and standard error of each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    logs = [folder / f"log-{rank}" for rank in range(world)]
    processes = [
        CONTEXT.Process(
            target=main,
            args=([*argv, "--out", str(folder / "run")], str(log)),
            kwargs={"place": shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}},
        )
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(150)
        process.kill()
    return [(p.exitcode, x.read_text(), Path(f"{x}.err").read_text()) for p, x in zip(processes, logs)]


def test_two_processes_play_as_one(tmp_path: Path) -> None:
    folders = {world: tmp_path / str(world) for world in (1, 2)}
    trees: dict[int, Any] = {}
    for world, folder in folders.items():
        folder.mkdir()
        results = launch(folder, world)
        assert [code for code, *_ in results] == [0] * world, results
        json.loads(results[0][1])  # the first process prints the record, the other nothing
        assert all(out == "" for _, out, _ in results[1:])
        trees[world] = [load_tree(folder / f"log-{rank}.s") for rank in range(world)]
    (one,), (first, second) = trees[1], trees[2]
    assert one["players"][-1] < one["players"][0] == 384  # it was compacted on the way
    assert first.keys() == second.keys() == one.keys() and first["players"] == second["players"]
    for name in one.keys() - {"players"}:
        assert torch.equal(first[name], second[name])
        difference = (one[name] - first[name]).abs()
        assert float(difference.mean()) < 1e-3 and float(difference.max()) < 0.05, (name, difference.max())
    early = one["19"]
    assert float((early - first["19"]).abs().max()) < 1e-4 and float(early.min()) < 1
    a, b = (json.loads((f / "run" / "record.json").read_text()) for f in folders.values())
    assert a["train"]["steps"] == b["train"]["steps"] and a["targets"] == b["targets"]
    assert a["pruned"]["macs"] <= a["targets"]["macs"] and b["pruned"]["macs"] <= b["targets"]["macs"]
    assert a["pruned"]["accuracy"] == pytest.approx(b["pruned"]["accuracy"], abs=0.02)
    refused = launch(folders[2], 2)  # an error of the first process is everyone's, and nobody waits for ever
    assert all(code == 1 and "--force" in err and "Traceback" not in err for code, _, err in refused), refused


@pytest.mark.parametrize("tolerance", ["0", "0.99"], ids=["trained on", "ended"])
def test_two_processes_repair_as_one(tolerance: str, tmp_path: Path) -> None:
    argv = [
        "prune", "--model", "zoo:mlp-digits", "--data", "digits", "--budget", "params=0.1", "--method", "magnitude",
        "--epochs", "2", "--batch-size", "64", "--seed", "1", "--reference", "none", "--json",
        "--recovery", "auto", "--set", f"tolerance={tolerance}",
    ]  # fmt: skip
    records = []
    for world in (1, 2):
        (tmp_path / str(world)).mkdir()
        results = launch(tmp_path / str(world), world, argv)
        assert [code for code, *_ in results] == [0] * world, results
        records.append(json.loads(results[0][1]))
    one, two = records
    assert one["train"]["steps"] == two["train"]["steps"] and ("recovery" in one["train"]["steps"]) == (
        tolerance == "0"
    )
    assert [row["name"] for row in one["recovery"]] == [row["name"] for row in two["recovery"]]
    for ours, theirs in zip(one["recovery"], two["recovery"]):
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.03), ours["name"]
