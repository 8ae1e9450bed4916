"""The package as a whole: what it exports, and how little importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import secateurs


@pytest.mark.parametrize("name", [n for n in secateurs.__all__ if n != "__version__"])
def test_every_name_resolves(name):
    # `players` is a package and a function: the function must win, whichever was imported first
    value = getattr(secateurs, name)
    assert value is not None
    assert not isinstance(value, type(sys))


def test_import_is_light():
    code = (
        "import torch, time, sys; t = time.perf_counter(); import secateurs; "
        "print(time.perf_counter() - t); "
        "heavy = {'accelerate', 'plotly', 'onnx', 'pyarrow', 'sklearn', 'transformers'} & set(sys.modules); "
        "print(sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert float(out[0]) < 0.3
    assert out[1] == "[]"


def test_trackers_are_imported_by_runs_that_are_tracked():
    code = (
        "import sys, secateurs.cli, secateurs.compare, secateurs.recipes.tracking; "
        "print(sorted({'mlflow', 'wandb', 'tensorboard'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_unknown_names_fail_as_usual():
    with pytest.raises(AttributeError, match="nothing_here"):
        secateurs.nothing_here  # noqa: B018
