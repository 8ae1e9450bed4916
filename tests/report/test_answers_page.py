"""The section on answers: what is shown, what is left out, and classes by the thousand."""

from __future__ import annotations

from secateurs.records import Fidelity, Measured, Record, TrainBlock
from secateurs.report import render


def record(**given: object) -> Record:
    pruned = Measured(
        accuracy=0.8, class_accuracy=[0.9, None, 0.5], calibration_error=0.031, membership_auc=0.52,
        membership_interval=(0.5, 0.54),
    )  # fmt: skip
    dense = Measured(accuracy=0.9, class_accuracy=[0.88, None, 0.92], calibration_error=0.02, membership_auc=0.6)
    faithful = Fidelity(agreement=0.85, kl=0.12, flipped=12, gained=3, worst_drop=0.42, worst_drop_class=2)
    base = {"method": "taylor", "model": "m", "data": "d", "budget": {"macs": 0.5}, "dense": dense, "pruned": pruned}
    return Record(
        **{
            **base,
            "fidelity": faithful,
            "peak_memory": 12_000_000,
            "joules": 340.0,
            "train": TrainBlock(steps={"total": 3}),
            **given,
        }
    )


def test_what_the_answers_tell_is_on_the_page() -> None:
    page = render(record())
    for shown in (
        "largest drop",
        "85.0%",
        "12 that were right became wrong",
        "AUC 0.520, 0.500 to 0.540",
        "dense 0.600",
    ):
        assert shown in page, shown
    assert "3.1% (dense 2.0%)" in page and "12.0 MB" in page and "340 J" in page and "−42.0 points" in page


def test_without_a_dense_network_nothing_is_held_against_it() -> None:
    page = render(record(dense=Measured(), fidelity=None))
    assert "no dense network" in page and "largest drop" not in page and "agreement" not in page


def test_a_run_that_was_not_examined_has_no_such_section() -> None:
    page = render(record(pruned=Measured(params=3), fidelity=None))
    assert "What the answers tell" not in page


def test_of_many_classes_those_that_lost_most() -> None:
    before = [0.9] * 1000
    after = [0.9 - (i % 100 == 7) * 0.3 for i in range(1000)]
    page = render(record(pruned=Measured(class_accuracy=after), dense=Measured(class_accuracy=before)))
    assert "The 20 of 1000 classes that lost most" in page and page.count("−30.0 points") == 10
