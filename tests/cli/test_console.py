"""Figures as people read them."""

from __future__ import annotations

import math

import pytest
from fractal_core.cli.console import digits


@pytest.mark.parametrize(
    ("x", "shown"), [(0.123, "0.12"), (1.0, "1.00"), (12.34, "12.3"), (123.4, "123"), (math.inf, "none")]
)
def test_numbers_have_three_digits(x, shown):
    assert digits(x) == shown
