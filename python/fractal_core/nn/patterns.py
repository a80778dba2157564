"""What the layers need of a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core import patterns
from fractal_core.patterns.base import PatternBase, adapt

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["bias_of", "grows_at_the_end", "resolve"]


def resolve(pattern: Pattern | str) -> PatternBase:
    """A checked pattern: a name or specification through the registry, any object through the adapter."""
    return patterns.create(pattern) if isinstance(pattern, str) else adapt(pattern)


def grows_at_the_end(pattern: PatternBase) -> bool:
    """Whether the keys of a query stay the same as the sequence grows, as streaming decode needs."""
    return not pattern.length_dependent


def bias_of(pattern: PatternBase, n_keys: int) -> Tensor | None:
    """The pattern's own log-bias per key, (n_keys,) or (H, n_keys), or None."""
    values = pattern.bias(n_keys)
    return None if values is None else torch.as_tensor(values)
