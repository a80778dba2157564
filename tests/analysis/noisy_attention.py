"""Attention of no model, for tests that need none."""

from __future__ import annotations

import numpy as np


def weights(heads: int, n: int, *, causal: bool = True, seed: int = 0, radius: int | None = None):
    """Softmax of noise, (heads, n, n), float64."""
    rng = np.random.default_rng(seed)
    scores = 2 * rng.normal(size=(heads, n, n))
    keys, queries = np.arange(n), np.arange(n)[:, None]
    cells = (keys <= queries) if causal else np.ones((n, n), bool)
    if radius is not None:
        cells = cells & (np.abs(keys - queries) <= radius)
    found = np.where(cells, np.exp(scores), 0.0)
    return found / found.sum(axis=-1, keepdims=True)
