"""The answers to the test set, kept beside a run: what is asked of them later must not read the test set again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import RunError
from ..storage import atomic

PREDICTIONS_FILE = "predictions.safetensors"


def write_predictions(folder: str | Path, logits: Mapping[str, Tensor], labels: Tensor) -> Path:
    """Keep logits ``(n, classes)`` by network and labels ``(n,)``, in the order of the test set; atomic, float32."""
    from safetensors.torch import save_file

    path = Path(folder) / PREDICTIONS_FILE
    held = {name: value.float().cpu().contiguous() for name, value in logits.items()}
    with atomic(path) as part:
        save_file({**held, "labels": labels.long().cpu().contiguous()}, part)
    return path


def read_predictions(folder: str | Path) -> dict[str, Tensor]:
    """``pruned``, ``labels`` and, where the run has a dense network, ``dense``.

    Raises:
        RunError: the run kept none, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / PREDICTIONS_FILE
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RunError(
            f"no {PREDICTIONS_FILE} in {str(folder)!r}: its test set was not read, or the file was deleted"
        ) from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{str(path)!r} is damaged: {error}") from error
