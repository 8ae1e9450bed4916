"""One model, one side, in a process of its own: what is known is written after each stage.

python -m benchmarks.architectures.worker SIDE MODEL OUT.json
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .judge import Judged
from .models import Case, listed


def main(side: str, name: str, out: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    last: dict[str, object] = {}

    def say(row: dict[str, object]) -> None:
        last.update(row)
        part = out.with_suffix(".part")
        part.write_text(json.dumps(row), encoding="utf-8")
        os.replace(part, out)

    try:
        measurer(side)(listed()[name], say)
    except ModuleNotFoundError as error:
        say({"status": f"not installed: {error.name}", "stage": "done"})
    except Exception as error:
        text = str(error) if isinstance(error, Judged) else f"{type(error).__name__}: {error}"
        stage = last.get("stage", "start")
        say({**last, "status": f"error: {stage}: {text}", "traceback": traceback.format_exc(), "stage": "done"})


def measurer(side: str) -> Callable[[Case, Callable[[dict[str, Any]], None]], None]:
    """Imported when needed: one side's library says nothing about the other's."""
    if side == "secateurs":
        from .ours import measure

        return partial(measure, uses=True)
    from .rivals import measurers

    return measurers()[side]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
