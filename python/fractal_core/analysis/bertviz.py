"""Attention in the form of bertviz, taken and given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.analysis.caches import arrays_of
from fractal_core.analysis.maps import TOLERANCE, AttentionMaps, LayerMaps
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fractal_core.dimension.given import Support


def from_bertviz(
    attention: Sequence[Any] | None = None,
    tokens: Sequence[str] = (),
    *,
    encoder_attention: Sequence[Any] | None = None,
    decoder_attention: Sequence[Any] | None = None,
    cross_attention: Sequence[Any] | None = None,
    encoder_tokens: Sequence[str] = (),
    decoder_tokens: Sequence[str] = (),
    support: Support | None = None,
    tolerance: float = TOLERANCE,
) -> AttentionMaps:
    """Attention as `bertviz.head_view` and `model_view` take it.

    Args:
        attention: One tensor or array for each layer, (1, H, N, N) or (H, N, N).
        tokens: N strings.
        encoder_attention: Of an encoder-decoder model, in place of `attention`.
        decoder_attention: Its decoder's, (1, H, M, M).
        cross_attention: Its cross-attention, (1, H, M, N).
        encoder_tokens: N strings.
        decoder_tokens: M strings.
        support: The cells of `attention`; by default "causal" where no layer has weight above the diagonal, else
            "full". A decoder's is "causal".
        tolerance: How far a row's sum may be from 1.

    Returns:
        Layers named "layer 0" ..., or "encoder 0" ..., "decoder 0" ..., "cross 0" ....

    Raises:
        InvalidArgumentError: Nothing is given, or both kinds; or as `LayerMaps`.
        ShapeError: A layer holds several inputs, or has another shape.
        DTypeError: As `LayerMaps`.
    """
    stacks = {"encoder": encoder_attention, "decoder": decoder_attention, "cross": cross_attention}
    given = {name: stack for name, stack in stacks.items() if stack is not None}
    if (attention is None) == (not given):
        raise InvalidArgumentError("attention", "both kinds" if given else "nothing", "attention, or that of stacks")
    layers: list[LayerMaps] = []
    if attention is not None:
        arrays = arrays_of("attention", attention)
        own: Support = support if support is not None else "causal" if _lower(arrays) else "full"
        kind = "causal" if isinstance(own, str) and own == "causal" else "encoder"
        layers = [LayerMaps(f"layer {i}", kind, array, own, tolerance) for i, array in enumerate(arrays)]
        return AttentionMaps(tuple(layers), tuple(tokens), provenance={"source": "bertviz"})
    for name, stack in given.items():
        cells = "causal" if name == "decoder" else "full"
        for i, array in enumerate(arrays_of(f"{name}_attention", stack)):
            layers.append(LayerMaps(f"{name} {i}", name, array, cells, tolerance))
    return AttentionMaps(tuple(layers), tuple(encoder_tokens), tuple(decoder_tokens), provenance={"source": "bertviz"})


def _lower(arrays: list[npt.NDArray[Any]]) -> bool:
    if arrays[0].shape[-2] != arrays[0].shape[-1]:
        raise ShapeError("attention", arrays[0].shape, "(1, H, N, N); cross_attention may be rectangular")
    return arrays[0].shape[-1] > 1 and all(not np.triu(array, 1).any() for array in arrays)


def to_bertviz(maps: AttentionMaps) -> dict[str, Any]:
    """The arguments of `bertviz.head_view` and `model_view`: `head_view(**to_bertviz(maps))`.

    Args:
        maps: With tokens; layers of one stack have one number of heads, as bertviz needs.

    Returns:
        `attention`, a list of tensors (1, H, N, N), and `tokens`; of encoder-decoder models `encoder_attention`,
        `decoder_attention`, `cross_attention`, `encoder_tokens`, `decoder_tokens`.

    Raises:
        InvalidArgumentError: The tokens are unknown.
        ImportError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError('to_bertviz needs torch: pip install "fractal-attn[torch]"') from error

    def stack(kinds: set[str]) -> list[Any]:
        return [
            torch.from_numpy(np.stack([layer.head(h) for h in range(layer.heads)]))[None]
            for layer in maps.layers
            if layer.kind in kinds
        ]

    if not maps.tokens:
        raise InvalidArgumentError("maps", "attention without tokens", "tokens, which bertviz writes at every row")
    if not any(layer.kind in {"decoder", "cross"} for layer in maps.layers):
        return {"attention": stack({"causal", "encoder", "vision"}), "tokens": list(maps.tokens)}
    found: dict[str, Any] = {}
    for name in ("encoder", "decoder", "cross"):
        if any(layer.kind == name for layer in maps.layers):
            found[f"{name}_attention"] = stack({name})
    found["encoder_tokens"] = list(maps.tokens)
    if maps.target_tokens:
        found["decoder_tokens"] = list(maps.target_tokens)
    return found
