"""Rows, verdicts, crossovers, texts, the clock and the page: values, never times."""

from __future__ import annotations

import json
import math

import pytest
from fractal_core.errors import InvalidArgumentError

from benches.report import text
from benches.report.page import markdown
from benches.report.picture import draw
from benches.report.results import Crossover, Results, Row, Verdict
from benches.settings import Settings

MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "system": "Linux x86_64",
    "simd": "scalar",
    "threads": 2,
    "executor": "a pool",
    "python": "3.11.7",
    "versions": {"torch": "2.15.0"},
    "environment": {},
    "load": [0.5, 0.4, 0.3],
    "cores_obtained": 1.9,
    "rounds": "2 rounds each",
}


def row(value, bar=None, at_most=False, **more):
    return Row("a/b", "what, n = 1", "a peer", value=value, bar=bar, at_most=at_most, **more)


def results(*rows):
    return Results(dict(MACHINE), list(rows), [], 61.0)


@pytest.mark.parametrize(
    ("value", "bar", "at_most", "verdict"),
    [
        (3.0, 3.0, False, Verdict.MET),
        (2.9, 3.0, False, Verdict.SHORT),
        (3.0, 3.0, True, Verdict.MET),
        (3.1, 3.0, True, Verdict.SHORT),
        (math.inf, 256.0, True, Verdict.SHORT),
        (1.0, None, False, Verdict.SHOWN),
        (None, 3.0, False, Verdict.MISSING),
        (None, None, False, Verdict.MISSING),
    ],
)
def test_verdict(value, bar, at_most, verdict):
    assert row(value, bar, at_most).verdict is verdict


def test_margin_is_one_where_the_bar_is_just_met():
    assert row(6.0, 3.0).margin == 2.0
    assert row(6.0, 3.0, at_most=True).margin == 0.5
    assert row(0.0, 3.0, at_most=True).margin == math.inf
    assert row(None, 3.0).margin is None
    assert row(1.0).margin is None


def test_failed_are_short_and_missing():
    rows = [row(1.0, 2.0), row(2.0, 2.0), row(None), row(1.0)]
    assert results(*rows).failed == [rows[0], rows[2]]


def test_json_round_trip():
    run = results(row(1.5, 2.0, low=1.0, high=2.0, limit=3.0, note="why"), row(None, 1.0), row(math.inf, 1.0, True))
    run.take(Crossover("window", "dense", "float32", "forward", 96, (64, 96), (0.9, 1.1)))
    plain = json.loads(json.dumps(run.to_dict(), allow_nan=False))
    assert plain["rows"][0]["verdict"] == "short"
    assert Results.from_dict(plain) == run


@pytest.mark.parametrize(
    ("ratios", "tokens"),
    [((0.5, 1.1, 1.2), 2), ((1.1, 0.9, 1.2), 3), ((1.5, 1.5, 1.5), 1), ((2.0, 2.0, 1.0), None)],
)
def test_crossover_is_where_it_stays_faster(ratios, tokens):
    found = Crossover.of("p", peer="d", dtype="f", direction="x", scanned=(1, 2, 3), ratios=ratios)
    assert found.tokens == tokens


def test_settings():
    assert [Settings().count(7), Settings(quick=True).count(7), Settings(quick=True).count(2)] == [7, 3, 2]
    assert Settings(5, quick=True).count(7) == 5
    with pytest.raises(InvalidArgumentError, match="rounds: got 0"):
        Settings(0)


def test_texts_carry_units():
    found = row(256.0, 200.0, at_most=True, unit="tokens")
    assert [text.value(found), text.bar(found), text.limit(found), text.spread(found)] == [
        "256 tokens",
        "≤ 200 tokens",
        "–",
        "–",
    ]
    assert text.value(row(None)) == "–"
    assert text.milliseconds(row(2.0, ours_ms=1.0, peer_ms=2.0)) == "1 to 2 ms"


def test_page_has_every_row_and_says_what_is_missing():
    run = results(row(1.0, 2.0), row(None, 2.0, note="needs a compiler"), row(4.0))
    run.crossovers = [
        Crossover("window:radius=4|cantor", "SDPA dense", dtype, direction, tokens, (64, 128), (1.0, 2.0))
        for dtype, direction, tokens in [
            ("float32", "forward", 128),
            ("bfloat16", "forward", None),
            ("float32", "forward + backward", 64),
        ]
    ]
    page = markdown(run, picture="results.png")
    assert "0 of 2 are met." in page
    assert "| what, n = 1 | a peer | 1.00 × | – | – | ≥ 2.00 × | **short** |" in page
    assert "needs a compiler" in page
    assert "(results.png)" in page
    assert "| `window:radius=4 ∪ cantor` | SDPA dense | 128 | 64 or less | above 128 |" in page
    assert "1.0 minutes, 2 rounds each" in page
    assert "before 0.5 / 0.4 / 0.3" in page


def test_picture_is_a_png(tmp_path):
    path = draw(results(row(1.0, 2.0), row(None, 2.0), row(math.inf, 2.0, True)), tmp_path / "new" / "bars.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert draw(results(), tmp_path / "none.png").exists()
