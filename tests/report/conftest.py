"""Fixtures of the report's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _folder in (Path(__file__).parent, Path(__file__).parents[1]):  # the example record, the browser
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from browser import Browser  # noqa: E402
from example_record import example_record  # noqa: E402

from secateurs.records import Record  # noqa: E402


@pytest.fixture
def record() -> Record:
    """An equilibrium run on 768 players, every section filled."""
    return example_record()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the test is skipped, saying so, where there is none."""
    with Browser() as chromium:
        yield chromium
