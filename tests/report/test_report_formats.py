"""Numbers as people read them."""

from __future__ import annotations

import doctest

import pytest

from secateurs.report import formats


def test_examples_in_the_documentation():
    assert doctest.testmod(formats).failed == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (4223, "4,223"),
        (99_999, "99,999"),
        (249_344, "0.249 M"),
        (999_999, "1.00 M"),
        (1.256e9, "1.26 G"),
    ],
)
def test_amount(value, expected):
    assert formats.amount(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0999999, "0.100"), (9.996, "10.0"), (-0.5, "−0.500"), (1e-6, "1.00×10⁻⁶"), (float("inf"), "∞"),
        (float("nan"), "not a number"), (123456, "123,456"),
    ],
)  # fmt: skip
def test_significant(value, expected):
    assert formats.significant(value) == expected


def test_sizes_times_and_changes():
    assert [formats.size(v) for v in (512, 68_760, 2_143_272)] == ["512 B", "68.8 kB", "2.14 MB"]
    assert [formats.duration(v) for v in (0.42, 31.2, 125, 7300)] == [
        "0.420 s",
        "31.2 s",
        "2 min 05 s",
        "2 h 02 min",
    ]
    assert [formats.points(v) for v in (0.0042, -0.0108, 0.00001)] == [
        "+0.42 points",
        "−1.08 points",
        "±0.00 points",
    ]
    assert formats.times(2, 1, "faster", "slower") == "2.0× faster"
    assert formats.times(1, 3, "faster", "slower") == "3.0× slower"
    assert formats.times(1, 1.001, "faster", "slower") == "the same"


def test_long_names_keep_both_ends():
    short = formats.shorten("encoder.layers.11.attention.output.dense", 20)
    assert len(short) == 20 and short.startswith("encoder") and short.endswith("put.dense")
