"""What other tools hold and show, and what a ranking of tokens is worth."""

from __future__ import annotations

import types

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.analysis import (
    AttentionMaps,
    capture,
    faithfulness,
    from_bertviz,
    from_cache,
    to_bertviz,
    token_scores,
)
from fractal_core.analysis.adapters import view
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

torch = pytest.importorskip("torch")


def weights(layers=2, heads=3, n=12, causal=True):
    logits = np.random.default_rng(0).standard_normal((layers, heads, n, n))
    found = np.exp(2 * logits) * (np.tri(n) if causal else 1)
    return found / found.sum(-1, keepdims=True)


@pytest.mark.parametrize("causal", [True, False])
def test_bertvizs_list_there_and_back(causal):
    array = weights(causal=causal)
    given = [torch.from_numpy(layer)[None] for layer in array]
    maps = from_bertviz(given, [f"t{i}" for i in range(12)])
    assert {layer.support for layer in maps} == {"causal" if causal else "full"}
    tensors, tokens = to_bertviz(maps)
    assert all(torch.equal(a, b) for a, b in zip(tensors, given, strict=True))
    assert tokens[3] == "t3"
    assert to_bertviz(from_bertviz(given))[1][:2] == ["0", "1"]


def test_halves_are_widened():
    maps = from_bertviz([torch.from_numpy(layer)[None].bfloat16() for layer in weights()])
    assert maps.layers[0].weights.dtype == np.float32


class Cache:
    """As TransformerLens' cache: keys of hooks, and short names."""

    def __init__(self, layers):
        self.layers = {f"blocks.{i}.attn.hook_pattern": layer for i, layer in enumerate(layers)}
        self.layers["hook_embed"] = torch.zeros(1, 12, 4)

    def keys(self):
        return self.layers.keys()

    def __getitem__(self, key):
        return self.layers[f"blocks.{key[1]}.attn.hook_pattern" if isinstance(key, tuple) else key]


def test_caches_of_other_tools():
    array = weights(11)
    layers = [torch.from_numpy(layer)[None] for layer in array]
    saved = [types.SimpleNamespace(value=layer) for layer in layers]
    for cache in (Cache(layers), Cache(layers).layers, saved, [layer[0] for layer in layers]):
        maps = from_cache(cache)
        assert len(maps) == 11
        assert all(np.array_equal(layer.weights, wanted) for layer, wanted in zip(maps, array, strict=True))


def test_the_view_is_bertvizs(monkeypatch):
    called = {}
    fake = types.ModuleType("bertviz")
    fake.head_view = lambda tensors, tokens, **kw: called.update(tensors=tensors, tokens=tokens, **kw) or "page"
    monkeypatch.setitem(__import__("sys").modules, "bertviz", fake)
    assert view(from_bertviz(list(weights()), list("abcdefghijkl")), "head", html_action="return") == "page"
    assert called["tokens"] == list("abcdefghijkl")
    assert called["tensors"][0].shape == (1, 3, 12, 12)
    assert called["html_action"] == "return"


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: from_bertviz([np.ones((2, 3, 4, 4))]), ShapeError, "attention[0]"),
        (lambda: from_bertviz([]), InvalidArgumentError, "layers"),
        (lambda: from_bertviz(list(weights()), ["a"]), ShapeError, "tokens"),
        (lambda: from_cache({}), InvalidArgumentError, "cache"),
        (lambda: from_cache({"blocks.1.attn.hook_pattern": weights()[0]}), InvalidArgumentError, "cache"),
        (lambda: from_cache(3), InvalidArgumentError, "cache"),
        (lambda: view(from_bertviz(list(weights())), "neuron"), InvalidArgumentError, "which"),
        (lambda: token_scores(from_bertviz(list(weights())), "gradient"), InvalidArgumentError, "method"),
        (lambda: token_scores(AttentionMaps.from_arrays(np.full((3, 4), 0.25))), ShapeError, "maps"),
        (lambda: to_bertviz(AttentionMaps.from_arrays(np.full((3, 4), 0.25))), ShapeError, "maps"),
        (lambda: to_bertviz(np.ones(3)), DTypeError, "maps"),
    ],
)
def test_what_is_refused(call, error, argument):
    with pytest.raises(error) as found:
        call()
    assert found.value.argument == argument


def test_sparse_layers_have_scores_and_no_matrix():
    index_set = IndexSet.from_offsets([0, 1], 8)
    even = np.repeat(1 / np.diff(index_set.indptr), np.diff(index_set.indptr))[None]
    maps = AttentionMaps.from_arrays([dimension.EdgeWeights(index_set, even)])
    assert token_scores(maps).scores == pytest.approx(np.array([1.5, *[1] * 6, 0.5]) / 8)
    for call in (lambda: to_bertviz(maps), lambda: token_scores(maps, "rollout")):
        with pytest.raises(DTypeError, match="sparse"):
            call()


def test_scores_are_masses_and_rollouts():
    array = weights()
    maps = AttentionMaps.from_arrays(array, "causal", tokens="abcdefghijkl")
    received = token_scores(maps)
    assert np.allclose(received.scores, array.sum((0, 1, 2)) / array.sum(), rtol=1e-12)
    rolled = token_scores(maps, "rollout")
    mixed = [0.5 * layer.mean(0) + 0.5 * np.eye(12) for layer in array]
    assert np.allclose(rolled.scores, (mixed[1] @ mixed[0])[-1], rtol=1e-9)
    lime = received.to_lime()
    assert [weight for _, weight in lime] == sorted(received.scores, reverse=True)
    assert lime[0][0] == "abcdefghijkl"[received.ranking()[0]]
    assert received.to_captum().shape == (1, 12)


class Reads(torch.nn.Module):
    """Answers by one token alone."""

    def __init__(self, place):
        super().__init__()
        self.place, self.weight = place, torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids):
        hit = (input_ids[:, self.place] == 7).double()
        return types.SimpleNamespace(logits=torch.stack([4 * hit, 4 * (1 - hit)], -1))


def test_a_faithful_ranking_is_told_from_a_random_one():
    ids = np.array([1, 2, 7, 3, 4, 5, 6, 8, 9, 3])
    model, rng = Reads(2), np.random.default_rng(0)
    model.train()
    right = faithfulness(model, ids, np.arange(10) == 2, filler=0, rng=rng, draws=50)
    high, low = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))
    assert right.deletion == pytest.approx([high] + [low] * 10)
    assert right.insertion == pytest.approx([low] + [high] * 10)
    assert right.deletion_area < right.random_deletion[0] - right.random_deletion[1]
    assert right.insertion_area > right.random_insertion[0] + right.random_insertion[1]
    wrong = faithfulness(model, ids, np.arange(10) != 2, filler=0, rng=rng, draws=50)
    assert wrong.deletion_area > right.random_deletion[0]
    assert model.training


def test_faithfulness_of_a_language_model(model):
    net = model("gpt2")
    ids = np.random.default_rng(0).integers(2, 40, 24)
    maps = capture(net, {"input_ids": torch.from_numpy(ids)[None]})
    found = faithfulness(net, ids, token_scores(maps).scores, filler=0, rng=np.random.default_rng(0), steps=4, draws=3)
    with torch.no_grad():
        whole = net(input_ids=torch.from_numpy(ids)[None]).logits[0, -1].double().softmax(-1)
    assert found.deletion[0] == pytest.approx(float(whole.max()), rel=1e-5)
    assert found.insertion[-1] == pytest.approx(found.deletion[0], rel=1e-6)
    assert found.insertion[0] == pytest.approx(found.deletion[-1], rel=1e-6)
    for bad in ({"filler": -1}, {"filler": 0, "steps": 0}, {"filler": 0, "draws": 1}):
        with pytest.raises(InvalidArgumentError):
            faithfulness(net, ids, ids, rng=np.random.default_rng(0), **bad)
    with pytest.raises(DTypeError):
        faithfulness(net, ids, ids, filler=0, rng=7)
