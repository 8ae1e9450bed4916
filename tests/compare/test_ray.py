"""A comparison on a Ray cluster of two nodes on this machine: a lost worker costs no record and changes no figure."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateurs.compare import How, compare
from secateurs.compare.carry import Place
from secateurs.compare.ray_pool import RayPool
from secateurs.errors import MissingExtraError, RunError

from .test_compare import told, wanted

ray = pytest.importorskip("ray")
REQUEST = {"scratch": (), "grid": ({},), "epochs": 8, "seeds": (0,)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made.address
    ray.shutdown()
    made.shutdown()


def _workers() -> list[int]:
    """Ray's workers on this machine that carry a run out just now."""
    out = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::_carry"):
                out.append(int(folder.name))
        except OSError:
            continue
    return out


@pytest.mark.timeout(280)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds Ray's workers in /proc")
def test_a_worker_killed_in_a_run_costs_nothing(cluster: str, tmp_path: Path) -> None:
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.is_set() and not killed:
            started = list((tmp_path / "c").glob("runs/*/config.json"))
            if started and (pids := _workers()):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            time.sleep(0.02)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        how = How(ray=cluster, threads=1, progress=False, track=("tensorboard",))
        found = compare(wanted(**REQUEST), tmp_path / "c", how)
    finally:
        over.set()
        thread.join()
    assert killed and not found.failures and found.missing == 0 and len(found.runs) == 4
    assert len(list((tmp_path / "c" / "tracking").iterdir())) == len(list((tmp_path / "c" / "runs").iterdir()))
    undisturbed = compare(wanted(**REQUEST), tmp_path / "d", How(threads=1, progress=False))
    assert told(found) == told(undisturbed)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nosuch.invalid:6379", "ray://127.0.0.1:1", "127.0.0.1:x"])
def test_an_address_where_nobody_answers(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    begun = time.monotonic()
    with pytest.raises(RunError, match=rf"--ray {address}: no Ray cluster answers there"):
        RayPool(Place(tmp_path), address)
    assert time.monotonic() - begun < 20, "Ray itself asks for minutes"


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"secateurs\[ray\]"):
        RayPool(Place(tmp_path), "auto")
