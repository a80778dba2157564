"""How `na1d`, `na2d` and `na3d` run: their checks, the set of a box, and the keys that every query sees beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, cast

from fractal_core._arguments import flag
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn import _travel
from fractal_core.nn._arrays import in_autocast
from fractal_core.nn._heads_last import (
    attend_heads_last,
    check_heads,
    check_tensor,
    nothing,
    scale_of,
)
from fractal_core.nn.heads_last import PERFORMANCE, attend_to_all
from fractal_core.nn.merging import merged
from fractal_core.patterns.neighborhood import Neighborhood

if TYPE_CHECKING:
    from torch import Tensor

    from fractal_core.index_sets import IndexSet

    Sizes = int | tuple[int, ...]
    Flags = bool | tuple[bool, ...]
    Rules = tuple[Sizes, Sizes | None, Sizes | None, Flags | None]

__all__ = ["attend", "rules_of"]


@lru_cache(maxsize=32)
def _index_set(pattern: Neighborhood) -> IndexSet:
    """The set of a whole box. It keeps its plan, so that a model's layers and steps share both."""
    return pattern.index_set(pattern.length or 0)


def rules_of(
    shape: tuple[int, ...], kernel_size: Sizes, stride: Sizes | None, dilation: Sizes | None, is_causal: Flags | None
) -> Neighborhood:
    """The pattern of a box by NATTEN's arguments, where None stands for 1, 1 and False."""
    return Neighborhood(
        shape,
        kernel_size,
        1 if stride is None else stride,
        1 if dilation is None else dilation,
        False if is_causal is None else is_causal,
    )


@_travel.constant
def _handle(shape: tuple[int, ...], rules: Rules) -> Tensor:
    """The key of the box's index set for the op."""
    return _travel.handle(_index_set(rules_of(shape, *rules)))


def _check_rules(shape: tuple[int, ...], rules: Rules) -> None:
    """Refuse rules that no box has, or that do not fit along the axes that are not 0."""
    pattern = rules_of((1,) * len(shape), *rules)
    windows = zip(cast("tuple[int, ...]", pattern.kernel_size), cast("tuple[int, ...]", pattern.dilation), strict=True)
    box = tuple(n or kernel * apart for n, (kernel, apart) in zip(shape, windows, strict=True))
    replace(pattern, shape=box).index_set(1, prod(box))


def attend(  # noqa: PLR0917
    axes: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rules: Rules,
    scale: float | None,
    additional: tuple[Tensor | None, Tensor | None, Mapping[str, Any] | None],
    return_lse: bool,
    device: str,
) -> Tensor | tuple[Tensor, Tensor]:
    """`na1d`, `na2d` or `na3d`, by the number of axes; with the lse where it is to be returned."""
    _check_tensors(axes, query, key, value)
    more_keys, more_values, keywords = additional
    more = _check_additional(query, key, value, more_keys, more_values)
    _check_keywords(keywords)
    shape = tuple(query.shape[1 : 1 + axes])
    return_lse, device = flag("return_lse", return_lse), route.checked(device)
    factor = scale_of("scale", scale, query.shape[-1])
    query, key, value, *more = in_autocast(query, key, value, *more)
    if query.numel() == 0:
        _check_rules(shape, rules)
        out, lse = nothing(query, value, key, *more)
    else:
        out, lse = attend_heads_last(query, key, value, _handle(shape, rules), factor, device)
        if more:
            others, other_lse = attend_to_all(query.flatten(1, axes), more[0], more[1], False, factor, device)
            parts = (lse.transpose(1, 2), other_lse.transpose(1, 2))
            out, lse = merged((out.flatten(1, axes), others), parts)
            out, lse = out.view(*query.shape[:-1], value.shape[-1]), lse.transpose(1, 2)
    return (out, lse.transpose(1, 2).reshape(query.shape[:-1])) if return_lse else out


def _check_tensors(axes: int, query: Tensor, key: Tensor, value: Tensor) -> None:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_tensor(name, tensor, query, axes)
        if tensor.shape[: axes + 1] != query.shape[: axes + 1]:
            raise ShapeError(name, tuple(tensor.shape), f"batch and box of query, {tuple(query.shape[: axes + 1])}")
    check_heads(query, key, value)


def _check_additional(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor | None, values: Tensor | None
) -> tuple[Tensor, ...]:
    """Keys and values that all queries see, or neither."""
    if keys is None or values is None:
        if keys is not values:
            name = "additional_keys" if keys is None else "additional_values"
            raise InvalidArgumentError(name, None, "keys and values, or None for both")
        return ()
    for name, tensor, like in (("additional_keys", keys, key), ("additional_values", values, value)):
        check_tensor(name, tensor, query, 1, "(B, M, Hkv, D)")
        allowed = (query.shape[0], keys.shape[1], *like.shape[-2:])
        if tensor.shape != allowed:
            raise ShapeError(name, tuple(tensor.shape), f"{allowed}, any number of keys")
    return keys, values


def _check_keywords(keywords: Mapping[str, Any] | None) -> None:
    if keywords is None:
        return
    if not isinstance(keywords, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("attention_kwargs", type(keywords).__name__, "a dict or None")
    unknown = [name for name in keywords if name not in PERFORMANCE]
    if unknown:
        raise InvalidArgumentError("attention_kwargs", unknown, f"{', '.join(sorted(PERFORMANCE))}")
