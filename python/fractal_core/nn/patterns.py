"""What the layers need of a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core import patterns
from fractal_core.errors import InvalidArgumentError
from fractal_core.patterns.base import PatternBase, adapt
from fractal_core.patterns.per_head import PerHead

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["bias_of", "grows_at_the_end", "resolve", "resolve_one"]


def resolve(pattern: Pattern | PerHead | str) -> PatternBase | PerHead:
    """A checked pattern: a name or specification through the registry, any object through the adapter."""
    if isinstance(pattern, PerHead):
        return pattern
    return patterns.create(pattern) if isinstance(pattern, str) else adapt(pattern)


def resolve_one(pattern: Pattern | str) -> PatternBase:
    """`resolve` for layers whose heads share a pattern.

    Raises:
        InvalidArgumentError: patterns that differ by head.
    """
    found = resolve(pattern)
    if isinstance(found, PerHead):
        raise InvalidArgumentError("pattern", repr(found), "one pattern for all heads")
    return found


def grows_at_the_end(pattern: PatternBase | PerHead) -> bool:
    """Whether the keys of a query stay the same as the sequence grows, as streaming decode needs."""
    return not pattern.length_dependent


def bias_of(pattern: PatternBase | PerHead, n_keys: int) -> Tensor | None:
    """The pattern's own log-bias per key, (n_keys,) or (H, n_keys), or None."""
    values = pattern.bias(n_keys)
    return None if values is None else torch.as_tensor(values)
