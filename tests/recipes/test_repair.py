"""Repairs right after the cut, in runs of every kind: what is repaired, how it is judged, when a run ends with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateurs import Budget, Record, RunConfig, build_model, prune
from secateurs.artifact import load
from secateurs.errors import RunError
from secateurs.partition import players
from secateurs.recipes import TrainOptions, find_method, flagship, read_options
from secateurs.recipes import run as run_module
from secateurs.recipes.calibration import training_batches
from secateurs.recipes.repair import Repair
from secateurs.recovery import RECOVERIES, Removal, Rung
from secateurs.report import render
from secateurs.spec import derive_seed
from secateurs.storage import load_tree
from secateurs.structure import Surgery, replay
from secateurs.training import Trainer, evaluate
from secateurs.zoo import Data, TensorSplit, load_data

MODEL = """
from torch import nn
def build():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)
    )
"""
Run = tuple[Record, Path, list[Data]]


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Carries out a run of two epochs: its record, its folder, and the data that it opened."""
    (tmp_path / "mine.py").write_text(MODEL)
    opened: list[Data] = []

    def watched(*args: Any, **kw: Any) -> Data:
        opened.append(load_data(*args, **kw))
        return opened[-1]

    monkeypatch.setattr(run_module, "load_data", watched)

    def run(
        method: str,
        recovery: Any,
        *,
        granularity: str = "channel",
        reference: str = "none",
        epochs: int = 2,
        folder: str = "run",
        resume: bool = False,
        budget: dict[str, float] | None = None,
        **options: Any,
    ) -> Run:
        config = RunConfig(
            model=f"{tmp_path / 'mine.py'}:build",
            data="digits",
            budget=Budget(**(budget or {"params": 0.4})),
            method=method,
            epochs=epochs,
            batch_size=64,
            seed=5,
            granularity=granularity,
            reference=reference,
            options={"recovery": recovery, **options},
        )
        return prune(config, tmp_path / folder, progress=False, resume=resume), tmp_path / folder, opened

    return run


def restored(out: Path, label: str, data: Data) -> tuple[nn.Module, Surgery | None]:
    """The network of a snapshot, and all that had been cut by then."""
    tree = load_tree(out / f"{label}.safetensors")
    surgery = Surgery.model_validate_json(tree["surgery"]) if tree["surgery"] else None
    model = build_model(f"{out.parent / 'mine.py'}:build", classes=10, input_shape=data.input_shape, seed=5)
    if surgery is not None:
        replay(model, surgery)
    model.load_state_dict(tree["weights"])
    return model.eval(), surgery


def by_hand(record: Record, out: Path, data: Data, names: list[str]) -> dict[str, float]:
    """Validation accuracies of the network before the cut, after it, and repaired, from the run's own snapshots."""
    (before, earlier), (cut, whole) = restored(out, "gated", data), restored(out, "cut", data)
    since = whole.since(earlier) if whole is not None and earlier is not None else whole
    masks = None
    if whole is None:
        found = players(before, data.example_inputs(2), "weight")
        assert record.players is not None and not record.players.sampled
        masks = found.entries(torch.tensor(record.players.kept))
    stream = data.train.batches(64, epoch=0, seed=derive_seed(5, "recovery"), drop_last=True, augment=False)
    batches = [batch for _, batch in zip(range(16), stream)]
    repaired = Rung(tuple(RECOVERIES[name]() for name in names))(cut, Removal(before, since, masks), batches)
    networks = {"before": before, "none": cut, "+".join(names): repaired}
    return {name: evaluate(model, data.validation).accuracy for name, model in networks.items()}


CASES = [
    ("magnitude", "channel", {}),
    ("magnitude", "weight", {}),
    ("equilibrium", "channel", {"compact": True}),
    ("equilibrium", "weight", {}),
    ("gradual", "weight", {"every": 2}),
    ("rigl", "weight", {"every": 5}),
    ("lr-rewinding", "channel", {"levels": 2}),
    ("imp-finetune", "weight", {"levels": 1}),
    ("concave", "channel", {"levels": 1, "restart": "keep"}),
    ("early-bird", "channel", {"look": 0.1}),
    ("snip", "weight", {}),
]


@pytest.mark.filterwarnings("ignore:early-bird will look")
@pytest.mark.parametrize(("method", "granularity", "options"), CASES, ids=lambda case: str(case))
def test_a_chain_repairs_what_the_cut_took_from_the_network_just_before_it(
    method: str, granularity: str, options: dict[str, Any], carried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flagship, "PATIENCE", 2)
    monkeypatch.setattr(flagship, "LOOK_EVERY", 3)
    names = ["reconstruct", "batchnorm"]
    record, out, (data,) = carried(method, ",".join(names), granularity=granularity, **options)
    expected = by_hand(record, out, data, names)
    rows = {row.name: row for row in record.recovery}
    assert list(rows) == [n for n in ("before", "earlier", "none", "+".join(names), "finetune") if n in rows]
    assert {name: rows[name].accuracy for name in expected} == pytest.approx(expected, abs=1e-9)
    assert rows["+".join(names)].kept and rows["+".join(names)].seconds > 0
    assert rows["finetune"].kept and rows["finetune"].accuracy == record.history[-1].accuracy
    assert data.test_reads == 1 and record.train.steps["total"] == 2 * (len(data.train) // 64)
    if granularity == "weight":  # what left has stayed away
        tree = load_tree(out / "cut.safetensors")["weights"]
        pruned = load(out / "artifact").state_dict()
        assert all(not pruned[n][t == 0].any() for n, t in tree.items() if n.endswith("weight") and t.dim() == 2)


def test_a_compacted_network_is_the_one_before(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where groups left during training, the cut's own surgery begins at the shapes that were left."""
    monkeypatch.setattr(flagship, "PATIENCE", 2)
    monkeypatch.setattr(flagship, "LOOK_EVERY", 3)
    record, out, (data,) = carried("equilibrium", "reweight", epochs=4, budget={"params": 0.2})
    earlier = restored(out, "gated", data)[1]
    assert earlier is not None and earlier.kept  # some had left
    assert by_hand(record, out, data, ["reweight"])["reweight"] == pytest.approx(record.recovery[-2].accuracy, abs=1e-9)


@pytest.mark.parametrize("method", ["magnitude", "equilibrium", "imp-finetune"])
def test_nothing_left_to_recover_ends_the_run(method: str, carried: Any) -> None:
    options = {"levels": 1} if method == "imp-finetune" else {}
    record, out, (data,) = carried(method, "auto", tolerance=0.99, **options)
    assert [row.name for row in record.recovery if row.name != "earlier"] == ["before", "none"]
    assert record.recovery[-1].kept and record.repaired is record.recovery[-1]
    steps = dict(record.train.steps)
    total = steps.pop("total")
    assert "recovery" not in steps and sum(steps.values()) == total < 2 * (len(data.train) // 64)
    assert any(f"the last {2 * (len(data.train) // 64) - total} of" in note for note in record.notes)
    cut, pruned = load_tree(out / "cut.safetensors")["weights"], load(out / "artifact").state_dict()
    assert all(torch.equal(cut[name], pruned[name]) for name in cut)
    assert record.history[-1].step == total and record.history[-1].accuracy == record.recovery[-1].accuracy
    assert data.test_reads == 1


def test_training_goes_on_where_validation_has_not_recovered(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is the best network before the cut, the rungs are tried in order, and training is the last."""
    rungs = tuple(Rung((RECOVERIES[name](),)) for name in ("batchnorm", "bias"))
    monkeypatch.setattr("secateurs.recipes.repair.LADDER", (*rungs, dataclasses.replace(rungs[0], goes_on=True)))
    record, _, (data,) = carried("random", "auto", tolerance=0.0, budget={"params": 0.1}, epochs=3)
    names = [row.name for row in record.recovery if row.name != "earlier"]
    assert names == ["before", "none", "batchnorm", "bias", "finetune"]
    kept = [row.accuracy for row in record.recovery if row.kept]
    assert kept == sorted(kept) and "recovery" in record.train.steps
    assert record.train.steps["total"] == 3 * (len(data.train) // 64)
    before = max(row.accuracy for row in record.recovery if row.is_reference)
    assert all(row.accuracy < before for row in record.recovery if row.name in ("none", "batchnorm", "bias"))


def test_training_that_does_worse_is_not_kept(carried: Any) -> None:
    record, out, (data,) = carried("random", "auto", tolerance=0.0, recovery_lr=30.0, optimizer="adam", epochs=3)
    last = record.recovery[-1]
    assert last.name == "finetune" and not last.kept and last.accuracy < record.repaired.accuracy
    assert evaluate(load(out / "artifact"), data.validation).accuracy == pytest.approx(record.repaired.accuracy)


def test_training_with_a_teacher_is_called_so(carried: Any) -> None:
    record, *_ = carried("magnitude", "batchnorm", distill=0.5, reference="given")
    assert record.recovery[-1].name == "distill"


@pytest.mark.filterwarnings("ignore:early-bird will look")
@pytest.mark.parametrize("method", ["gradual", "early-bird", "snip", "magnitude"])
def test_training_that_is_no_recovery_is_never_left_out(method: str, carried: Any) -> None:
    """Of rules that go on, of tickets, and of a network that was never trained."""
    options = {"cut": 0.0} if method == "magnitude" else {}
    record, _, (data,) = carried(method, "auto", tolerance=0.99, **options)
    assert record.recovery[-1].name == "finetune"
    assert record.train.steps["total"] == 2 * (len(data.train) // 64)


def test_a_network_that_came_trained_needs_no_step(carried: Any) -> None:
    record, _, (data,) = carried("magnitude", "auto", tolerance=0.99, cut=0.0, reference="given")
    assert record.train.steps == {"total": 0} and data.test_reads == 1
    assert "Repairs after the cut" in render(record)


def test_a_run_that_ended_early_and_was_stopped_before_its_record(
    carried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, folder, _ = carried("magnitude", "auto", tolerance=0.99)

    def stop(*args: Any, **kw: Any) -> Record:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "finish", stop)
        with pytest.raises(Exception, match="stopped between two trainings"):
            carried("magnitude", "auto", tolerance=0.99, folder="again")
    tree = load_tree(folder.parent / "again" / "checkpoint.safetensors")
    assert tree["ended"] and tree["step"] == whole.train.steps["total"]
    with monkeypatch.context() as patch:  # nothing is trained or repaired again
        patch.setattr("secateurs.recipes.repair.carry_out", stop)
        again, *_ = carried("magnitude", "auto", tolerance=0.99, folder="again", resume=True)
    for record in (whole, again):
        for row in record.recovery:
            row.seconds = 0.0
    assert again.recovery == whole.recovery and again.history == whole.history and again.notes == whole.notes
    assert again.train.steps == whole.train.steps and again.pruned.accuracy == whole.pruned.accuracy


def test_what_is_asked_is_checked_before_training(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("imp", "imp-reinit", "concave"):
        with pytest.raises(RunError, match=r"restart='re.*' takes them back.*restart=keep"):
            carried(method, "auto")
    with pytest.raises(RunError, match=r"unknown recovery 'batchnrm'; did you mean 'batchnorm'\?"):
        carried("magnitude", "batchnrm")
    with pytest.raises(RunError, match="'auto' tries them by itself"):
        carried("magnitude", "auto,batchnorm")
    with pytest.raises(RunError, match="option recovery=3"):
        carried("magnitude", 3)

    def unvalidated(*args: Any, **kw: Any) -> Data:
        data = load_data(*args, **kw)
        data.validation.x, data.validation.y = data.validation.x[:0], data.validation.y[:0]  # type: ignore[attr-defined]
        return data

    monkeypatch.setattr(run_module, "load_data", unvalidated)
    with pytest.raises(RunError, match=r"goes by validation accuracy.*'digits' hold out no example"):
        carried("magnitude", "auto")


def test_ways_of_writing_it() -> None:
    kind = find_method("magnitude").options
    given = ("reweight,batchnorm", ["reweight", "batchnorm"], ("reweight, batchnorm",))
    assert {read_options(kind, "magnitude", {"recovery": g}).recovery for g in given} == {("reweight", "batchnorm")}
    assert read_options(kind, "magnitude", {}).recovery == () == read_options(kind, "m", {"recovery": ""}).recovery


def test_batches_are_drawn_from_all_of_the_training_data_and_not_augmented() -> None:
    """Examples are numbered, and stored by class, as folders of images are."""
    x = torch.arange(200.0).view(200, 1, 1, 1).expand(200, 1, 4, 4).clone()
    split = TensorSplit(x, torch.arange(200) // 20, augment="crop-flip")
    data = Data("numbers", 10, (1, 4, 4), "0" * 64, split, split, split)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    trainer = Trainer(model, data, batch_size=32, seed=3, epochs=1, progress=False)
    batches = training_batches(trainer, 3, "recovery")
    assert [len(y) for _, y in batches] == [32] * 3
    for images, labels in batches:
        assert torch.equal(images, images[:, :, :1, :1].expand_as(images))  # a crop would have padding
        assert torch.equal((images[:, 0, 0, 0] / 20).long(), labels)
    labels = torch.cat([y for _, y in batches])
    assert len(labels.unique()) == 10
    assert len(training_batches(trainer, 100, "recovery")) == 6
    again = training_batches(trainer, 3, "recovery")
    assert all(torch.equal(a, b) for one, two in zip(batches, again) for a, b in zip(one, two))


@pytest.mark.parametrize(("earlier", "recovered"), [(None, True), (0.0, True), (0.45, True), (0.9, False)])
def test_an_earlier_epoch_that_was_better_is_the_one_to_reach(earlier: float | None, recovered: bool) -> None:
    """All examples are of class 0, the network says so for half of them: 0.5, and nothing can be cut from it."""
    x = torch.ones(64, 1, 2, 2) * torch.tensor([1.0, -1.0]).repeat(32)[:, None, None, None]
    split = TensorSplit(x, torch.zeros(64))
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.tensor([[1.0] * 4, [-1.0] * 4])  # type: ignore[union-attr]
    trainer = Trainer(model, Data("half", 2, (1, 2, 2), "0" * 64, split, split, split), batch_size=32, seed=0, epochs=1)
    repair = Repair(TrainOptions(recovery="auto", tolerance=0.25))  # type: ignore[arg-type]
    before = repair.remember(trainer.model)
    assert before is not None
    repair.carry_out(trainer, Removal(before), earlier)
    assert repair.recovered == recovered and repair.rows[0].accuracy == 0.5
    assert [row.name for row in repair.rows if row.is_reference] == ["before"] + ["earlier"] * (not recovered)
