"""What a pattern is: it names the keys of the last queries of a sequence of any length."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fractal_core._arguments import integer
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from fractal_core.index_sets import IndexSet, Report

__all__ = ["Pattern", "PatternBase", "check_span"]


@runtime_checkable
class Pattern(Protocol):
    """What the package asks of a pattern; `PatternBase` gives all but `index_set`."""

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
            n_keys: number of keys; as many as queries unless said.
            causal: leave out the keys after each query.
        """
        ...

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """Log-bias that the pattern adds to each key, (n_keys,) or (heads, n_keys) floating, or None."""
        ...


class PatternBase:
    """Base of the built-in patterns and a convenience for others: write `index_set`, override what differs.

    A frozen dataclass on top of it has its `params` from its fields. `|` and `&` make unions and intersections.
    """

    name: str = ""
    length_dependent: bool = False
    symmetric: bool = True
    includes_self: bool = True
    length: int | None = None

    @property
    def params(self) -> Mapping[str, object]:
        """The parameters it was made with, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)} if is_dataclass(self) else {}

    @property
    def spec(self) -> str:
        """The text that `fractal_core.patterns.parse` makes this pattern from."""
        params = ",".join(f"{name}={value!r}".replace(" ", "") for name, value in self.params.items())
        return f"{self.name}:{params}" if params else self.name

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        raise NotImplementedError

    def report(
        self, n_queries: int, n_keys: int | None = None, *, causal: bool = False, predict: bool = False
    ) -> Report:
        """Cost and reach of `index_set` with the same arguments; see `IndexSet.report`."""
        report = self.index_set(n_queries, n_keys, causal=causal).report(predict=predict)
        return replace(report, prefix_stable=not self.length_dependent)

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """No bias."""
        return None

    def __or__(self, other: Pattern) -> PatternBase:
        """Keys of either pattern."""
        from fractal_core.patterns.combine import Union

        return Union(self, _pattern(other))

    def __and__(self, other: Pattern) -> PatternBase:
        """Keys of both patterns."""
        from fractal_core.patterns.combine import Intersection

        return Intersection(self, _pattern(other))


def check_span(n_queries: int, n_keys: int | None) -> tuple[int, int]:
    """Both counts, checked: 1 <= n_queries <= n_keys < 2^31; n_keys is n_queries unless given.

    Raises:
        InvalidArgumentError: an empty sequence, or more queries than keys.
        DTypeError: a count that is no integer.
    """
    n_queries = integer("n_queries", n_queries, 1, 2**31 - 1)
    if n_keys is None:
        return n_queries, n_queries
    n_keys = integer("n_keys", n_keys, 1, 2**31 - 1)
    if n_queries > n_keys:
        raise InvalidArgumentError("n_queries", n_queries, f"at most n_keys = {n_keys}: queries are the last positions")
    return n_queries, n_keys


def _pattern(value: Pattern) -> Pattern:
    if not callable(getattr(value, "index_set", None)):
        raise DTypeError("other", type(value).__name__, "a pattern")
    return value
