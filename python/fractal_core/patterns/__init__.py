"""Patterns by name: built in, from plug-ins, or registered here.

>>> import fractal_core as fc
>>> fc.pattern("window", radius=2).index_set(4, causal=True).nnz
9
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fractal_core.errors import DTypeError, FractalError
from fractal_core.patterns.base import PatternBase, adapt
from fractal_core.patterns.per_head import PerHead
from fractal_core.patterns.protocol import Pattern, check_span
from fractal_core.patterns.registry import PatternInfo, PatternRegistry
from fractal_core.patterns.spec import is_plain, parse_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Pattern",
    "PatternBase",
    "PatternInfo",
    "PatternRegistry",
    "PerHead",
    "check_span",
    "create",
    "info",
    "names",
    "parse",
    "per_head",
    "register",
    "unreadable",
]


_registry = PatternRegistry()


def names() -> list[str]:
    """Names of all patterns, sorted. Reads metadata only: no plug-in is imported."""
    return _registry.names()


def create(name: str, /, **params: object) -> PatternBase:
    """The pattern of a name; without parameters also of a text such as `window:radius=32|cantor:base=4`.

    Raises:
        PluginError: an unknown name, or a plug-in that did not load; says which distribution failed and why.
        InvalidArgumentError: a parameter that the pattern does not have, or a value out of its range.

    A pattern of a plug-in is wrapped in an adapter, which checks the sizes before each call of `index_set` and the
    result after it.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("name", type(name).__name__, "the name of a pattern")
    if not params and not is_plain(name):
        try:
            return parse(name)
        except FractalError:
            if name not in names():  # a plug-in may have any name
                raise
    return _registry.create(name, **params)


def parse(text: str) -> PatternBase:
    """The pattern that a text describes: `name:key=value,…`, joined by `|` (either) and `&` (both).

    Values are Python literals; `32x32` is a shape. `&` binds before `|`; brackets group.

    Raises:
        InvalidArgumentError: a text that is not of this form, and as `create`.
        PluginError: as `create`.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("text", type(text).__name__, "text")
    return parse_with(_registry.create, text)


def per_head(patterns: Sequence[Pattern | str]) -> PerHead:
    """A pattern for each query head of a `FractalAttention` layer.

    Args:
        patterns: one for each head, in order: pattern objects, names or specifications.

    Raises:
        DTypeError: no list, or something else than patterns in it.
        PluginError: as `create`.
    """
    if isinstance(patterns, str) or not isinstance(patterns, (list, tuple)):
        raise DTypeError("patterns", type(patterns).__name__, "a list of patterns, one for each head")
    return PerHead(tuple(create(one) if isinstance(one, str) else adapt(one) for one in patterns))


def unreadable() -> tuple[str, ...]:
    """Distributions whose metadata could not be read, each with the reason; they may declare more patterns."""
    return _registry.unreadable()


def info(name: str) -> PatternInfo:
    """Origin, summary and parameters of a name; a plug-in that does not load is reported, not raised.

    Raises:
        PluginError: an unknown name.
    """
    return _registry.info(name)


def register(name: str, factory: Callable[..., Pattern]) -> None:
    """Makes `factory(**params)` the pattern of a new name, for this process.

    Raises:
        PluginError: the name is taken.
    """
    _registry.register(name, factory)
