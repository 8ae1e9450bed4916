"""The examination of a finished run: the test set is read once, by all of its networks together.

It may come later than the run itself: who tries settings looks at validation data, and only the chosen run is examined.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import artifact
from ..measure import (
    PREDICTIONS_FILE,
    calibration_error,
    class_accuracy,
    fidelity,
    losses,
    membership,
    write_predictions,
)
from ..records import Measured, Record
from ..spec import RunConfig, derive_seed
from ..storage import load_tree
from ..structure import Surgery, replay
from ..training import Held, evaluate
from ..training.callback import logits
from ..zoo import Data, build_model, load_data

ARTIFACT = "artifact"
BATCH = 128  # on a CPU larger ones do not fit its caches, and take up to half as long again
ANSWERED = ("dense", "pruned")  # the networks whose answers are looked at closely


def examine(record: Record, data: Data, networks: Mapping[str, nn.Module], folder: Path) -> None:
    """Read the test set once and put what it tells of each network into the record; keep the answers in the folder."""
    batches = [(x, y) for x, y in data.test.batches(BATCH, epoch=None) if len(y)]
    labels = torch.cat([y for _, y in batches])
    answers = {name: _answers(networks[name], batches) for name in ANSWERED if name in networks}
    for name, network in networks.items():
        measured: Measured = getattr(record, name)
        if name in answers:
            measured.accuracy = float((answers[name].argmax(-1) == labels).double().mean())
            measured.loss = float(losses(answers[name], labels).mean())
        else:
            found = evaluate(network, Held(batches), BATCH)
            measured.accuracy, measured.loss = found.accuracy, found.loss
    inside = _members(data, len(labels), record.seed)
    seen = torch.cat([y for _, y in inside])
    for name, given in answers.items():
        measured = getattr(record, name)
        measured.class_accuracy = class_accuracy(given, labels, data.classes)
        measured.calibration_error = calibration_error(given, labels)
        own = losses(_answers(networks[name], inside), seen)
        measured.membership_auc, measured.membership_interval = membership(own, losses(given, labels))
    if "dense" in answers:
        record.fidelity = fidelity(answers["dense"], answers["pruned"], labels, data.classes)
    write_predictions(folder, answers, labels)
    record.files["predictions"] = PREDICTIONS_FILE


def _answers(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    network.eval()
    with torch.no_grad():
        return torch.cat([logits(network(x)).float() for x, _ in batches])


def _members(data: Data, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """At most about ``count`` training examples, drawn by the seed and not augmented."""
    size = min(BATCH, len(data.train))
    stream = data.train.batches(size, epoch=0, seed=derive_seed(seed, "members"), augment=False)
    return list(islice(stream, max(1, count // size)))


def read_test(out: str | Path) -> Record:
    """Examine a run that finished without it: its figures become those of a run that was examined at once. A run that
    was examined is left as it is.

    Raises:
        SecateursError: no finished run lies there, or its data cannot be loaded any more.
    """
    out = Path(out)
    record = Record.read(out)
    if record.pruned.accuracy is not None:
        return record
    config = RunConfig.model_validate(record.config)
    data = load_data(config.data, validation=config.validation, seed=config.seed)
    networks = {name: restored(out, config, data, name) for name in ("dense", "gated", "cut") if _kept(out, name)}
    examine(record, data, {**networks, "pruned": artifact.load(out / ARTIFACT)}, out)
    record.write(out)
    return record


def _kept(out: Path, name: str) -> bool:
    return (out / f"{name}.safetensors").exists()


def restored(out: Path, config: RunConfig, data: Data, name: str) -> nn.Module:
    """The network that a snapshot of a run holds."""
    tree = load_tree(out / f"{name}.safetensors")
    model = build_model(config.model, classes=data.classes, input_shape=data.input_shape, seed=config.seed)
    if tree["surgery"]:
        replay(model, Surgery.model_validate_json(tree["surgery"]))
    model.load_state_dict(tree["weights"])
    return model
