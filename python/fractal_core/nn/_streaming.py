"""When a layer can go on from a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.nn.patterns import grows_at_the_end

if TYPE_CHECKING:
    from fractal_core.patterns import PatternBase, PerHead

__all__ = ["check_streaming"]


def check_streaming(
    argument: str,
    cache: object,
    kind: type,
    *,
    causal: bool,
    setting: str = "causal",
    pattern: PatternBase | PerHead | None = None,
) -> None:
    """Refuse a cache that is of another kind, or whose layer reads later tokens.

    Args:
        argument: name of the cache.
        cache: what was given.
        kind: what it must be, a public class of `fractal_core.nn`.
        causal: whether no token sees a later one.
        setting: name of the argument that says so.
        pattern: which keys there are; a longer sequence must not change them.

    Raises:
        DTypeError: another kind.
        InvalidArgumentError: not causal, or a pattern that a longer sequence changes.
    """
    if not isinstance(cache, kind):
        raise DTypeError(argument, type(cache).__name__, f"a fractal_core.nn.{kind.__name__}")
    if not causal:
        raise InvalidArgumentError(argument, f"a cache with {setting}=False", f"{setting}=True")
    if pattern is not None and not grows_at_the_end(pattern):
        allowed = "a pattern that a longer sequence keeps, which says so by length_dependent = False"
        raise InvalidArgumentError(argument, f"the length-dependent pattern {pattern.name!r} ({pattern!r})", allowed)
