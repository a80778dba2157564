"""The clock: the order of the calls and what is made of their times; never times."""

from __future__ import annotations

import pytest
from fractal_core.bench.clock import Times, interleaved, stays_faster


def test_times_are_medians_and_pairs():
    times = Times({"ours": [1.0, 2.0, 4.0], "peer": [10.0, 10.0, 12.0]})
    assert times.ratio("ours", "peer") == (5.0, 3.0, 10.0)
    assert times.ms("ours") == 2000.0


def test_calls_alternate_after_a_warm_up():
    seen = []
    interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 3)
    assert "".join(seen) == "abababab"


def test_short_calls_are_repeated_within_a_timing():
    seen = []
    interleaved({"a": lambda: seen.append("a")}, 2, least=1e-3)
    assert len(seen) > 4


@pytest.mark.parametrize(
    ("ratios", "found"), [((0.5, 1.1, 1.2), 2), ((1.1, 0.9, 1.2), 4), ((1.5, 1.5, 1.5), 1), ((2.0, 2.0, 1.0), None)]
)
def test_faster_is_where_it_stays_so(ratios, found):
    assert stays_faster((1, 2, 4), ratios) == found
