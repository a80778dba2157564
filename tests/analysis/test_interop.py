"""Attention in the forms of other tools, taken and given; with the tools themselves where they are installed."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fractal_core.analysis import AttentionMaps, capture, from_bertviz, from_cache, measure, to_bertviz
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from noisy_attention import weights

torch = pytest.importorskip("torch")

TEXT = "The golden ratio appears in nature."


def tensors(layers=2, heads=3, n=6, **more):
    return [torch.from_numpy(weights(heads, n, seed=s, **more).astype(np.float32))[None] for s in range(layers)]


def test_bertviz_gives_and_takes(make, tokenizer):
    maps = capture(make("gpt2"), TEXT, tokenizer)
    given = to_bertviz(maps)
    assert given["tokens"] == list(maps.tokens)
    assert [tuple(a.shape) for a in given["attention"]] == [(1, 4, len(maps.tokens), len(maps.tokens))] * 2
    again = from_bertviz(**given)
    assert again.layers[0].support == "causal"
    for a, b in zip(again.layers, maps.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


def test_bertviz_of_an_encoder_and_a_decoder(make, tokenizer):
    maps = capture(make("bart"), TEXT, tokenizer, target="Another text.")
    given = to_bertviz(maps)
    assert sorted(given) == [
        "cross_attention",
        "decoder_attention",
        "decoder_tokens",
        "encoder_attention",
        "encoder_tokens",
    ]
    again = from_bertviz(**given)
    assert [layer.name for layer in again.layers] == [layer.name for layer in maps.layers]
    assert (again.tokens, again.target_tokens) == (maps.tokens, maps.target_tokens)


# bertviz leaves its script open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("view", ["head_view", "model_view"])
def test_bertviz_draws_what_it_is_given(view, make, tokenizer):
    bertviz = pytest.importorskip("bertviz")
    for kind, target in (("bert", None), ("t5", "Another text.")):
        maps = capture(make(kind), TEXT, tokenizer, target=target)
        page = getattr(bertviz, view)(**to_bertviz(maps), html_action="return").data
        drawn = json.loads(re.search(r"const params = (\{.*?\}); *(?://.*)?$", page, re.MULTILINE)[1])
        first = drawn["attention"][0]
        # It writes spaces as they were in the pieces.
        assert [text.strip() for text in first["left_text"]] == [token.strip() for token in maps.tokens]
        np.testing.assert_allclose(first["attn"][0], maps.layers[0].weights, atol=1e-6)


def test_bertviz_sees_supports():
    assert from_bertviz(tensors()).layers[0].support == "causal"
    assert from_bertviz(tensors(causal=False)).layers[0].support == "full"
    assert from_bertviz(tensors(), support="full").layers[0].support == "full"
    assert from_bertviz([a[0].numpy() for a in tensors()]).layers[0].shape == (6, 6)


class LensCache:
    """What TransformerLens' ActivationCache answers, so far as reading patterns goes."""

    def __init__(self, tensors_by_hook):
        self.cache_dict = tensors_by_hook

    def keys(self):
        return self.cache_dict.keys()

    def __getitem__(self, key):
        return self.cache_dict[f"blocks.{key[1]}.attn.hook_pattern" if isinstance(key, tuple) else key]


class Saved:
    """A saved proxy of nnsight before 0.4, with its tensor in `value`."""

    def __init__(self, value):
        self.value = value


def test_caches_of_every_form():
    layers = tensors(3)
    by_hook = {f"blocks.{i}.attn.hook_pattern": t for i, t in enumerate(layers)}
    by_hook["blocks.0.attn.hook_q"] = torch.zeros(1)
    forms = [
        LensCache(by_hook),
        by_hook,
        {("pattern", i): t for i, t in enumerate(layers)},
        layers,
        [Saved(t) for t in layers],
        [t[0].numpy() for t in layers],
    ]
    for form in forms:
        maps = from_cache(form, "abcdef", ids=range(6))
        assert [layer.name for layer in maps.layers] == ["layer 0", "layer 1", "layer 2"]
        for layer, given in zip(maps.layers, layers, strict=True):
            np.testing.assert_array_equal(layer.weights, given[0].numpy())


def test_one_input_of_a_batch():
    both = {"blocks.0.attn.hook_pattern": torch.cat(tensors(2))}
    np.testing.assert_array_equal(from_cache(both, item=1).layers[0].weights, tensors(2)[1][0].numpy())
    with pytest.raises(ShapeError, match="input 2"):
        from_cache(both, item=2)


def test_transformer_lens_itself(ids):
    lens = pytest.importorskip("transformer_lens")
    layers = tensors(2, 4, 40)
    hooks = {f"blocks.{i}.attn.hook_pattern": t for i, t in enumerate(layers)}
    cache = lens.ActivationCache({**hooks, "hook_embed": torch.zeros(1)}, model=None)
    maps = from_cache(cache, ids=ids)
    np.testing.assert_array_equal(maps.layers[1].weights, layers[1][0].numpy())
    assert len(measure(maps, ["D1", "induction"])) == 2 * 4 * 2


def test_nnsight_itself(make, ids):
    nnsight = pytest.importorskip("nnsight")
    model = make("gpt2")
    model.set_attn_implementation("eager")
    traced = nnsight.NNsight(model)
    with traced.trace(torch.as_tensor(ids)[None]):
        first = traced.transformer.h[0].attn.output[1].save()
        second = traced.transformer.h[1].attn.output[1].save()
    maps = from_cache([first, second])
    own = capture(make("gpt2"), ids)
    for a, b in zip(maps.layers, own.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (InvalidArgumentError, from_bertviz),
        (InvalidArgumentError, lambda: from_bertviz(tensors(), encoder_attention=tensors())),
        (InvalidArgumentError, lambda: from_bertviz([])),
        (ShapeError, lambda: from_bertviz([torch.ones(2, 3, 4, 4) / 4])),
        (ShapeError, lambda: from_bertviz([torch.ones(4, 4) / 4])),
        (ShapeError, lambda: from_bertviz([torch.ones(1, 2, 3, 4) / 4])),
        (ShapeError, lambda: from_bertviz(tensors(), "abc")),
        (InvalidArgumentError, lambda: from_bertviz([t * 2 for t in tensors()])),
        (InvalidArgumentError, lambda: to_bertviz(AttentionMaps.from_arrays(weights(1, 6), "causal"))),
        (InvalidArgumentError, lambda: from_cache({})),
        (InvalidArgumentError, lambda: from_cache({"blocks.0.attn.hook_q": torch.ones(1)})),
        (InvalidArgumentError, lambda: from_cache({"blocks.1.attn.hook_pattern": tensors()[0]})),
        (InvalidArgumentError, lambda: from_cache([])),
        (InvalidArgumentError, lambda: from_cache(tensors(causal=False))),
        (DTypeError, lambda: from_cache(7)),
        (DTypeError, lambda: from_cache("blocks.0.attn.hook_pattern")),
    ],
)
def test_wrong_forms(error, call):
    with pytest.raises(error):
        call()
