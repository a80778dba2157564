"""Measurements of this package against its peers: ratios of medians within one run, never times.

Each measurement runs ours and a peer's call in turn, gives rows with a spread, and holds those that have a bar to it.
A peer that cannot be measured is a row that says why.
"""

from __future__ import annotations

from fractal_core.bench.results import Results, Row, Verdict
from fractal_core.bench.runner import MEASUREMENTS, Measurement, run
from fractal_core.bench.settings import Settings

__all__ = ["MEASUREMENTS", "Measurement", "Results", "Row", "Settings", "Verdict", "run"]
