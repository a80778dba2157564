"""All heads of a language model, against the original's own call, which takes one head at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from fractal_core.analysis import FractalAttentionAnalyzer
from fractal_core.bench.clock import Times

from benches.peers.analysis import PEER, original_analyzer
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["NAME", "all_heads", "label"]

NAME = "model/heads"
_WORDS = 64


def label(layers: int, heads: int, n: int) -> str:
    """What the row measures."""
    return f"all {layers * heads} heads of a Llama of {layers} × {heads} heads, {n} tokens: from the text to a table"


def all_heads(settings: Settings, *, layers: int, heads: int, n: int, vocabulary: int) -> Iterator[Row]:
    """The forward pass and every measure of every head; the original's `analyze` of a head in each round, scaled.

    Weights are random: no time depends on them. Both are given the same model in memory, with eager attention.
    """
    model, tokenizer = _random_llama(layers, heads, vocabulary), _tokenizer()
    ours = FractalAttentionAnalyzer(model, tokenizer=tokenizer)
    theirs = original_analyzer(model, tokenizer)
    text, short = (" ".join(f"w{i % _WORDS}" for i in range(count)) for count in (n, 40))
    ours.measure(short, "all")
    theirs.analyze(short)
    count = settings.count(2)
    picked = [_spread(i, count, layers * heads) for i in range(count)]
    seconds: dict[str, list[float]] = {"ours": [], "original": []}
    for head in picked:
        start = time.perf_counter()
        table = ours.measure(text, "all")
        between = time.perf_counter()
        found = theirs.analyze(text, layer_idx=head // heads, head_idx=head % heads)
        end = time.perf_counter()
        assert set(table["n_keys"]) == {n}
        assert found["transformed_attention"].shape == (n, n)
        seconds["ours"].append(between - start)
        seconds["original"].append((end - between) * layers * heads)
    named = ", ".join(f"{head // heads}.{head % heads}" for head in picked)
    note = (
        f"{len(picked)} of the original's {layers * heads} calls were timed (layer.head {named}) and scaled to all of "
        "them; ours is all heads; random weights"
    )
    yield Row.faster(NAME, label(layers, heads, n), PEER, Times(seconds), theirs="original", bar=20, note=note)


def _spread(i: int, count: int, total: int) -> int:
    """The i-th of `count` numbers spread from the first to the last of `total`."""
    return i * (total - 1) // max(count - 1, 1)


def _random_llama(layers: int, heads: int, vocabulary: int) -> Any:  # noqa: ANN401  # transformers is optional
    """SmolLM2-135M where `layers` is 30 and `heads` 9: heads of 64, one of keys and values for three of queries."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64 * heads,
        intermediate_size=512 * heads // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation("eager")
    return model


def _tokenizer() -> Any:  # noqa: ANN401
    """One token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<end>"}
    names = [*special.values(), *(f"w{i}" for i in range(_WORDS))]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=8192, **special)
