"""Supports as boolean arrays, and their choice from what a model says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core import _native
from fractal_core.dimension.given import Support, matrices
from fractal_core.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt


def supported(support: Support, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The cells of a support, shape (1, N, M), or (H, N, M) for a boolean array with an axis of heads.

    Raises:
        InvalidArgumentError: The support has no such name.
        ShapeError: It does not fit the shape.
        DTypeError: It has no fitting type.
    """
    lead = support.shape[:-2] if isinstance(support, np.ndarray) and support.ndim > 2 else ()
    given = matrices("weights", np.zeros((*lead, *shape), np.float32), support)
    return _native.support_cells(given.support, given.values.shape)


def on_support(weights: npt.NDArray[Any], support: Support) -> npt.NDArray[np.bool_]:
    """The support of weights (H, N, M), broadcast to them."""
    return np.broadcast_to(supported(support, weights.shape[-2:]), weights.shape)


def layer_types(model: Any, stack: str, layers: int) -> list[tuple[int, str | None]]:  # noqa: ANN401
    """Place and type of each layer that gave weights; a type of None is not stated.

    Raises:
        ModelError: Fewer layers gave weights than the model has.
    """
    config = _config(model, stack)
    types: Any = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if isinstance(types, (list, tuple)) and stack != "encoder":
        listed: list[tuple[int, str | None]] = [(i, str(type_)) for i, type_ in enumerate(cast("list[Any]", types))]
        if len(listed) == layers:
            return listed
        with_weights: list[tuple[int, str | None]] = [(i, type_) for i, type_ in listed if type_ in _ATTENTION]
        if len(with_weights) == layers:
            return with_weights
    stated = getattr(config, f"{stack}_layers", None) or getattr(config, "num_hidden_layers", None)
    if isinstance(stated, int) and stated != layers and stack == "only":
        raise ModelError(f"{type(model).__name__} gave the weights of {layers} layers; allowed: all {stated}")
    return [(i, None) for i in range(layers)]


_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention", "global", "local"}


def support_of(
    model: Any,  # noqa: ANN401
    kind: str,
    stack: str,
    type_: str | None,
    shape: tuple[int, int],
) -> Support:
    """The cells that a layer has by the model's configuration."""
    if kind in {"cross", "vision"}:
        return "full"
    config = _config(model, stack)
    causal = kind in {"causal", "decoder"}
    radius = _radius(config, type_, causal=causal)
    if type_ == "chunked_attention" and causal:
        chunk = np.arange(shape[1], dtype=np.int64) // int(config.attention_chunk_size)
        return np.tril(chunk[:, None] == chunk[None])
    if radius is None:
        return "causal" if causal else "full"
    return ("causal_window", radius) if causal else ("window", radius)


def _radius(config: Any, type_: str | None, *, causal: bool) -> int | None:  # noqa: ANN401
    """How far a key may be away; None for any distance. A causal window of w counts the query's own key."""
    if type_ in {"full_attention", "attention", "global", "chunked_attention"}:
        return None
    width = getattr(config, "window_size" if type_ == "local" else "sliding_window", None)
    if not isinstance(width, int) or (type_ is None and not getattr(config, "use_sliding_window", True)):
        return None
    return width - 1 if causal else width


def _config(model: Any, stack: str) -> Any:  # noqa: ANN401
    config = model.config
    if stack == "only":
        return config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(config, stack, None) or config


def cut(
    support: Support,
    weights: npt.NDArray[Any],
    rows: npt.NDArray[np.int64] | None,
    columns: npt.NDArray[np.int64] | None,
) -> tuple[Support, npt.NDArray[Any]]:
    """Weights (H, N, M) and their support without the rows and columns of padding."""
    if rows is None and columns is None:
        return support, weights
    n, m = weights.shape[-2:]
    down: npt.NDArray[np.int64] = np.arange(n, dtype=np.int64) if rows is None else rows
    across: npt.NDArray[np.int64] = np.arange(m, dtype=np.int64) if columns is None else columns
    # A mask with a hole in it moves keys closer together than a window measures them.
    together = all(len(side) == 0 or side[-1] - side[0] == len(side) - 1 for side in (down, across))
    named = support in {"full", "causal"} if isinstance(support, str) else isinstance(support, tuple) and together
    if not named:
        support = supported(support, (n, m))[..., down[:, None], across]
        support = support[0] if len(support) == 1 else support
    return support, np.ascontiguousarray(weights[..., down[:, None], across])
