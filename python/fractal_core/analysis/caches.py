"""Attention from the caches of TransformerLens and nnsight, and from whatever holds one array a layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.analysis.maps import TOLERANCE, AttentionMaps, LayerMaps
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.dimension.given import Support

_PATTERN = re.compile(r"blocks\.(\d+)\.attn\.hook_pattern")


def from_cache(
    cache: Any,  # noqa: ANN401  # a library's own class
    tokens: Sequence[str] = (),
    *,
    ids: npt.ArrayLike | None = None,
    support: Support = "causal",
    item: int = 0,
    tolerance: float = TOLERANCE,
) -> AttentionMaps:
    """Attention from a cache of activations.

    Args:
        cache: A TransformerLens `ActivationCache`, or a mapping with "blocks.i.attn.hook_pattern" or ("pattern", i);
            or, of nnsight, a sequence of saved weights, one a layer. Arrays or tensors (B, H, N, M) or (H, N, M).
        tokens: M strings.
        ids: M numbers, for induction.
        support: The cells of every layer.
        item: Which input of the batch.
        tolerance: How far a row's sum may be from 1.

    Returns:
        Layers by the number that the cache has for them.

    Raises:
        InvalidArgumentError: There is no pattern in it, or not of all layers up to the last; or as `LayerMaps`.
        ShapeError: An array has another shape, or the batch no such input.
        DTypeError: The cache is of no such kind.
    """
    found = _patterns(cache)
    missing = sorted(set(range(max(found) + 1)) - set(found))
    if missing:
        raise InvalidArgumentError("cache", f"no pattern of layers {missing}", "those of all layers up to the last")
    arrays = arrays_of("cache", [found[place] for place in sorted(found)], item=item)
    square = arrays[0].shape[-2] == arrays[0].shape[-1]
    causal = support == "causal" if isinstance(support, str) else isinstance(support, tuple)
    kind = "cross" if not square else "causal" if causal else "encoder"
    layers = [LayerMaps(f"layer {i}", kind, array, support, tolerance) for i, array in enumerate(arrays)]
    numbers = None if ids is None else np.asarray(ids)
    return AttentionMaps(tuple(layers), tuple(tokens), ids=numbers, provenance={"source": type(cache).__name__})


def _patterns(cache: Any) -> dict[int, Any]:  # noqa: ANN401
    # TransformerLens keeps its tensors under their hooks' names, and is no Mapping.
    keys = getattr(cache, "keys", None)
    if isinstance(cache, Mapping) or callable(keys):
        found: dict[int, Any] = {}
        for key in list(cast("Any", cache).keys()):
            match = _PATTERN.fullmatch(str(key))
            if match:
                found[int(match[1])] = cache[key]
            elif isinstance(key, tuple) and len(cast("tuple[Any, ...]", key)) == 2 and key[0] in {"pattern", "attn"}:
                found[int(cast("Any", key[1]))] = cache[key]
        if not found:
            raise InvalidArgumentError("cache", "no attention pattern", "blocks.i.attn.hook_pattern for each layer i")
        return found
    if isinstance(cache, Sequence) and not isinstance(cache, (str, bytes)):
        listed = list(cast("Sequence[Any]", cache))
        if not listed:
            raise InvalidArgumentError("cache", "nothing", "the weights of at least one layer")
        return dict(enumerate(listed))
    raise DTypeError("cache", type(cache).__name__, "an ActivationCache, a mapping of hooks, or a sequence of layers")


def arrays_of(argument: str, layers: Sequence[Any], *, item: int | None = None) -> list[npt.NDArray[Any]]:
    """Layers (H, N, M) from tensors, arrays or saved proxies, (B, H, N, M) or (H, N, M).

    Without `item`, a batch must be of one.

    Raises:
        InvalidArgumentError: There is none.
        ShapeError: Another shape, or no such input in the batch.
    """
    found: list[npt.NDArray[Any]] = []
    for place, layer in enumerate(layers):
        array = _array(layer)
        if array.ndim == 4:
            which = 0 if item is None else item
            if (item is None and array.shape[0] != 1) or not -array.shape[0] <= which < array.shape[0]:
                raise ShapeError(argument, f"layer {place}: {array.shape}", f"a batch with the input {which} alone")
            array = array[which]
        if array.ndim != 3:
            raise ShapeError(argument, f"layer {place}: {array.shape}", "(1, H, N, M) or (H, N, M)")
        found.append(array)
    if not found:
        raise InvalidArgumentError(argument, "nothing", "at least one layer")
    return found


def _array(value: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    # A saved proxy of nnsight holds its tensor in `value`.
    if not hasattr(value, "shape") and hasattr(value, "value"):
        value = value.value
    if hasattr(value, "detach"):
        value = value.detach()
        value = (value if str(value.dtype) in {"torch.float32", "torch.float64"} else value.float()).cpu().numpy()
    return np.asarray(value)
