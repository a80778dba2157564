"""Neighbourhood attention with NATTEN's names, arguments, layout and borders, on the CPU and with gradients."""
# ruff: noqa: PLR0917  (NATTEN's arguments are positional)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from fractal_core.nn._neighborhoods import attend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from typing_extensions import Unpack

    from fractal_core.nn._heads_last import NeighborhoodPerformance

__all__ = ["na1d", "na2d", "na3d"]


@overload
def na1d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    *,
    return_lse: Literal[False] = False,
    device: str = "cpu",
    **performance: Unpack[NeighborhoodPerformance],
) -> Tensor: ...


@overload
def na1d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    *,
    return_lse: Literal[True],
    device: str = "cpu",
    **performance: Unpack[NeighborhoodPerformance],
) -> tuple[Tensor, Tensor]: ...


def na1d(  # noqa: D417
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    backend: Any = None,
    q_tile_shape: Any = None,
    kv_tile_shape: Any = None,
    backward_q_tile_shape: Any = None,
    backward_kv_tile_shape: Any = None,
    backward_kv_splits: Any = None,
    backward_use_pt_reduction: Any = False,
    run_persistent_kernel: Any = True,
    kernel_schedule: Any = None,
    torch_compile: Any = False,
    return_lse: bool = False,
    *,
    device: str = "cpu",
) -> Tensor | tuple[Tensor, Tensor]:
    """Neighbourhood attention along a line; see `na2d`, whose other arguments it takes.

    Args:
        query: (B, N, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, N, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, N, Hkv, Dv), the dtype of query.

    Returns:
        (B, N, H, Dv) in the dtype of query, contiguous; with return_lse also (B, N, H).

    Raises:
        DTypeError, ShapeError, InvalidArgumentError: as `na2d`.
    """
    del backend, q_tile_shape, kv_tile_shape, backward_q_tile_shape, backward_kv_tile_shape, backward_kv_splits
    del backward_use_pt_reduction, run_persistent_kernel, kernel_schedule, torch_compile
    rules = (kernel_size, stride, dilation, is_causal)
    additional = (additional_keys, additional_values, attention_kwargs)
    return attend(1, query, key, value, rules, scale, additional, return_lse, device)


@overload
def na2d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    *,
    return_lse: Literal[False] = False,
    device: str = "cpu",
    **performance: Unpack[NeighborhoodPerformance],
) -> Tensor: ...


@overload
def na2d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    *,
    return_lse: Literal[True],
    device: str = "cpu",
    **performance: Unpack[NeighborhoodPerformance],
) -> tuple[Tensor, Tensor]: ...


def na2d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    backend: Any = None,
    q_tile_shape: Any = None,
    kv_tile_shape: Any = None,
    backward_q_tile_shape: Any = None,
    backward_kv_tile_shape: Any = None,
    backward_kv_splits: Any = None,
    backward_use_pt_reduction: Any = False,
    run_persistent_kernel: Any = True,
    kernel_schedule: Any = None,
    torch_compile: Any = False,
    return_lse: bool = False,
    *,
    device: str = "cpu",
) -> Tensor | tuple[Tensor, Tensor]:
    """Neighbourhood attention in an image: each query attends to the window around its cell.

    The result is that of `natten.na2d`, with its borders, dilation, stride and causal axes; the rules and their sources
    are those of the pattern `neighborhood`. Each query has kernel_size keys along an axis, also at the borders. A
    window of one key is allowed. Query head h reads key head h // (H // Hkv). Index sets of recent sizes are kept.
    Batch, heads and axes may be 0: the result is empty then, and an axis of 0 fits every window.

    Args:
        query: (B, Y, X, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, Y, X, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, Y, X, Hkv, Dv), the dtype of query.
        kernel_size: keys of a window, 1 to the axis; one int, or one for each axis.
        stride: queries that share the window of the one in their middle, 1 to kernel_size; an int, or one for each
            axis; 1 where None.
        dilation: distance of the keys of a window; kernel_size * dilation is at most the axis; an int, or one for each
            axis; 1 where None.
        is_causal: whether an axis is causal; a bool, or one for each axis; False where None.
        scale: factor of the scores, finite and not 0; 1 / sqrt(D) where None.
        additional_keys: (B, M, Hkv, D), the dtype of query: keys that every query sees beside its window, in the same
            softmax.
        additional_values: (B, M, Hkv, Dv), their values; given with additional_keys or not at all.
        attention_kwargs: keywords of `attention` for the additional keys; those that choose how NATTEN's kernels run
            are taken, without effect.
        backend: without effect, as all that follow but the last two (docs/attention.md).
        q_tile_shape: see backend.
        kv_tile_shape: see backend.
        backward_q_tile_shape: see backend.
        backward_kv_tile_shape: see backend.
        backward_kv_splits: see backend.
        backward_use_pt_reduction: see backend.
        run_persistent_kernel: see backend.
        kernel_schedule: see backend.
        torch_compile: see backend.
        return_lse: also give the natural log-sum-exp of the scores, which takes part in the gradient.
        device: where the kernels run, "cpu", "gpu" or "auto", as for `sparse_attention`.

    Returns:
        (B, Y, X, H, Dv) in the dtype of query, contiguous; with return_lse also (B, Y, X, H), float32 (float64 for
        float64).

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, a head size is 0, or a rule has another number of entries than axes.
        InvalidArgumentError: a window that does not fit, a stride above kernel_size, a scale of 0, another value out of
            its range, or a tensor that is not on the CPU or whose last dimension is not contiguous.
    """
    del backend, q_tile_shape, kv_tile_shape, backward_q_tile_shape, backward_kv_tile_shape, backward_kv_splits
    del backward_use_pt_reduction, run_persistent_kernel, kernel_schedule, torch_compile
    rules = (kernel_size, stride, dilation, is_causal)
    additional = (additional_keys, additional_values, attention_kwargs)
    return attend(2, query, key, value, rules, scale, additional, return_lse, device)


@overload
def na3d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    *,
    return_lse: Literal[False] = False,
    device: str = "cpu",
    **performance: Unpack[NeighborhoodPerformance],
) -> Tensor: ...


@overload
def na3d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    *,
    return_lse: Literal[True],
    device: str = "cpu",
    **performance: Unpack[NeighborhoodPerformance],
) -> tuple[Tensor, Tensor]: ...


def na3d(  # noqa: D417
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = 1,
    dilation: int | tuple[int, ...] | None = 1,
    is_causal: bool | tuple[bool, ...] | None = False,
    scale: float | None = None,
    additional_keys: Tensor | None = None,
    additional_values: Tensor | None = None,
    attention_kwargs: Mapping[str, Any] | None = None,
    backend: Any = None,
    q_tile_shape: Any = None,
    kv_tile_shape: Any = None,
    backward_q_tile_shape: Any = None,
    backward_kv_tile_shape: Any = None,
    backward_kv_splits: Any = None,
    backward_use_pt_reduction: Any = False,
    run_persistent_kernel: Any = True,
    kernel_schedule: Any = None,
    torch_compile: Any = False,
    return_lse: bool = False,
    *,
    device: str = "cpu",
) -> Tensor | tuple[Tensor, Tensor]:
    """Neighbourhood attention in a volume or a video; see `na2d`, whose other arguments it takes.

    Args:
        query: (B, Z, Y, X, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, Z, Y, X, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, Z, Y, X, Hkv, Dv), the dtype of query.

    Returns:
        (B, Z, Y, X, H, Dv) in the dtype of query, contiguous; with return_lse also (B, Z, Y, X, H).

    Raises:
        DTypeError, ShapeError, InvalidArgumentError: as `na2d`.
    """
    del backend, q_tile_shape, kv_tile_shape, backward_q_tile_shape, backward_kv_tile_shape, backward_kv_splits
    del backward_use_pt_reduction, run_persistent_kernel, kernel_schedule, torch_compile
    rules = (kernel_size, stride, dilation, is_causal)
    additional = (additional_keys, additional_values, attention_kwargs)
    return attend(3, query, key, value, rules, scale, additional, return_lse, device)
