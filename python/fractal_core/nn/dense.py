"""Dense attention with torch's signature on the sparse kernel, and a model's calls of torch's own routed to it."""
# ruff: noqa: PLR0917  (torch's arguments are positional)

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fractal_core._arguments import flag
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.nn import _dense_calls, _dense_masks, _full_sets, _travel
from fractal_core.nn._dense_calls import DenseCalls
from fractal_core.nn._dense_inputs import DenseInputs, dense_inputs, elsewhere
from fractal_core.nn._dense_rule import torch_is_faster
from fractal_core.nn._functorch import attend

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fractal_core.nn._dense_masks import MaskPlan

__all__ = ["DenseCalls", "dense_attention", "scaled_dot_product_attention"]

_TORCHS = F.scaled_dot_product_attention


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` on the kernel of this package, where that is faster.

    The arguments mean what they mean there, with gradients for query, key, value and a float mask. What the kernel
    cannot take (other devices, subclasses of Tensor, sizes of 0, masks under a compiler), and what torch is faster at
    (docs/attention.md has the rule), goes to torch's own; a `dense_attention` around the call counts which, and why.

    A mask is planned at its first call, and again when it was changed in place; plans go when the mask's memory goes.
    A change that torch's version counter does not see, through `.data` or NumPy, is not seen here either. A query
    whose keys are all masked has output 0 and gradient 0. Under CPU autocast, query, key and value are cast.

    Args:
        query: (..., H, L, E), float32, float64, bfloat16 or float16; 2 dimensions or more.
        key: (..., H, S, E), the dtype of query; leading dimensions and heads may be 1 and broadcast.
        value: (..., H, S, Ev), the dtype of query.
        attn_mask: broadcasts to (..., H, L, S): bool, True where the query attends to the key; or of a float dtype,
            added to the scores, -inf masks.
        dropout_p: probability that a weight is dropped, 0 <= dropout_p <= 1, also outside of training. Drawn by
            another rule than torch's, from torch's default generator.
        is_causal: query i attends to the keys up to i, also where L and S differ; takes no attn_mask.
        scale: factor of the scores, finite; 1 / sqrt(E) where None.
        enable_gqa: the heads of key and value may be fewer: query head h reads head h // (H / Hkv).

    Returns:
        (..., H, L, Ev) in the dtype of query.

    Raises:
        DTypeError: an argument of another type or dtype than listed.
        ShapeError: shapes that do not fit together.
        InvalidArgumentError: a value out of its range, or a mask beside is_causal.
    """
    out = _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if torch.compiler.is_compiling() or not _dense_calls.active():
        if not isinstance(out, str):
            return out
        return _TORCHS(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if not isinstance(out, str):
        _dense_calls.count(None)
        return out
    _dense_calls.count(out)
    with _dense_calls.passing_on():
        return _TORCHS(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)


@contextmanager
def dense_attention(*, always: bool = False) -> Generator[DenseCalls]:
    """Let `fc.nn.scaled_dot_product_attention` take the calls of torch's own, of models of any library.

    It holds for this thread, from entering to leaving, also where something fails; it may be nested, and every counter
    counts. Code that computes attention without the function of torch is not reached: fused paths of
    `nn.MultiheadAttention` in eval mode (`torch.backends.mha.set_fastpath_enabled(False)` turns them off), or
    attention that returns weights.

    Args:
        always: also take the calls that torch is faster at.

    Yields:
        The counter: how many calls were taken, how many passed on to torch, and why.

    Raises:
        DTypeError: always is no bool.
    """
    calls = DenseCalls()
    with _dense_calls.counting(calls, flag("always", always)) as nested, nullcontext() if nested else _Route():
        yield calls


class _Route(TorchFunctionMode):
    """Catches the calls of torch's function in this thread."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        del types
        if torch.compiler.is_compiling() or _dense_calls.active():
            if func is _TORCHS:
                func = scaled_dot_product_attention
            elif func is F.multi_head_attention_forward:
                func = _multi_head()
        return func(*args, **(kwargs or {}))


@cache
def _multi_head() -> Callable[..., Any]:
    """The function of torch for `nn.MultiheadAttention` that calls ours.

    A mode catches it as a whole and sees nothing of what it calls, so a copy of it runs in its place.
    """
    torchs: Any = F.multi_head_attention_forward
    names: dict[str, Any] = dict(torchs.__globals__)
    names["scaled_dot_product_attention"] = scaled_dot_product_attention
    names["has_torch_function"] = _no
    copy = FunctionType(torchs.__code__, names, argdefs=torchs.__defaults__)
    copy.__kwdefaults__ = torchs.__kwdefaults__
    return copy


def _no(_: object) -> bool:
    return False


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor | str:
    """The output, or why torch's own must compute it."""
    reason = elsewhere(query, key, value, attn_mask)
    if reason is not None:
        return reason
    given = dense_inputs(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if isinstance(given, str):
        return given
    every = not torch.compiler.is_compiling() and _dense_calls.always()
    if not every:
        reason = torch_is_faster(given, is_causal)
        if reason is not None:
            return reason
    if given.mask is not None:
        return _planned(given, given.mask, dropout_p, every)
    handle = _full_sets.handle(given.q.shape[2], given.k.shape[2], is_causal)
    return _run(given, handle, None, None, dropout_p).view(given.shape)


def _planned(given: DenseInputs, mask: Tensor, dropout_p: float, every: bool) -> Tensor | str:
    """The output under a mask, or why torch's own must compute it."""
    plan = _dense_masks.plan_of(mask)
    if not plan.sets:
        return f"more than {_dense_masks.MOST_SETS} different masks over batch and heads"
    reason = None if every else torch_is_faster(given, False, plan)
    return _masked(given, plan, dropout_p).view(given.shape) if reason is None else reason


def _run(
    given: DenseInputs, sets: Tensor, edge_bias: Tensor | None, padding: Tensor | None, dropout_p: float
) -> Tensor:
    """(B, H, L, Ev) of the op; sets is a handle or those of a stack, edge_bias (H|1, E) or (B, H|1, E)."""
    seed = torch.randint(0, 2**63 - 1, (1,)) if dropout_p > 0.0 else None
    out, _ = attend(
        given.q, given.k, given.v, sets, None, edge_bias, padding, seed, given.scale, float(dropout_p), "cpu"
    )
    return out


def _masked(given: DenseInputs, plan: MaskPlan, dropout_p: float) -> Tensor:
    """(B, H, L, Ev) under a mask."""
    if plan.has_bias:
        return _biased(given, plan, dropout_p)
    sets = _travel.handle(plan.sets[0]) if plan.stack is None else _travel.stack(plan.stack)
    padding = None if plan.padding is None else plan.padding.expand(given.q.shape[0], -1)
    return _run(given, sets, None, padding, dropout_p)


def _biased(given: DenseInputs, plan: MaskPlan, dropout_p: float) -> Tensor:
    """(B, H, L, Ev) under a mask with values."""
    assert given.mask is not None
    bias = given.mask.flatten(2) if plan.bias is None else plan.bias
    bias = bias.to(accumulation_dtype(given.q.dtype))
    # The op takes one that differs by entry as such, others by head alone.
    bias = bias[0] if bias.shape[0] == 1 else bias
    return _run(given, _travel.handle(plan.sets[0]), bias, None, dropout_p)
