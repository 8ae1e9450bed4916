"""Budgets, however they are written."""

from __future__ import annotations

import pytest

from secateurs import Budget
from secateurs.errors import BudgetError


@pytest.mark.parametrize(
    ("resource", "text", "amount"),
    [
        ("macs", "40%", 0.4),
        ("macs", "0.4", 0.4),
        ("params", "40M", 4e7),
        ("bytes", "200kB", 2e5),
        ("latency", "2ms", 2),
    ],
)
def test_amounts_are_read_in_python_as_on_the_command_line(resource: str, text: str, amount: float) -> None:
    budget = Budget(**{resource: text})
    plain = Budget(**{resource: amount})
    assert budget == plain == Budget.parse(f"{resource}={text}")
    assert budget.hash == plain.hash and repr(budget) == f"Budget({resource}={float(amount)!r})"


@pytest.mark.parametrize(
    ("resource", "given", "said"),
    [
        ("macs", 1.5, "macs=1.5: a fraction is at most 1"),
        ("macs", "150%", "a fraction is at most 1"),
        ("latency", "2", "a latency needs a unit"),
        ("latency", "1ns", "unknown unit 'ns'; known: ms, us, µs, s"),
        ("latency", "5%", "unknown unit '%'; known: ms"),
        ("params", "3x", "unknown unit 'x'; known: k, m, g, %"),
        ("macs", "much", "'much' is not an amount"),
        ("macs", [1], "should be a valid number"),
    ],
)
def test_what_is_no_amount(resource: str, given: object, said: str) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget(**{resource: given})
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["macs=0.123456789", "macs=40000000", "params=1234567", "bytes=0.3", "latency=2.5ms"])
def test_a_budget_is_shown_as_it_can_be_typed(text: str) -> None:
    assert str(Budget.parse(text)) == text
