"""The density law in whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.rounds import density_after, deviation_bound, left_after, rounds_to


def test_by_hand():
    assert left_after(100, 0.2, 4) == [100, 80, 64, 52, 42]  # 20, 16, ⌊12.8⌋, ⌊10.4⌋ leave
    assert left_after(100, 0.2, 4, "ceil") == [100, 80, 64, 51, 40]
    assert left_after(4, 0.2, 3) == [4, 4, 4, 4] and left_after(4, 0.2, 5, "ceil") == [4, 3, 2, 1, 0, 0]
    assert left_after(100, 0.29, 1) == [100, 71]  # 0.29 * 100 is 28.999… in binary
    assert density_after(0.2, 3) == pytest.approx(0.512)
    assert rounds_to(0.512, 0.2) == 3 and rounds_to(0.511, 0.2) == 4 and rounds_to(1.0, 0.2) == 0
    assert rounds_to(0.1, 0.2) == 11  # 0.8^10 = 0.107
    assert rounds_to(0.3, 1.0) == 1


@given(st.integers(0, 10**6), st.integers(0, 100), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_whole_numbers_stay_near_the_law(total, hundredths, rounds):
    share = hundredths / 100
    law = float(total * (1 - Fraction(hundredths, 100)) ** rounds)
    bound = deviation_bound(share, rounds)
    slack = 1e-9 * max(1, total)
    assert -slack <= left_after(total, share, rounds)[-1] - law <= bound + slack
    assert -bound - slack <= left_after(total, share, rounds, "ceil")[-1] - law <= slack
    assert share == 0 or bound <= 1 / share


@given(st.integers(1, 99), st.integers(1, 99))
@settings(max_examples=200, deadline=None)
def test_no_fewer_rounds_would_do(hundredths, wanted):
    rounds = rounds_to(wanted / 100, hundredths / 100)
    left = 1 - Fraction(hundredths, 100)
    assert left**rounds <= Fraction(wanted, 100) < left ** (rounds - 1)


def test_what_makes_no_sense():
    for call in (lambda: density_after(1.5, 1), lambda: left_after(3, 0.1, -1), lambda: rounds_to(0.0, 0.2)):
        with pytest.raises(ValueError, match="must"):
            call()
    assert math.isclose(deviation_bound(0.0, 3), 3.0)
