"""Wrong calls of the myelinated layer: typed errors that name the argument, and a cache that stays as it was."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, PluginError, ShapeError
from fractal_core.nn import KeyValueCache, MyelinatedCache, MyelinatedLayer

X = torch.randn(2, 6, 8)
PAIRS = torch.ones(1, 6, 6, dtype=torch.bool)


def layer(*given, **options):
    torch.manual_seed(0)
    return MyelinatedLayer(8, 2, *given, **options).eval()


def filled(layers=3):
    cache = MyelinatedCache()
    with torch.no_grad():
        layer(layers)(X, kv_cache=cache)
    return cache


CALLS = [
    ("dims", InvalidArgumentError, lambda: MyelinatedLayer(0, 1)),
    ("dims", DTypeError, lambda: MyelinatedLayer(8.0, 1)),
    ("head", InvalidArgumentError, lambda: MyelinatedLayer(8, 3)),
    ("layerA", InvalidArgumentError, lambda: layer(0)),
    ("sparsity_threshold", InvalidArgumentError, lambda: layer(3, 0.0)),
    ("sparsity_threshold", InvalidArgumentError, lambda: layer(3, 1)),
    ("sparsity_threshold", DTypeError, lambda: layer(3, "low")),
    ("max_dist", InvalidArgumentError, lambda: layer(3, 0.1, 0)),
    ("max_dist", DTypeError, lambda: layer(3, 0.1, 2.5)),
    ("rate", InvalidArgumentError, lambda: layer(rate=0)),
    ("rate", InvalidArgumentError, lambda: layer(rate=float("nan"), router="always")),
    ("router", DTypeError, lambda: layer(router=3)),
    ("router", DTypeError, lambda: layer(router=lambda dims: dims)),
    ("jump", DTypeError, lambda: layer(jump=1)),
    ("memory", InvalidArgumentError, lambda: layer(memory="sum")),
    ("temperature", InvalidArgumentError, lambda: layer(temperature=0)),
    ("pattern", InvalidArgumentError, lambda: layer(pattern=fc.patterns.per_head(["window", "cantor"]))),
    ("x", ShapeError, lambda: layer()(X[0])),
    ("x", ShapeError, lambda: layer()(X[..., :4])),
    ("x", DTypeError, lambda: layer()(X.long())),
    ("x", DTypeError, lambda: layer()([[1.0]])),
    ("xa", ShapeError, lambda: layer()(X, X[:1])),
    ("xa", ShapeError, lambda: layer()(X, X.double())),
    ("xa", DTypeError, lambda: layer()(X, 1)),
    ("mask", DTypeError, lambda: layer()(X, None, torch.zeros(6, 6))),
    ("mask", DTypeError, lambda: layer()(X, mask=[True])),
    ("mask", ShapeError, lambda: layer()(X, mask=torch.ones(6, 6, dtype=torch.bool))),
    ("mask", ShapeError, lambda: layer()(X, torch.randn(2, 4, 8), torch.ones(2, 6, dtype=torch.bool))),
    ("mask", InvalidArgumentError, lambda: layer(pattern="window")(X, mask=PAIRS)),
    ("kv_cache", DTypeError, lambda: layer()(X, kv_cache=KeyValueCache())),
    ("kv_cache", InvalidArgumentError, lambda: layer()(X, kv_cache=MyelinatedCache(), is_causal=False)),
    ("kv_cache", InvalidArgumentError, lambda: layer()(X, mask=PAIRS, kv_cache=MyelinatedCache())),
    ("kv_cache", InvalidArgumentError, lambda: layer(2)(X, kv_cache=filled(3))),
    ("kv_cache", InvalidArgumentError, lambda: layer(pattern="hilbert:shape=2x3")(X, kv_cache=MyelinatedCache())),
    ("is_causal", DTypeError, lambda: layer()(X, is_causal=1)),
    ("return_routing", DTypeError, lambda: layer()(X, return_routing=None)),
    ("capacity", InvalidArgumentError, lambda: MyelinatedCache(0)),
    ("rows", KeyIndexError, lambda: filled().reorder([2])),
    ("rows", KeyIndexError, lambda: MyelinatedCache().reorder([0])),
    ("rows", DTypeError, lambda: filled().reorder([0.5])),
]


@pytest.mark.parametrize(("argument", "error", "call"), CALLS)
def test_wrong_calls(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument


def test_unknown_names():
    with pytest.raises(PluginError, match="unknown router"):
        layer(router="reinforce")
    with pytest.raises(PluginError, match="unknown pattern"):
        layer(pattern="nowhere")


@pytest.mark.parametrize("wrong", [X[:1], X.double(), X[..., :4]])
def test_a_refused_step_leaves_the_cache(wrong):
    one, cache = layer(), filled()
    with torch.no_grad():
        expected = one(X[:, :1], kv_cache=filled())
        with pytest.raises((fc.errors.FractalError, RuntimeError)):
            one(wrong, kv_cache=cache)
        assert len(cache) == 6
        assert torch.equal(one(X[:, :1], kv_cache=cache), expected)


def test_a_failure_in_the_midst_leaves_the_cache():
    """The last layer's router fails when the layers before have appended their keys."""
    one, cache = layer(), filled()
    routed = one.nodes[2].router.forward

    def fails(*_, **__):
        raise RuntimeError("in the midst")

    with torch.no_grad():
        expected = one(X[:, :1], kv_cache=filled())
        one.nodes[2].router.forward = fails
        with pytest.raises(RuntimeError, match="in the midst"):
            one(X[:, :1] * 9, kv_cache=cache)
        one.nodes[2].router.forward = routed
        assert torch.equal(one(X[:, :1], kv_cache=cache), expected)
