"""Union and intersection of patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fractal_core.errors import InvalidArgumentError
from fractal_core.patterns.protocol import PatternBase

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from fractal_core.index_sets import IndexSet
    from fractal_core.patterns.protocol import Pattern

__all__ = ["Intersection", "Union"]


@dataclass(frozen=True, repr=False)
class _Pair(PatternBase):
    one: Pattern
    other: Pattern

    sign = ""

    def __post_init__(self) -> None:
        lengths = {_flag(p, "length", None) for p in (self.one, self.other)} - {None}
        if len(lengths) > 1:
            raise InvalidArgumentError(
                "other", f"a pattern for {max(lengths)} keys", f"one for {min(lengths)}, as here"
            )
        flags = {
            "name": f"{_title(self.one)}{self.sign}{_title(self.other)}",
            "length": next(iter(lengths), None),
            "length_dependent": any(_flag(p, "length_dependent", False) for p in (self.one, self.other)),
            "symmetric": all(_flag(p, "symmetric", False) for p in (self.one, self.other)),
        }
        for name, value in flags.items():
            object.__setattr__(self, name, value)

    @property
    def params(self) -> Mapping[str, object]:
        """None of its own: those of the two patterns stay with them."""
        return {}

    @property
    def spec(self) -> str:
        """The text that `fractal_core.patterns.parse` makes this pattern from."""
        parts = [(p.spec if isinstance(p, PatternBase) else _title(p), p) for p in (self.one, self.other)]
        grouped = [f"({text})" if self.sign == "&" and isinstance(p, Union) else text for text, p in parts]
        return self.sign.join(grouped)

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """The sum of the biases of both, or None where neither has one."""
        made = [p.bias(n_keys) for p in (self.one, self.other) if hasattr(p, "bias")]
        biases = [bias for bias in made if bias is not None]
        return sum(biases[1:], biases[0]) if biases else None

    def __repr__(self) -> str:
        return f"({self.one!r} {self.sign} {self.other!r})"


class Union(_Pair):
    """Keys of either pattern."""

    sign = "|"

    def __post_init__(self) -> None:
        super().__post_init__()
        includes = any(_flag(p, "includes_self", True) for p in (self.one, self.other))
        object.__setattr__(self, "includes_self", includes)

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of either pattern for the last `n_queries` of `n_keys` positions."""
        one = self.one.index_set(n_queries, n_keys, causal=causal)
        return one | self.other.index_set(n_queries, n_keys, causal=causal)


class Intersection(_Pair):
    """Keys of both patterns."""

    sign = "&"

    def __post_init__(self) -> None:
        super().__post_init__()
        includes = all(_flag(p, "includes_self", True) for p in (self.one, self.other))
        object.__setattr__(self, "includes_self", includes)

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of both patterns for the last `n_queries` of `n_keys` positions."""
        one = self.one.index_set(n_queries, n_keys, causal=causal)
        return one & self.other.index_set(n_queries, n_keys, causal=causal)


def _title(pattern: Pattern) -> str:
    return str(_flag(pattern, "name", "") or type(pattern).__name__)


def _flag(pattern: Pattern, name: str, default: object) -> Any:  # noqa: ANN401
    """A flag of a pattern that may be no more than an `index_set`."""
    return getattr(pattern, name, default)
