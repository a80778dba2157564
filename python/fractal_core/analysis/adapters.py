"""Attention that other tools hold, as maps, and maps as what those tools show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from fractal_core.analysis.maps import AttentionMaps, LayerMaps, need_maps
from fractal_core.analysis.support import shown_support
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["from_bertviz", "from_cache", "to_bertviz", "view"]

_PATTERN = re.compile(r"^blocks\.(\d+)\.attn\.hook_pattern$")


def _array(argument: str, value: Any) -> npt.NDArray[Any]:  # noqa: ANN401  # a tensor, an array, or a saved proxy
    """One layer's weights, (H, N, M), from whatever holds (H, N, M) or (1, H, N, M)."""
    held = getattr(value, "value", value)
    if hasattr(held, "detach"):
        held = held.detach().to("cpu")
        held = held.float().numpy() if held.dtype.itemsize < 4 else held.numpy()
    array = np.asarray(held)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise ShapeError(argument, array.shape, "(1, H, N, M) or (H, N, M)")
    return array


def _maps(arrays: Iterable[npt.NDArray[Any]], tokens: Sequence[str] | None, source: str) -> AttentionMaps:
    layers = tuple(_layer(i, array) for i, array in enumerate(arrays))
    return AttentionMaps(layers, None if tokens is None else tuple(tokens), provenance={"source": source})


def _layer(number: int, array: npt.NDArray[Any]) -> LayerMaps:
    support = shown_support(array)
    return LayerMaps(f"layer {number}", "causal" if support == "causal" else "encoder", array, support)


def from_bertviz(attention: Sequence[Any], tokens: Sequence[str] | None = None) -> AttentionMaps:
    """Maps from what BertViz's views take: a tensor of shape (1, H, T, T) for each layer.

    Args:
        attention: One tensor or array a layer.
        tokens: T of them.

    Returns:
        The maps; causal where no weight lies behind a query.

    Raises:
        InvalidArgumentError: No layer, or weights that are no attention.
        ShapeError: Another shape, several inputs, or another number of tokens.
    """
    return _maps([_array(f"attention[{i}]", layer) for i, layer in enumerate(attention)], tokens, "bertviz")


def to_bertviz(maps: AttentionMaps) -> tuple[list[Any], list[str]]:
    """What BertViz's views take: torch tensors of shape (1, H, T, T), and tokens.

    Args:
        maps: Layers of one kind, of T queries and T keys.

    Returns:
        The tensors and the tokens; numbers where the maps have none.

    Raises:
        ShapeError: Layers of different sizes, or with other keys than queries.
        DTypeError: Sparse layers, of which no matrix is made.
    """
    import torch

    n = need_maps(maps).side("maps")
    tensors = [torch.from_numpy(np.ascontiguousarray(layer.matrices("maps")))[None] for layer in maps]
    return tensors, list(maps.tokens) if maps.tokens is not None else [str(i) for i in range(n)]


def view(maps: AttentionMaps, which: Literal["head", "model"] = "head", **kwargs: Any) -> Any:  # noqa: ANN401
    """BertViz's view of the maps.

    Args:
        maps: As `to_bertviz` takes them.
        which: "head" or "model".
        kwargs: For BertViz's function, such as `html_action="return"`.

    Raises:
        ImportError: bertviz is not installed.
        InvalidArgumentError: An unknown view.
    """
    if which not in {"head", "model"}:
        raise InvalidArgumentError("which", repr(which), '"head" or "model"')
    try:
        from importlib import import_module

        bertviz: Any = import_module("bertviz")
    except ImportError as error:
        raise ImportError("this view needs bertviz: pip install bertviz") from error
    tensors, tokens = to_bertviz(maps)
    return getattr(bertviz, f"{which}_view")(tensors, tokens, **kwargs)


def from_cache(cache: Any, tokens: Sequence[str] | None = None) -> AttentionMaps:  # noqa: ANN401
    """Maps from the cache of a run of TransformerLens, or from patterns that nnsight saved.

    Args:
        cache: Anything that has `blocks.<layer>.attn.hook_pattern` by name or `("pattern", layer)`, or a sequence of
            saved patterns, each (1, H, Q, K) or (H, Q, K).
        tokens: One for each query.

    Returns:
        The maps, in the order of the layers.

    Raises:
        InvalidArgumentError: No pattern in it, or a layer missing between others.
        ShapeError: Another shape, or several inputs.
    """
    if isinstance(cache, Mapping):
        named = {int(m[1]): key for key in cast("Mapping[Any, Any]", cache) if (m := _PATTERN.match(str(key)))}
    elif isinstance(cache, Sequence):
        return _maps(
            [_array(f"cache[{i}]", layer) for i, layer in enumerate(cast("Sequence[Any]", cache))], tokens, "cache"
        )
    else:
        named = {int(m[1]): key for key in getattr(cache, "keys", tuple)() if (m := _PATTERN.match(str(key)))}
    if not named:
        raise InvalidArgumentError("cache", "no pattern", "blocks.<layer>.attn.hook_pattern for every layer")
    if sorted(named) != list(range(len(named))):
        raise InvalidArgumentError("cache", f"patterns of layers {sorted(named)}", "those of every layer from 0 on")
    return _maps([_array(named[i], cache[named[i]]) for i in range(len(named))], tokens, "cache")
