"""Attention to the union of disjoint sets of keys, from the attention to each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["merge_attentions", "merged"]


def merge_attentions(
    outputs: Sequence[Tensor],
    lse_tensors: Sequence[Tensor],
    torch_compile: bool = True,
    use_autograd_fix: bool = True,
) -> tuple[Tensor, Tensor]:
    """Merge attentions of the same queries to disjoint sets of keys: what attention to all of those keys gives.

    With the name and arguments of `natten.merge_attentions`. out = sum_i exp(lse_i - lse) out_i, lse = log sum_i exp
    lse_i. Gradients are those of this formula, through the outputs and the lses. A query without a key in any part has
    output 0, lse -inf and gradient 0.

    Args:
        outputs: two or more (B, N, H, D), of one dtype: float32, float64, bfloat16 or float16.
        lse_tensors: as many (B, N, H), float32 or float64, natural log-sum-exps; -inf where a query has no key.
        torch_compile: without effect.
        use_autograd_fix: without effect: gradients are right either way.

    Returns:
        (B, N, H, D) in the dtype of the outputs, and (B, N, H), float32 (float64 for float64).

    Raises:
        ShapeError: fewer than two outputs, another number of lses, or shapes that do not fit together.
        DTypeError: an argument that is no sequence of tensors, or outputs of different dtypes.
        InvalidArgumentError: a tensor that is not on the CPU.
    """
    del torch_compile, use_autograd_fix
    outputs, lses = _tensors("outputs", outputs), _tensors("lse_tensors", lse_tensors)
    if len(outputs) < 2:
        raise ShapeError("outputs", f"{len(outputs)} of them", "two or more")
    if len(lses) != len(outputs):
        raise ShapeError("lse_tensors", f"{len(lses)} of them", f"one for each of the {len(outputs)} outputs")
    shape = outputs[0].shape
    if len(shape) != 4:
        raise ShapeError("outputs", tuple(shape), "4 dimensions: (B, N, H, D)")
    for out, lse in zip(outputs, lses, strict=True):
        if out.dtype != outputs[0].dtype:
            raise DTypeError("outputs", out.dtype, f"the dtype of the first, {outputs[0].dtype}")
        if out.shape != shape:
            raise ShapeError("outputs", tuple(out.shape), f"the shape of the first, {tuple(shape)}")
        if lse.shape != shape[:3]:
            raise ShapeError("lse_tensors", tuple(lse.shape), f"{tuple(shape[:3])}, that of the outputs without D")
    return merged(outputs, lses)


def merged(outputs: Sequence[Tensor], lses: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`merge_attentions` of checked tensors, (..., D) and (...)."""
    exact = accumulation_dtype(outputs[0].dtype)
    parts = torch.stack([lse.to(exact) for lse in lses])
    # torch's logsumexp has the gradient NaN where all are -inf
    largest = parts.detach().amax(0)
    terms = (parts - largest.masked_fill(largest == -torch.inf, 0.0)).exp()
    total = terms.sum(0)
    empty = total == 0.0
    total = total.masked_fill(empty, 1.0)
    weights = (terms / total).unsqueeze(-1)
    out = sum(
        (o.to(exact) * w for o, w in zip(outputs[1:], weights[1:], strict=True)), outputs[0].to(exact) * weights[0]
    )
    return out.to(outputs[0].dtype), (largest + total.log()).masked_fill(empty, -torch.inf)


def _tensors(name: str, given: Sequence[Tensor]) -> list[Tensor]:
    if isinstance(given, Tensor) or not isinstance(given, (list, tuple)):
        raise DTypeError(name, type(given).__name__, "a list or tuple of tensors")
    return [checks.tensor(name, t) for t in given]
