"""A pattern for each head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import DTypeError, ShapeError
from fractal_core.index_sets import IndexSet, IndexSetStack
from fractal_core.patterns.base import PatternBase, adapt

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["PerHead"]


@dataclass(frozen=True, repr=False)
class PerHead:
    """Patterns of the heads of a layer, in order.

    Attributes:
        patterns: one for each query head.
    """

    patterns: tuple[PatternBase, ...]

    def __post_init__(self) -> None:
        """Adapt the patterns.

        Raises:
            DTypeError: no list of patterns, or none in it.
        """
        if not self.patterns:
            raise DTypeError("patterns", repr(self.patterns), "a list of patterns, one for each head")
        adapted = tuple(adapt(pattern, argument="patterns") for pattern in self.patterns)
        object.__setattr__(self, "patterns", adapted)

    @property
    def name(self) -> str:
        """The names of the patterns."""
        return ", ".join(pattern.name for pattern in self.patterns)

    @property
    def length_dependent(self) -> bool:
        """Whether any of them is."""
        return any(pattern.length_dependent for pattern in self.patterns)

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSetStack:
        """The keys of the last `n_queries` of `n_keys` positions, (1, H); equal patterns are asked once."""
        made: dict[str, IndexSet] = {}
        for pattern in self.patterns:
            if pattern.spec not in made:
                made[pattern.spec] = pattern.index_set(n_queries, n_keys, causal=causal)
        return IndexSet.stack([made[pattern.spec] for pattern in self.patterns])

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """The biases of keys by head, (H, n_keys), or None where no pattern has one.

        Raises:
            ShapeError: a pattern has a bias for each head by itself.
        """
        n_keys = integer("n_keys", n_keys, 0, INT32_MAX)
        biases = [pattern.bias(n_keys) for pattern in self.patterns]
        if all(bias is None for bias in biases):
            return None
        rows = [np.zeros(n_keys) if bias is None else np.asarray(bias) for bias in biases]
        for row in rows:
            if row.shape != (n_keys,):
                raise ShapeError("bias", row.shape, f"({n_keys},), of a pattern for one head")
        return np.stack(rows)

    def __repr__(self) -> str:
        return f"per_head([{', '.join(repr(pattern.spec) for pattern in self.patterns)}])"
