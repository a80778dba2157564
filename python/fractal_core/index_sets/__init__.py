"""Which keys each query attends to: the one currency of the package."""

from __future__ import annotations

from fractal_core.index_sets.plan import Plan
from fractal_core.index_sets.report import Reach, Report
from fractal_core.index_sets.set import IndexSet
from fractal_core.index_sets.stack import IndexSetStack

__all__ = ["IndexSet", "IndexSetStack", "Plan", "Reach", "Report"]
