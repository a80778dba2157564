"""What the layers ask of a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

import fractal_core as fc
from fractal_core.errors import DTypeError

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["bias_of", "grows_at_the_end", "resolve"]


def resolve(pattern: Pattern | str) -> Pattern:
    """A pattern object as it is; a name or specification through the registry."""
    if isinstance(pattern, str):
        return fc.pattern(pattern)
    if not callable(getattr(pattern, "index_set", None)):
        raise DTypeError("pattern", type(pattern).__name__, "a pattern (with `index_set`) or the name of one")
    return pattern


def grows_at_the_end(pattern: Pattern) -> bool:
    """Whether the keys of a query stay when the sequence grows, as streaming decode needs."""
    return not getattr(pattern, "length_dependent", False)


def bias_of(pattern: Pattern, n_keys: int) -> Tensor | None:
    """The pattern's own log-bias per key, (n_keys,) or (H, n_keys), or None."""
    bias = getattr(pattern, "bias", None)
    values = bias(n_keys) if callable(bias) else None
    return None if values is None else torch.as_tensor(values)
