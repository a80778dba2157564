"""Inputs as a model takes them: from text, identities, or tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

MASKS = ("attention_mask", "decoder_attention_mask")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")


def encode(model: Any, inputs: Any, tokenizer: Any, target: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Inputs of one or several texts or images as tensors, padded on the right where they differ.

    Raises:
        InvalidArgumentError: A text is empty or too long, or there is no tokenizer for it.
        ShapeError: Tensors have the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    if isinstance(inputs, Mapping):
        found = _tensors(cast("Mapping[str, Any]", inputs))
    elif _is_image_processor(tokenizer):
        found = _tensors(tokenizer(images=inputs, return_tensors="pt"))
    else:
        found = _padded([_one(item, tokenizer, "inputs") for item in _items(inputs)])
    main = str(getattr(model, "main_input_name", "input_ids"))
    if main not in found and "inputs_embeds" not in found:
        raise InvalidArgumentError("inputs", sorted(found), f"what the model takes, with {main}")
    if model.config.is_encoder_decoder if hasattr(model.config, "is_encoder_decoder") else False:
        _add_target(model, found, tokenizer, target)
    elif target is not None:
        raise InvalidArgumentError("target", "a target", "None, for a model without a decoder of its own")
    _check(model, found)
    return found


def _is_image_processor(tokenizer: object) -> bool:
    return tokenizer is not None and not hasattr(tokenizer, "convert_ids_to_tokens")


def _items(inputs: object) -> list[Any]:
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.detach().cpu().numpy()
    if isinstance(inputs, np.ndarray):
        array = cast("npt.NDArray[Any]", inputs)
        return [array] if array.ndim == 1 else list(array)
    if isinstance(inputs, Sequence) and len(cast("Sequence[Any]", inputs)):
        listed = list(cast("Sequence[Any]", inputs))
        return [listed] if not isinstance(listed[0], (str, Sequence, np.ndarray, torch.Tensor)) else listed
    if isinstance(inputs, Sequence):
        raise InvalidArgumentError("inputs", "nothing", "at least one text")
    raise DTypeError("inputs", type(inputs).__name__, "text, texts, token numbers, or a mapping of tensors")


def _one(item: Any, tokenizer: Any, argument: str) -> dict[str, torch.Tensor]:  # noqa: ANN401
    if isinstance(item, str):
        if tokenizer is None:
            raise InvalidArgumentError(argument, "text without a tokenizer", "tokenizer=, or token numbers")
        if not item:
            raise InvalidArgumentError(argument, "an empty text", "a text with at least one token")
        # Longer than the tokenizer's limit is refused below, by the model's; no log line needs to say so before.
        found = dict(tokenizer(item, return_tensors="pt", verbose=False))
        return {name: value[0] for name, value in found.items() if isinstance(value, torch.Tensor)}
    ids = torch.as_tensor(np.asarray(item)) if not isinstance(item, torch.Tensor) else item
    if ids.dtype.is_floating_point or ids.dtype in {torch.bool, torch.complex64}:
        raise DTypeError(argument, ids.dtype, "text or integers")
    if ids.ndim != 1:
        raise ShapeError(argument, tuple(ids.shape), "(N,), the tokens of one text")
    return {"input_ids": ids.long()}


def _padded(each: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    longest = max(len(one["input_ids"]) for one in each)
    found: dict[str, list[torch.Tensor]] = {}
    for one in each:
        one.setdefault("attention_mask", torch.ones(len(one["input_ids"]), dtype=torch.long))
        for name, value in one.items():
            missing = value.new_zeros(longest - len(value))
            found.setdefault(name, []).append(torch.cat([value, missing]))
    if any(len(values) < len(each) for values in found.values()):
        raise InvalidArgumentError("inputs", "texts and token numbers together", "one kind")
    return {name: torch.stack(values) for name, values in found.items()}


def _tensors(inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, value in inputs.items():
        tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
        found[str(name)] = tensor
    for name in ("input_ids", "decoder_input_ids", *MASKS):
        if name in found and found[name].ndim == 1:
            found[name] = found[name][None]
        if name in found and found[name].ndim != 2:
            raise ShapeError(name, tuple(found[name].shape), "(B, N)")
    return found


def _add_target(model: Any, found: dict[str, torch.Tensor], tokenizer: Any, target: Any) -> None:  # noqa: ANN401
    """The decoder's input: the target, or the input itself, shifted to the right by the start token."""
    if "decoder_input_ids" in found or "decoder_inputs_embeds" in found:
        if target is not None:
            raise InvalidArgumentError("target", "a target", "None beside decoder_input_ids")
        return
    start = getattr(model.config, "decoder_start_token_id", None)
    if start is None:
        start = getattr(model.config, "bos_token_id", None)
    if start is None:
        raise InvalidArgumentError("inputs", sorted(found), "decoder_input_ids: the model names no start token")
    if target is not None:
        given = _padded([_one(item, tokenizer, "target") for item in _items(target)])
        ids, mask = given["input_ids"], given["attention_mask"]
    elif "input_ids" in found:
        ids = found["input_ids"]
        mask = found.get("attention_mask", torch.ones_like(ids))
    else:
        raise InvalidArgumentError("target", "None", "what the decoder reads, where the input is no text")
    # Of each input its own tokens, wherever its padding is.
    shifted = [
        torch.cat([row.new_full((1,), int(start)), row[here != 0][:-1]]) for row, here in zip(ids, mask, strict=True)
    ]
    given = _padded([{"input_ids": row} for row in shifted])
    found["decoder_input_ids"], found["decoder_attention_mask"] = given["input_ids"], given["attention_mask"]


def _check(model: Any, found: dict[str, torch.Tensor]) -> None:  # noqa: ANN401
    for name, stack in (("input_ids", "encoder"), ("decoder_input_ids", "decoder")):
        if name not in found:
            continue
        length = int(found[name].shape[1])
        if not length or not found[name].shape[0]:
            raise InvalidArgumentError("inputs", f"{name} of shape {tuple(found[name].shape)}", "at least one token")
        most = longest(model, stack)
        if most is not None and length > most:
            raise InvalidArgumentError(
                "inputs", f"{length} tokens", f"at most {most}, the positions that the model has"
            )
        rows = vocabulary(model)
        if rows is not None and not (int(found[name].min()) >= 0 and int(found[name].max()) < rows):
            raise InvalidArgumentError(name, f"a token {int(found[name].max())}", f"0 to {rows - 1}")
    for mask, of in zip(MASKS, ("input_ids", "decoder_input_ids"), strict=True):
        if mask not in found:
            continue
        if of in found and found[mask].shape != found[of].shape:
            raise ShapeError(mask, tuple(found[mask].shape), f"the shape of {of}, {tuple(found[of].shape)}")
        if of in found and not bool((found[mask] != 0).any(dim=1).all()):
            raise InvalidArgumentError(mask, "an input of padding alone", "at least one token in each")


def longest(model: Any, stack: str = "encoder") -> int | None:  # noqa: ANN401
    """Most tokens that the model has positions for; None where it does not say."""
    config = (
        model.config.get_text_config(**{"decoder" if stack == "decoder" else "encoder": True})
        if hasattr(model.config, "get_text_config") and getattr(model.config, "is_encoder_decoder", False)
        else _text(model.config)
    )
    if hasattr(config, "relative_attention_num_buckets"):
        return None
    for name in _LENGTHS:
        value = getattr(config, name, None)
        if isinstance(value, int) and 0 < value < 2**31:
            return value - _offset(model)
    return None


def _offset(model: Any) -> int:  # noqa: ANN401
    """Rows of the position table that RoBERTa and its kin never use."""
    for name, module in model.named_modules():
        if name.endswith("embeddings.position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def vocabulary(model: Any) -> int | None:  # noqa: ANN401
    """Rows of the token table; None where there is none."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, IndexError):
        return None


def _text(config: Any) -> Any:  # noqa: ANN401
    return config.get_text_config() if hasattr(config, "get_text_config") else config
