"""What attention gives where a size is 0: nothing, or rows without keys, with zero gradients for all that went in.

It is what `torch.nn.functional.scaled_dot_product_attention` gives there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import KeyIndexError
from fractal_core.nn.modifiers import Sink

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fractal_core.nn._inputs import Inputs
    from fractal_core.nn.modifiers import Modifier

__all__ = ["attention_of_nothing", "checked_lists", "connected", "statistics_of_nothing"]


def connected(value: Tensor, tensors: Iterable[Tensor | None]) -> Tensor:
    """`value`, as a function of the tensors whose gradient by each of them is 0, whatever they hold."""
    for t in tensors:
        if t is not None:
            value = value + t.reshape(-1).narrow(0, 0, 0).sum().to(value.dtype)
    return value


def _differentiable(given: Inputs) -> tuple[Tensor | None, ...]:
    return given.q, given.k, given.v, given.key_bias, given.edge_bias


def checked_lists(lists: Tensor, n_keys: int) -> None:
    """Refuse values of lists of keys, which the kernel does not see."""
    if lists.ndim == 4 and lists.numel() and not torch.compiler.is_compiling():
        low, high = int(lists.min()), int(lists.max())
        if low < -1 or high >= n_keys:
            raise KeyIndexError("index_set", f"key {low if low < -1 else high}", f"-1 <= key < {n_keys}")


def attention_of_nothing(given: Inputs, modifiers: Sequence[Modifier] = ()) -> tuple[Tensor, Tensor]:
    """Output (B, H, Nq, Dv) of 0 and lse (B, H, Nq) of -inf, or of a sink."""
    assert given.v is not None
    checked_lists(given.keys, given.k.shape[2])
    parameters = (t for modifier in modifiers for t in vars(modifier).values() if isinstance(t, Tensor))
    rows, tensors = given.q.shape[:3], (*_differentiable(given), *parameters)
    out = given.q.new_zeros((*rows, given.v.shape[3]))
    lse = given.q.new_full(rows, -math.inf, dtype=accumulation_dtype(given.q.dtype))
    for modifier in modifiers:
        if isinstance(modifier, Sink):
            checks.shaped("modifiers", modifier.logits, (rows[1],))
            lse = modifier.logits.to(lse.dtype)[:, None].expand(rows)
    return connected(out, tensors), connected(lse, tensors)


def statistics_of_nothing(given: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entropy, maximum, mean distance (B, H, Nq) and column mass (B, H, Nk) of 0; the maximum has no gradient."""
    checked_lists(given.keys, given.k.shape[2])
    tensors, rows = _differentiable(given), given.q.shape[:3]
    zeros = given.q.new_zeros(rows, dtype=accumulation_dtype(given.q.dtype))
    mass = zeros.new_zeros((*rows[:2], given.k.shape[2]))
    return connected(zeros, tensors), zeros, connected(zeros, tensors), connected(mass, tensors)
