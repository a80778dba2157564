"""Attention of a live model: every layer and head from one forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.analysis.eager import weights_given
from fractal_core.analysis.maps import TOLERANCE, AttentionMaps, LayerMaps
from fractal_core.analysis.pieces import pieces
from fractal_core.analysis.provenance import made_by
from fractal_core.analysis.supports import cut, layer_types, support_of
from fractal_core.errors import InvalidArgumentError, ModelError

try:
    import torch
    import transformers
except ImportError as error:
    raise ImportError(
        "capturing the attention of a model needs torch and transformers, which are optional: "
        'pip install "fractal-attn[torch,hf]"'
    ) from error

from fractal_core.analysis.encoded import MASKS, encode

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.dimension.given import Support

_TOLERANCES = {torch.bfloat16: 0.05, torch.float16: 0.01}
_FIELDS = ("encoder_attentions", "decoder_attentions", "attentions", "cross_attentions")


def capture(
    model: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    tokenizer: Any = None,  # noqa: ANN401
    *,
    target: Any = None,  # noqa: ANN401
    support: Support | Mapping[str, Support] | None = None,
    switch: bool = True,
) -> AttentionMaps:
    """The attention of one input in every layer and head, from one forward pass of a model of transformers.

    The pass runs in evaluation mode without gradients. A model whose attention is fused (SDPA, Flash) is switched to
    the eager one, which gives weights, and put back. Padding is cut away. Which cells each layer has is read from the
    model and held to its weights.

    Args:
        model: A live model: causal, encoder, encoder-decoder or vision.
        inputs: A text; token numbers, (N,); an image, with a processor as the tokenizer; or a mapping of tensors with a
            batch of one, as the model takes them.
        tokenizer: For text, and for the words of token numbers; a processor for images.
        target: What the decoder of an encoder-decoder model reads, as text or token numbers; by default the input. It
            is shifted to the right behind the start token.
        support: The cells of every layer, or of layers by name, where the model's own account is not to be used.
        switch: Whether a fused model may be switched for the pass.

    Returns:
        Layers "layer 0" ..., of encoder-decoder models "encoder 0" ..., "decoder 0" ..., "cross 0" ...; float32, or
        float64 for float64.

    Raises:
        InvalidArgumentError: An input is empty, too long or of several texts; a weight is outside of the support.
        ShapeError: A tensor has the wrong shape.
        DTypeError: An argument has no fitting type.
        ModelError: The model gives no weights, or not of all of its layers, or the pass failed.
    """
    found = capture_batch(model, inputs, tokenizer, target=target, support=support, switch=switch)
    if len(found) != 1:
        raise InvalidArgumentError("inputs", f"{len(found)} inputs", "one; capture_batch takes several")
    return found[0]


def capture_batch(
    model: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    tokenizer: Any = None,  # noqa: ANN401
    *,
    target: Any = None,  # noqa: ANN401
    support: Support | Mapping[str, Support] | None = None,
    switch: bool = True,
) -> tuple[AttentionMaps, ...]:
    """As `capture`, for several inputs in one forward pass: each without its padding.

    Args:
        model: As in `capture`.
        inputs: Texts, sequences of token numbers, or a mapping of tensors with padding masks (B, N).
        tokenizer: As in `capture`.
        target: As in `capture`, one for each input.
        support: As in `capture`.
        switch: As in `capture`.

    Returns:
        One for each input.

    Raises:
        InvalidArgumentError: As `capture`.
        ShapeError: As `capture`.
        DTypeError: As `capture`.
        ModelError: As `capture`.
    """
    with weights_given(model, switch=switch) as before:
        tensors = encode(model, inputs, tokenizer, target)
        output = _passed(model, tensors)
    stacks = _stacks(model, output)
    batch = next(iter(tensors.values())).shape[0]
    provenance = made_by(model, transformers.__version__, torch.__version__, before)
    provenance["decoder_input"] = (
        None if "decoder_input_ids" not in tensors else "given" if target is not None else "as given or the input"
    )
    if isinstance(inputs, Mapping):
        given = cast("Mapping[str, Any]", inputs)
        if "decoder_input_ids" in tensors:
            provenance["decoder_input"] = "given" if "decoder_input_ids" in given else provenance["decoder_input"]
    return tuple(
        _one(model, tensors, stacks, item=i, batch=batch, tokenizer=tokenizer, support=support, provenance=provenance)
        for i in range(batch)
    )


def _passed(model: Any, tensors: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401
    # The head over the vocabulary adds nothing to attention, and costs a fifth of a small model's pass.
    body = getattr(model, "base_model", model)
    named = inspect.signature(body.forward).parameters
    settings: dict[str, Any] = {"output_attentions": True, "return_dict": True}
    if "use_cache" in named:
        settings["use_cache"] = False
    device, dtype = getattr(model, "device", torch.device("cpu")), getattr(model, "dtype", torch.float32)
    placed = {
        name: value.to(device, dtype) if value.is_floating_point() and name not in MASKS else value.to(device)
        for name, value in tensors.items()
    }
    try:
        with torch.no_grad():
            return body(**placed, **settings)
    except (ValueError, TypeError, IndexError, KeyError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise ModelError(f"the forward pass of {type(model).__name__} failed: {error}") from error


def _stacks(model: Any, output: Any) -> dict[str, list[torch.Tensor]]:  # noqa: ANN401
    """The weights of each stack that gave some, (B, H, N, M) each."""
    name = type(model).__name__
    found: dict[str, list[torch.Tensor]] = {}
    for field in _FIELDS:
        layers = getattr(output, field, None)
        if layers is None or not len(layers):
            continue
        for place, weights in enumerate(layers):
            if not isinstance(weights, torch.Tensor):
                raise ModelError(f"layer {place} of {field} of {name} gave no weights: got {type(weights).__name__}")
            if weights.ndim != 4:
                raise ModelError(
                    f"layer {place} of {field} of {name}: got {tuple(weights.shape)}; allowed: (B, H, N, M)"
                )
        found[field] = list(layers)
    if not found:
        raise ModelError(f"{name} gave no attention weights; allowed: models with softmax attention in transformers")
    return found


def _one(
    model: Any,  # noqa: ANN401
    tensors: dict[str, torch.Tensor],
    stacks: dict[str, list[torch.Tensor]],
    *,
    item: int,
    batch: int,
    tokenizer: Any,  # noqa: ANN401
    support: Support | Mapping[str, Support] | None,
    provenance: Mapping[str, Any],
) -> AttentionMaps:
    keep = {mask: _kept(tensors.get(mask), item) for mask in MASKS}
    layers: list[LayerMaps] = []
    for field, weights in stacks.items():
        made, stack = [_array(w, item, batch, field) for w in weights], _stack(model, field)
        kind = _kind(model, field, made)
        rows, columns = _sides(kind, keep)
        places = layer_types(model, stack, len(made))
        for (place, type_), array in zip(places, made, strict=True):
            name = f"{_PREFIX.get(field, 'layer')} {place}"
            own = support_of(model, kind, stack, type_, array.shape[-2:])
            if isinstance(support, Mapping):
                own = support.get(name, own)
            elif support is not None:
                own = support
            own, kept = cut(own, array, rows, columns)
            tolerance = _TOLERANCES.get(weights[0].dtype, TOLERANCE)
            layers.append(LayerMaps(name, kind, kept, own, tolerance, _has_sinks(model)))
    return AttentionMaps(
        tuple(layers),
        **_words(model, tensors, item=item, keep=keep, layers=layers, tokenizer=tokenizer),
        provenance=provenance,
    )


_PREFIX = {"encoder_attentions": "encoder", "decoder_attentions": "decoder", "cross_attentions": "cross"}


def _stack(model: Any, field: str) -> str:  # noqa: ANN401
    if not getattr(model.config, "is_encoder_decoder", False):
        return "only"
    return "encoder" if field == "encoder_attentions" else "decoder"


def _array(weights: torch.Tensor, item: int, batch: int, field: str) -> npt.NDArray[Any]:
    if weights.shape[0] != batch:
        raise ModelError(f"{field}: got weights of {weights.shape[0]} inputs; allowed: {batch}, one matrix an input")
    one = weights[item].detach()
    return (one if one.dtype in {torch.float32, torch.float64} else one.float()).cpu().numpy()


def _kept(mask: torch.Tensor | None, item: int) -> npt.NDArray[np.int64] | None:
    if mask is None or mask.ndim != 2:
        return None
    found = np.flatnonzero(mask[item].cpu().numpy())
    return None if len(found) == mask.shape[1] else found


def _sides(
    kind: str, keep: Mapping[str, npt.NDArray[np.int64] | None]
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | None]:
    own, decoder = keep["attention_mask"], keep["decoder_attention_mask"]
    if kind == "decoder":
        return decoder, decoder
    return (decoder if kind == "cross" else own), own


def _kind(model: Any, field: str, made: list[npt.NDArray[Any]]) -> str:  # noqa: ANN401
    if field == "cross_attentions":
        return "cross"
    if field in {"encoder_attentions", "decoder_attentions"}:
        return _PREFIX[field]
    said = {m.is_causal for m in _attention_modules(model)}
    # An encoder's softmax leaves no weight at exactly 0; a mask that a module does not speak of does.
    seen = made[0].shape[-1] > 1 and all(not np.triu(array, 1).any() for array in made)
    if said == {True} or seen:
        return "causal"
    return "vision" if getattr(model, "main_input_name", "") == "pixel_values" else "encoder"


def _attention_modules(model: Any) -> list[Any]:  # noqa: ANN401
    found = [m for m in model.modules() if isinstance(getattr(m, "is_causal", None), bool)]
    return [m for m in found if "Attention" in type(m).__name__ and not getattr(m, "is_cross_attention", False)]


def _has_sinks(model: Any) -> bool:  # noqa: ANN401
    return any(isinstance(getattr(m, "sinks", None), torch.nn.Parameter) for m in model.modules())


def _words(
    model: Any,  # noqa: ANN401
    tensors: dict[str, torch.Tensor],
    *,
    item: int,
    keep: Mapping[str, npt.NDArray[np.int64] | None],
    layers: list[LayerMaps],
    tokenizer: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Tokens, their numbers, and the grid of an image."""
    found: dict[str, Any] = {}
    for ids, mask, prefix in (
        ("input_ids", "attention_mask", ""),
        ("decoder_input_ids", "decoder_attention_mask", "target_"),
    ):
        if ids not in tensors:
            continue
        numbers = tensors[ids][item].cpu().numpy().astype(np.int64)
        if keep[mask] is not None:
            numbers = numbers[keep[mask]]
        sides = {layer.shape[1] for layer in layers if layer.kind == ("decoder" if prefix else layers[0].kind)}
        if sides and sides != {len(numbers)}:
            continue
        found[f"{prefix}ids"] = numbers
        if hasattr(tokenizer, "convert_ids_to_tokens"):
            found[f"{prefix}tokens"] = pieces(tokenizer, numbers)
    if "pixel_values" in tensors and layers[0].shape[0] == layers[0].shape[1]:
        found.update(_patches(model, tensors["pixel_values"], layers[0].shape[1]))
    return found


def _patches(model: Any, pixels: torch.Tensor, n: int) -> dict[str, Any]:  # noqa: ANN401
    size = getattr(model.config, "patch_size", None)
    if not isinstance(size, int) or pixels.ndim != 4:
        return {}
    rows, columns = pixels.shape[-2] // size, pixels.shape[-1] // size
    special = n - rows * columns
    if special < 0:
        return {}
    names = [f"[{'CLS' if i == 0 else f'REG{i}'}]" for i in range(special)]
    names += [f"{row},{column}" for row in range(rows) for column in range(columns)]
    return {"tokens": names, "grid": (rows, columns)}
