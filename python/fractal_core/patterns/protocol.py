"""What a pattern is: it names the keys of the last queries of a sequence of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from fractal_core.index_sets import IndexSet

__all__ = ["Pattern", "check_span"]


@runtime_checkable
class Pattern(Protocol):
    """What the package asks of a pattern; `PatternBase` gives all but `index_set`.

    An object with no more than `index_set` is a pattern, too. Missing members take a safe value: the name of its type,
    no parameters, keys that depend on the length, so that it cannot stream, no symmetry, no promise that a position
    attends to itself, any length, no bias. The package checks the arguments of `index_set` before the call and its
    result after it, so that an author need not.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""
        ...

    @property
    def params(self) -> Mapping[str, object]:
        """The parameters it was made with."""
        ...

    @property
    def length_dependent(self) -> bool:
        """Whether the keys of a position may change as the sequence grows; such a pattern cannot stream."""
        ...

    @property
    def symmetric(self) -> bool:
        """Whether, without `causal`, i attends to j exactly where j attends to i."""
        ...

    @property
    def includes_self(self) -> bool:
        """Whether every position attends to itself."""
        ...

    @property
    def length(self) -> int | None:
        """The one number of keys it is made for, or None for any."""
        ...

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions.

        Args:
            n_queries: number of queries, 1 to n_keys.
            n_keys: number of keys, by default as many as queries. The package always passes it.
            causal: leave out the keys after each query.
        """
        ...

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """Log-bias that the pattern adds to each key, (n_keys,) or (heads, n_keys) floating, or None."""
        ...


def check_span(n_queries: int, n_keys: int | None) -> tuple[int, int]:
    """Both counts, checked: 1 <= n_queries <= n_keys < 2^31; n_keys is n_queries unless given.

    Raises:
        InvalidArgumentError: an empty sequence, or more queries than keys.
        DTypeError: a count that is no integer.
    """
    n_queries = integer("n_queries", n_queries, 1, INT32_MAX)
    if n_keys is None:
        return n_queries, n_queries
    n_keys = integer("n_keys", n_keys, 1, INT32_MAX)
    if n_queries > n_keys:
        raise InvalidArgumentError("n_queries", n_queries, f"at most n_keys = {n_keys}: queries are the last positions")
    return n_queries, n_keys
