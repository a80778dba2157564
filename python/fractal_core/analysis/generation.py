"""Attention measured while a model writes: one row a layer with every token."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.analysis.eager import weights_given
from fractal_core.analysis.measures import ROWS
from fractal_core.analysis.numbers import Measured, of_slope, of_spread, table_of
from fractal_core.analysis.pieces import pieces
from fractal_core.analysis.provenance import made_by
from fractal_core.analysis.streaming import DimensionStream
from fractal_core.analysis.supports import layer_types, support_of
from fractal_core.errors import InvalidArgumentError, ModelError

try:
    import torch
    import transformers
except ImportError as error:
    raise ImportError(
        'streaming needs torch and transformers, which are optional: pip install "fractal-attn[torch,hf]"'
    ) from error

from fractal_core.analysis.encoded import encode, longest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fractal_core.analysis.table import Table


@dataclass(frozen=True)
class Step:
    """One token that a model wrote."""

    token_id: int
    token: str
    """What it reads as; "" without a tokenizer."""
    length: int
    """Tokens that the streams have seen: the prompt's, and those written before this one."""


class GenerationStream:
    """The attention of a causal model, measured while it writes.

    Iterating writes token after token, the most likely one, and follows every layer and head; `table` tells the
    measures so far at any time. The model is switched for each step and put back, as in `capture`.

    Args:
        model: A live causal model of transformers.
        inputs: The prompt: a text, token numbers (N,), or a mapping of tensors with a batch of one.
        tokenizer: For text.
        max_new_tokens: Most tokens to write; the model's end-of-text ends it sooner.
        q: Orders of the generalised dimensions.
        switch: Whether a fused model may be switched.
        choose: Takes the scores of the next token, (V,) float32, and returns its number.

    Raises:
        InvalidArgumentError: As `capture`; also a prompt that leaves no room, and a model that is not causal.
        ModelError: As `capture`.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        inputs: Any,  # noqa: ANN401
        tokenizer: Any = None,  # noqa: ANN401
        *,
        max_new_tokens: SupportsIndex = 64,
        q: tuple[float, ...] = (1.0, 2.0),
        switch: bool = True,
        choose: Callable[[Any], int] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.switch = model, tokenizer, switch
        self.max_new_tokens = integer("max_new_tokens", max_new_tokens, 1, INT32_MAX)
        self.q, self.choose = q, choose or _most_likely
        if getattr(model.config, "is_encoder_decoder", False):
            raise InvalidArgumentError("model", type(model).__name__, "a causal model without an encoder")
        tensors = encode(model, inputs, tokenizer, None)
        if tensors["input_ids"].shape[0] != 1 or not bool(tensors.get("attention_mask", torch.ones(1)).all()):
            raise InvalidArgumentError("inputs", "several inputs or padding", "one input without padding")
        self.ids: list[int] = tensors["input_ids"][0].tolist()
        most = longest(model)
        total = len(self.ids) + self.max_new_tokens - 1
        if most is not None and total > most:
            raise InvalidArgumentError("max_new_tokens", self.max_new_tokens, f"at most {most + 1 - len(self.ids)}")
        self.total = total
        # Its name changed in transformers 5.
        self._cache = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        self.layers: list[tuple[str, DimensionStream]] = []
        self.provenance: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Step]:
        """Writes, and yields every token once its own prompt has been followed."""
        ends = _ends(self.model)
        cache, new = None, self.ids
        written = len(self.ids)
        for _ in range(self.max_new_tokens):
            with weights_given(self.model, switch=self.switch) as before:
                output = self._pass(new, cache)
            if not self.provenance:
                self.provenance = made_by(self.model, transformers.__version__, torch.__version__, before)
            self._follow(output.attentions, new)
            cache = getattr(output, self._cache)
            chosen = int(self.choose(output.logits[0, -1].float().cpu()))
            token = pieces(self.tokenizer, [chosen])[0] if hasattr(self.tokenizer, "convert_ids_to_tokens") else ""
            yield Step(chosen, token, written)
            self.ids.append(chosen)
            new, written = [chosen], written + 1
            if chosen in ends:
                return

    def _pass(self, ids: list[int], cache: Any) -> Any:  # noqa: ANN401
        tensor = torch.tensor([ids], device=self.model.device)
        try:
            with torch.no_grad():
                output = self.model(
                    input_ids=tensor,
                    use_cache=True,
                    output_attentions=True,
                    return_dict=True,
                    **{self._cache: cache},
                )
        except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, AttributeError) as error:
            raise ModelError(f"the forward pass of {type(self.model).__name__} failed: {error}") from error
        if not getattr(output, "attentions", None) or getattr(output, "logits", None) is None:
            raise ModelError(f"{type(self.model).__name__} gives no attention weights, or no scores of the next token")
        return output

    def _follow(self, attentions: Any, ids: list[int]) -> None:  # noqa: ANN401
        if not self.layers:
            for (place, type_), weights in zip(
                layer_types(self.model, "only", len(attentions)), attentions, strict=True
            ):
                shape = (int(weights.shape[-2]), int(weights.shape[-1]))
                support: Any = support_of(self.model, "causal", "only", type_, shape)
                stream = DimensionStream(weights.shape[1], q=self.q, support=support, longest=self.total)
                self.layers.append((f"layer {place}", stream))
        for (name, stream), weights in zip(self.layers, attentions, strict=True):
            if not isinstance(weights, torch.Tensor):
                raise ModelError(f"{name} gave no weights")
            stream.push(weights[0].float().cpu().numpy(), ids=np.array(ids))

    def table(self, *, force: bool = False) -> Table:
        """The measures so far, as `measure` tells them: box, `D<q>`, and the statistics of rows.

        Raises:
            InvalidArgumentError: Nothing was written so far.
        """
        if not self.layers:
            raise InvalidArgumentError("stream", "no token so far", "at least one step")
        measured: list[Measured] = []
        for place, (name, stream) in enumerate(self.layers):
            shape, heads = (stream.length, stream.length), range(stream.heads)
            found = {"box": of_slope(stream.box_dimension(force=force))}
            found |= {f"D{q:g}": of_slope(stream.renyi_dimension(q, force=force)) for q in stream.q}
            summary = stream.row_statistics().summary()
            found |= {row: of_spread(summary[row], float("nan")) for row in ROWS}
            measured += [Measured(place, name, "causal", shape, key, value, heads) for key, value in found.items()]
        return table_of(measured, self.provenance)


def _most_likely(scores: Any) -> int:  # noqa: ANN401
    return int(scores.argmax())


def _ends(model: Any) -> set[int]:  # noqa: ANN401
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if ends is None:
        ends = getattr(model.config, "eos_token_id", None)
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
