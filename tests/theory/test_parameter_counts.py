"""Equal parameter counts: the formulas against counted networks, and the lists that the paper prints."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateurs.theory.parameter_counts import edges, nodes, share

WIDTHS = st.integers(1, 4000)


@given(WIDTHS, WIDTHS, WIDTHS, st.floats(0, 1))
def test_both_prunings_keep_equally_many_weights(d: int, h: int, o: int, part: float) -> None:
    """Counted: k_n·d + k_n·o weights of kept nodes; h·k_e + h·o where every neuron stays with k_e edges."""
    kept = part * h
    assert h * edges(kept, d, h, o) + h * o == pytest.approx(kept * d + kept * o, abs=1e-6 * h * (d + o))
    k_e = part * d
    assert nodes(k_e, d, h, o) * (d + o) == pytest.approx(h * (k_e + o), rel=1e-9)
    assert edges(nodes(k_e, d, h, o), d, h, o) == pytest.approx(k_e, abs=1e-6 * (d + o))


def test_teacher_and_student_as_printed() -> None:
    """Appendix E, N = 500, K = 6: k_e = (k_n(1 + N) − K)/K = 82.5, 166, 249.5, 333, 416.5, 500, halves rounded up."""
    found = [edges(k, 500, 6) for k in range(1, 7)]
    assert found == pytest.approx([(k * 501 - 6) / 6 for k in range(1, 7)])
    assert [math.floor(x + 0.5) for x in found] == [83, 166, 250, 333, 417, 500]


PRINTED = {
    "MNIST": (784, 500, [256, 287, 317, 348, 378, 409, 439, 470], [156, 235, 313, 392, 470, 548, 627, 705]),
    "CIFAR10": (3072, 1000, [397, 472, 548, 623, 699, 774, 849, 925], [614, 921, 1228, 1536, 1843, 2150, 2457, 2764]),
}


@pytest.mark.parametrize("name", PRINTED)
def test_real_data_as_printed(name: str) -> None:
    """Appendix F: k_e is 20 … 90% of the inputs rounded down, k_n the formula's rounded up (h₁ = h₂).

    So the printed k_e are *not* §5.2's formula at the printed k_n: they lie up to one neuron's share (d + h)/h of edges
    below it, and the network with pruned nodes has up to one neuron's weights more.
    """
    d, h, k_n, k_e = PRINTED[name]
    assert k_e == [p * d // 10 for p in range(2, 10)]
    assert k_n == [math.ceil(nodes(e, d, h, h)) for e in k_e]
    gaps = [edges(n, d, h, h) - e for n, e in zip(k_n, k_e)]
    assert all(0 <= gap < (d + h) / h for gap in gaps)
    expected = {"MNIST": 2.31, "CIFAR10": 3.46}[name]
    assert max(gaps) == pytest.approx(expected, abs=0.01)


def test_the_limit() -> None:
    """k_e/N → k_n/K as N grows (eq. 4)."""
    for n in (10**3, 10**6, 10**9):
        assert edges(2, n, 6) / n == pytest.approx(share(2, 6), abs=2 / n)


def test_negative_and_refused() -> None:
    assert edges(0, 500, 6) == -1 and edges(100, 784, 500, 500) < 0 < edges(200, 784, 500, 500)
    for call in (lambda: edges(7, 500, 6), lambda: nodes(501, 500, 6), lambda: edges(1, 0, 6), lambda: share(1, 0)):
        with pytest.raises(ValueError, match="must be"):
            call()
