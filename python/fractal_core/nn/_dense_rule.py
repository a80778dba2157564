"""Where torch's own dense attention is faster than the kernel of this package: measured, and said in one place.

`make bench` measures training steps on either side of this rule (measurement `dense`); docs/attention.md has it in
words. What a call costs beyond its arithmetic decides at small sizes; at large ones, masks with holes, whose backward
pass holds gradients of all keys for each chunk of queries, and bfloat16 gradients, which torch multiplies as bfloat16
and this kernel as float32.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fractal_core.nn._dense_inputs import DenseInputs
    from fractal_core.nn._dense_masks import MaskPlan

__all__ = ["LONG", "LONG_BFLOAT16", "LONG_MASKED", "SHORT", "SMALL", "SPARSE", "torch_is_faster"]

SMALL = 1 << 25
"""B H L S (E + Ev) below which a call is over before its overhead is."""
SHORT = 16
"""Queries below which tiles stay empty, unless query heads share key heads."""
LONG = 1 << 20
"""S E of a training step up to which this kernel was measured, and not slower."""
LONG_MASKED = 1 << 18
"""S E of a training step under a mask above which the gradients of its chunks leave the cache."""
LONG_BFLOAT16 = 1 << 16
"""The same for bfloat16 without causality."""
SPARSE = 0.6
"""Share of the dense product below which a mask saves more than its values cost."""


def torch_is_faster(given: DenseInputs, causal: bool, plan: MaskPlan | None = None) -> str | None:
    """Why torch's own attention is expected to be faster; None if it is not. Without a plan, of what sizes alone say.

    A mask with values is judged when it is planned.
    """
    batch, heads, n_queries, width = given.q.shape
    kv_heads, n_keys = given.k.shape[1:3]
    dtype, share = given.q.dtype, _share(given, causal, plan)
    work = batch * heads * n_queries * n_keys * (width + given.v.shape[3])
    values = plan is not None and plan.has_bias
    dense = not causal and share > SPARSE
    long = LONG if given.mask is None else LONG_MASKED
    if dtype == torch.bfloat16 and not causal:
        long = LONG_BFLOAT16
    slower = {
        "small": work < SMALL or (n_queries < SHORT and kv_heads == heads),
        "bfloat16 in matrix tiles": dtype == torch.bfloat16 and _has_tiles(),
        "a mask with values": values and (dense or share * work < SMALL),
        "float64 without causality": dense and dtype == torch.float64,
        "a long training step": (causal or dense) and n_keys * width > long and _training(given),
    }
    if dtype == torch.float16:
        slower["a long training step"] = False
    return next((f"torch is faster: {reason}" for reason, found in slower.items() if found), None)


def _share(given: DenseInputs, causal: bool, plan: MaskPlan | None) -> float:
    """What the kernel computes of the dense product; unknown masks pass as empty ones."""
    if plan is not None:
        return plan.share
    return 0.0 if given.mask is not None else 0.5 if causal else 1.0


def _training(given: DenseInputs) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in (given.q, given.k, given.v))


@cache
def _has_tiles() -> bool:
    """Whether torch multiplies bfloat16 in the processor's matrix tiles."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported is not None and supported())
