"""The attention of a Hugging Face model, every layer and head from one forward pass."""

from __future__ import annotations

import hashlib
import platform
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.analysis.maps import AttentionMaps, Kind, LayerMaps
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    import torch

    from fractal_core.dimension.given import Support

__all__ = ["capture", "capture_batch"]

_FIELDS: tuple[tuple[str, Kind, str], ...] = (
    ("encoder_attentions", "encoder", "encoder "),
    ("attentions", "encoder", "layer "),
    ("decoder_attentions", "decoder", "decoder "),
    ("cross_attentions", "cross", "cross "),
)


def capture(
    model: Any,  # noqa: ANN401  # transformers is optional
    inputs: Mapping[str, Any],
    *,
    tokens: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    name: str | None = None,
) -> AttentionMaps:
    """Runs a model once and keeps its attention.

    A model whose attention is fused (SDPA, Flash) makes no weights: it is switched to the eager one for this pass and
    back. One that cannot be is refused; no weights are ever made up.

    Args:
        model: A transformers model of any kind: causal, encoder, encoder-decoder, vision.
        inputs: What it is called with, for a single input: `input_ids`, `attention_mask`, `pixel_values` and so on.
            Tokens that the mask hides are left out of the maps.
        tokens: One for each query that is kept; those of the decoder, where there is one.
        sources: Those of an encoder with a decoder behind it.
        name: The model's name, for the provenance.

    Returns:
        Maps of every layer, in float32, or float64 for a float64 model. A causal support is recognised by weights that
        are exactly 0 behind each query, a sliding window by those before it and the model's configuration.

    Raises:
        InvalidArgumentError: The model gives no attention weights, or more than one input.
        ShapeError: Another number of tokens than of queries.
        DTypeError: Not a transformers model.
    """
    found = capture_batch(model, inputs, tokens=None if tokens is None else [tokens],
                          sources=None if sources is None else [sources], name=name)  # fmt: skip
    if len(found) != 1:
        raise InvalidArgumentError("inputs", f"{len(found)} inputs", "one; capture_batch takes several")
    return found[0]


def capture_batch(
    model: Any,  # noqa: ANN401
    inputs: Mapping[str, Any],
    *,
    tokens: Sequence[Sequence[str]] | None = None,
    sources: Sequence[Sequence[str]] | None = None,
    name: str | None = None,
) -> list[AttentionMaps]:
    """`capture` of several inputs that a mask pads to one length: maps of each, without its padding.

    The arguments and errors are those of `capture`, with one list of tokens for each input.
    """
    config = getattr(model, "config", None)
    if config is None or not callable(model):
        raise DTypeError("model", type(model).__name__, "a transformers model")
    original = getattr(config, "_attn_implementation", None)
    with _eager(model, original), inference(model):
        outputs: Any = cast("Any", model)(**inputs, output_attentions=True, return_dict=True)
    raw: dict[str, Any] = {field: outputs.get(field) for field, _, _ in _FIELDS if outputs.get(field)}
    if not raw:
        raise InvalidArgumentError(
            "model", f"{type(model).__name__}, which gives no attention weights", "a model with attention layers"
        )
    for field, layers in raw.items():
        for number, weights in enumerate(layers):
            _check_weights(model, field, number, weights)
    masks = _masks(inputs, raw)
    batch = next(iter(raw.values()))[0].shape[0]
    provenance = _provenance(model, config, original, name)
    ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    found: list[AttentionMaps] = []
    for entry in range(batch):
        layers = tuple(
            layer for of in _FIELDS if of[0] in raw for layer in _layers(model, of, raw[of[0]], entry, masks)
        )
        kept_ids = None if ids is None else tuple(ids[entry][_kept(masks, "own", entry, ids.shape[1])].tolist())
        found.append(
            AttentionMaps(
                layers,
                None if tokens is None else tuple(tokens[entry]),
                None if sources is None else tuple(sources[entry]),
                kept_ids if kept_ids is not None and len(kept_ids) == layers[-1].shape[0] else None,
                {**provenance, "input": _digest(inputs, entry)},
            )
        )
    return found


def _check_weights(model: object, field: str, number: int, weights: torch.Tensor | None) -> None:
    if weights is None:
        raise InvalidArgumentError(
            "model",
            f"{type(model).__name__}, whose layer {number} of {field} gives no weights",
            "a model that gives those of every layer",
        )
    if weights.ndim != 4:
        raise ShapeError("model", tuple(weights.shape), f"{field} of shape (B, H, N, M)")


@contextmanager
def _eager(model: Any, original: str | None) -> Generator[None]:  # noqa: ANN401
    """Has the model make its weights meanwhile."""
    if original in {None, "eager"}:
        yield
        return
    switch = getattr(model, "set_attn_implementation", None)
    if switch is None:
        raise InvalidArgumentError(
            "model",
            f"{type(model).__name__} with {original} attention, which makes no weights",
            'one loaded with attn_implementation="eager"',
        )
    try:
        switch("eager")
        yield
    except (ValueError, NotImplementedError) as error:
        raise InvalidArgumentError(
            "model", f"{type(model).__name__}, whose attention cannot be eager: {error}", "one that can"
        ) from error
    finally:
        switch(original)


@contextmanager
def inference(model: Any) -> Generator[None]:  # noqa: ANN401
    """Without gradients and dropout, in the mode that the model had afterwards."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _masks(inputs: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Which tokens count, of the source and of the model's own."""
    source, own = inputs.get("attention_mask"), inputs.get("decoder_attention_mask")
    if "encoder_attentions" in raw or "cross_attentions" in raw:
        return {"source": source, "own": own}
    return {"source": None, "own": source}


def _kept(masks: Mapping[str, Any], which: str, entry: int, n: int) -> Any:  # noqa: ANN401
    import torch

    mask = masks[which]
    if mask is None or mask.ndim != 2 or mask.shape[1] != n:
        return torch.ones(n, dtype=torch.bool)
    return mask[entry].bool().cpu()


def _layers(
    model: Any,  # noqa: ANN401
    of: tuple[str, Kind, str],
    layers: Sequence[torch.Tensor],
    entry: int,
    masks: Mapping[str, Any],
) -> Iterator[LayerMaps]:
    import torch

    field, kind, prefix = of
    vision = getattr(model, "main_input_name", "input_ids") == "pixel_values"
    for number, weights in enumerate(layers):
        n, m = weights.shape[2:]
        rows = _kept(masks, "source" if field == "encoder_attentions" else "own", entry, n)
        keys = _kept(masks, "own" if field in {"attentions", "decoder_attentions"} else "source", entry, m)
        wide = torch.float64 if weights.dtype == torch.float64 else torch.float32
        taken = weights[entry].to("cpu", wide)[:, rows][:, :, keys].numpy()
        support = "full" if field in {"cross_attentions", "encoder_attentions"} else _support(model, number, taken)
        which: Kind = kind
        if field == "attentions":
            which = "vision" if vision else "encoder" if support == "full" else "causal"
        yield LayerMaps(f"{prefix}{number}", which, taken, support)


def _support(model: Any, number: int, weights: np.ndarray[Any, Any]) -> Support:  # noqa: ANN401
    """What the weights show: keys behind the query have exactly none, and so do those before a window."""
    n, m = weights.shape[1:]
    if n == 1 or n != m or np.triu(weights, 1).any():
        return "full"
    config = model.config
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is not None and not str(types[number]).startswith("sliding"):
        return "causal"
    if window is None or window >= n or np.tril(weights, -int(window)).any():
        return "causal"
    return ("causal_window", int(window) - 1)


def _provenance(model: Any, config: Any, original: str | None, name: str | None) -> dict[str, Any]:  # noqa: ANN401
    parameters = next(iter(model.parameters()), None)
    return {
        "model": name or getattr(config, "_name_or_path", "") or type(model).__name__,
        "class": type(model).__name__,
        "model_type": getattr(config, "model_type", None),
        "attention": original,
        "dtype": None if parameters is None else str(parameters.dtype).removeprefix("torch."),
        "parameters": int(sum(p.numel() for p in model.parameters())),
        "versions": {
            **{package: version(package) for package in ("transformers", "torch", "numpy", "fractal-attn")},
            "python": platform.python_version(),
        },
    }


def _digest(inputs: Mapping[str, Any], entry: int) -> str:
    """SHA-256 of what was given."""
    found = hashlib.sha256()
    for name in sorted(inputs):
        value = inputs[name]
        if hasattr(value, "detach"):
            array = value[entry].detach().cpu().numpy()
            found.update(name.encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
