"""Numbers as people read them: 4,223 parameters, 0.249 M MACs, 97.04%, 1.07 MB, 2.1× faster."""

from __future__ import annotations

import math

MISSING = "–"
MINUS = "−"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: float, digits: int = 3) -> str:
    """``value`` to so many significant digits, never with a power of ten between 1e-4 and 1e15.

    >>> significant(0.04817), significant(1234.5), significant(20.0), significant(2.6e-6)
    ('0.0482', '1,234', '20.0', '2.60×10⁻⁶')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else f"{MINUS}∞" if value < 0 else "not a number"
    if value == 0:
        return "0"
    if abs(value) < 1e-4 or abs(value) >= 1e15:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa.replace('-', MINUS)}×10{str(int(exponent)).translate(_RAISED)}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def plain(value: float | None) -> str:
    """A number without a unit, to three digits."""
    return MISSING if value is None else significant(value)


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return MISSING if value is None else f"{round(value):,}"


def amount(value: float | None) -> str:
    """A large count: exact below 100,000, then in millions or more, to three digits.

    >>> amount(4223), amount(249_344), amount(40_560_000), amount(4.1e9)
    ('4,223', '0.249 M', '40.6 M', '4.10 G')
    """
    if value is None:
        return MISSING
    if abs(value) < 1e5:
        return count(value)
    for scale, unit in ((1e12, "T"), (1e9, "G")):
        if abs(value) >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{significant(value / 1e6)} M"


def size(value: float | None) -> str:
    """Bytes in decimal units (1 kB = 1,000 B)."""
    if value is None:
        return MISSING
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{count(value)} B"


def milliseconds(value: float | None) -> str:
    """A latency."""
    return MISSING if value is None else f"{significant(value)} ms"


def duration(seconds: float | None) -> str:
    """Wall seconds, in the largest unit that reads well."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{significant(seconds, 3)} s" if seconds < 10 else f"{seconds:.1f} s"
    if seconds < 3600:
        return "{} min {:02d} s".format(*divmod(round(seconds), 60))
    return "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))


def percent(fraction: float | None, decimals: int = 2) -> str:
    """A fraction as a percentage."""
    return MISSING if fraction is None else f"{100 * fraction:.{decimals}f}%".replace("-", MINUS)


def points(difference: float, decimals: int = 2) -> str:
    """A difference of two fractions in percentage points, signed."""
    shown = round(100 * difference, decimals)
    sign = "+" if shown > 0 else MINUS if shown < 0 else "±"
    return f"{sign}{abs(shown):.{decimals}f} points"


def factor(value: float) -> str:
    """How many times: two digits, or whole numbers from ten up.

    >>> factor(2.13), factor(20.1)
    ('2.1×', '20×')
    """
    return f"{significant(value, 2)}×" if value < 9.95 else f"{value:,.0f}×"


def share(value: float | None) -> str:
    """A fraction of something that is itself ``1.00×``: ``0.53×``."""
    return MISSING if value is None else f"{significant(value) if value < 0.1 else f'{value:.2f}'}×"


def times(dense: float, pruned: float, more: str, less: str) -> str:
    """``2.1× faster``; ``1.3× slower`` when it is; ``the same`` within one percent."""
    if pruned <= 0 or dense <= 0:
        return MISSING
    ratio = dense / pruned
    if abs(ratio - 1) < 0.01:
        return "the same"
    return f"{factor(ratio)} {more}" if ratio > 1 else f"{factor(1 / ratio)} {less}"


def threads(number: int) -> str:
    """``one thread``, ``4 threads``."""
    return "one thread" if number == 1 else f"{number} threads"


def plural(number: int, word: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def shorten(text: str, length: int = 28) -> str:
    """Cut the middle out of a long name; both ends tell layers apart, the middle seldom does."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"
