"""Memory and energy: the counters of a platform, and none where it has none."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import pytest
import torch

from secateurs.measure import Energy, PeakMemory
from secateurs.measure.memory import resident


@pytest.mark.skipif(resident() is None, reason="the platform does not tell resident memory")
def test_peak_memory_sees_what_was_freed_again() -> None:
    with PeakMemory() as watched:
        pages = mmap.mmap(-1, 64 * 2**20)  # new ones: an allocator may hand out what another test left in memory
        held = torch.frombuffer(pages, dtype=torch.uint8).fill_(1)
        time.sleep(0.15)
        del held
        pages.close()
    assert watched.bytes is not None and 60 * 2**20 < watched.bytes < 200 * 2**20


def meter(root: Path, name: str, used: int, span: int = 1_000_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{span}\n")
    (folder / "energy_uj").write_text(f"{used}\n")
    return folder / "energy_uj"


def test_joules_of_all_packages_and_none_of_their_parts(tmp_path: Path) -> None:
    one, two, part = (meter(tmp_path, n, 5_000_000) for n in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"))
    with Energy(tmp_path) as used:
        one.write_text("7500000\n")
        two.write_text("6000000\n")
        part.write_text("900000000\n")
    assert used.joules == pytest.approx(3.5)


def test_a_counter_that_began_anew(tmp_path: Path) -> None:
    path = meter(tmp_path, "intel-rapl:0", 9_000_000, span=10_000_000)
    with Energy(tmp_path) as used:
        path.write_text("1500000\n")
    assert used.joules == pytest.approx(2.5)


def test_a_platform_that_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    with Energy(tmp_path) as used:
        pass
    assert used.joules is None or torch.cuda.is_available()
