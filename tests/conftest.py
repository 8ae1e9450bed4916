"""Shared test configuration: threads, the data folder beside the project, and vision wheels on a CPU-only torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# One thread: the suite measures correctness, and small tensors run slower on several.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# torchvision's and timm's wheels register kernels for operators that a CPU-only torch build has not
# defined; defining the two names is enough for their Python code to import.
_LIBRARY = torch.library.Library("torchvision", "DEF")
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    _LIBRARY.define(_schema)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the data folder ../shared beside the project")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Timings of operators are kept for this session, not for the user."""
    os.environ["SECATEURS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
