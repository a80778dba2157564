"""Wrong calls of the local layers: each gives the typed error with the argument's name."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core import nn
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError

E, H = 16, 4
X = torch.ones(2, 6, E)
MASK = torch.zeros(2, 6, dtype=torch.bool)


def span(**settings):
    return nn.AdaptiveSpan(E, H, **{"max_dist": 8, **settings})


def both(**settings):
    return nn.IntegratedAttention(E, H, **{"max_dist": 16, "win_size": 4, "max_span": 8, **settings})


def block(**settings):
    return nn.Residual(E, H, **settings)


def refiner(**settings):
    return nn.Refiner(**{"states": 3, "actions": 2, **settings})


WRONG = [
    ("head", InvalidArgumentError, lambda: nn.AdaptiveSpan(E, 3)),
    ("dims", DTypeError, lambda: nn.AdaptiveSpan(16.0, 4)),
    ("max_dist", InvalidArgumentError, lambda: span(max_dist=0)),
    ("sharpen", DTypeError, lambda: span(sharpen=1)),
    ("temp_scale", InvalidArgumentError, lambda: span(temp_scale=-1.0)),
    ("temp_scale", DTypeError, lambda: span(temp_scale="warm")),
    ("ramp", InvalidArgumentError, lambda: span(ramp=0)),
    ("ramp", InvalidArgumentError, lambda: span(ramp=float("nan"))),
    ("dropout", InvalidArgumentError, lambda: span(dropout=1.0)),
    ("device", InvalidArgumentError, lambda: span(device="cuda")),
    ("pattern", ShapeError, lambda: span(pattern=fc.patterns.per_head(["cantor"] * 3))),
    ("query", ShapeError, lambda: span()(X[0])),
    ("query", ShapeError, lambda: span()(X[..., :4])),
    ("query", DTypeError, lambda: span()(X.long())),
    ("query", DTypeError, lambda: span()(X.double())),
    ("query", DTypeError, lambda: span()(X.numpy())),
    ("key", ShapeError, lambda: span()(X, X[:1])),
    ("value", InvalidArgumentError, lambda: span()(X, value=X)),
    ("value", ShapeError, lambda: span()(X, X, X[:, :3])),
    ("n_queries", InvalidArgumentError, lambda: span()(X, X[:, :3])),
    ("max_dist", InvalidArgumentError, lambda: span()(X, max_dist=9)),
    ("max_span", InvalidArgumentError, lambda: span()(X, max_span=-1)),
    ("span_scale", InvalidArgumentError, lambda: span()(X, span_scale=-0.5)),
    ("span_scale", ShapeError, lambda: span()(X, span_scale=torch.ones(3))),
    ("is_causal", DTypeError, lambda: span()(X, is_causal=1)),
    ("key_padding_mask", ShapeError, lambda: span()(X, key_padding_mask=MASK[:1])),
    ("key_padding_mask", DTypeError, lambda: span()(X, key_padding_mask=MASK.float())),
    ("weight", InvalidArgumentError, lambda: span().loss(-1.0)),
    ("initial", InvalidArgumentError, lambda: nn.spans.create("learned", dims=E, heads=H, max_span=8, initial=9)),
    ("wide", InvalidArgumentError, lambda: nn.spans.create("learned", dims=E, heads=H, max_span=8, wide=9)),
    ("window", InvalidArgumentError, lambda: nn.SlidingWindowAttention(E, H, 0)),
    ("window", DTypeError, lambda: nn.SlidingWindowAttention(E, H, 2.5)),
    ("scales", InvalidArgumentError, lambda: nn.SlidingWindowAttention(E, H, 4, 5)),
    ("head", InvalidArgumentError, lambda: nn.SlidingWindowAttention(E, 3, 4)),
    ("win_size", InvalidArgumentError, lambda: nn.slide_win(X, 0)),
    ("heads", InvalidArgumentError, lambda: nn.slide_win(X, 3, heads=0)),
    ("x", ShapeError, lambda: nn.slide_win(X, 3, heads=3)),
    ("span_len", InvalidArgumentError, lambda: nn.slide_win(X, 3, -1.0)),
    ("span_scale", InvalidArgumentError, lambda: nn.slide_win(X, 3, None, 0.5)),
    ("ramp", InvalidArgumentError, lambda: nn.slide_win(X, 3, 2.0, ramp=-1)),
    ("mask", ShapeError, lambda: nn.slide_win(X, 3, mask=torch.zeros(6, 6, dtype=torch.bool))),
    ("states", InvalidArgumentError, lambda: refiner(states=0)),
    ("actions", DTypeError, lambda: refiner(actions=True)),
    ("alpha", InvalidArgumentError, lambda: refiner(alpha=0.0)),
    ("gamma", InvalidArgumentError, lambda: refiner(gamma=1.5)),
    ("epsilon", DTypeError, lambda: refiner(epsilon=None)),
    ("default", InvalidArgumentError, lambda: refiner(default=2)),
    ("state", InvalidArgumentError, lambda: refiner().act(3)),
    ("state", DTypeError, lambda: refiner().act(0.5)),
    ("action", InvalidArgumentError, lambda: refiner().observe(0, 2, 1.0)),
    ("reward", InvalidArgumentError, lambda: refiner().observe(0, 1, float("nan"))),
    ("reward", DTypeError, lambda: refiner().observe(0, 1, torch.ones(()))),
    ("edges", ShapeError, lambda: nn.Refiner.discretize([0.0], [])),
    ("edges", InvalidArgumentError, lambda: nn.Refiner.discretize([0.0], [[1.0, 1.0]])),
    ("values", InvalidArgumentError, lambda: nn.Refiner.discretize([float("nan")], [[1.0]])),
    ("max_span", InvalidArgumentError, lambda: both(max_span=17)),
    ("win_size", InvalidArgumentError, lambda: both(win_size=9)),
    ("steps", InvalidArgumentError, lambda: both(steps=4)),
    ("stride", InvalidArgumentError, lambda: both(stride=0)),
    ("far", ShapeError, lambda: both(far=fc.patterns.per_head(["cantor"] * 3))),
    ("presets", InvalidArgumentError, lambda: both(presets=(0.5, 1.5))),
    ("presets", InvalidArgumentError, lambda: both(presets=())),
    ("presets", DTypeError, lambda: both(presets=0.5)),
    ("refiner", ShapeError, lambda: both(refiner=refiner())),
    ("refiner", DTypeError, lambda: both(refiner="greedy")),
    ("refiner", InvalidArgumentError, lambda: both().choose_preset()),
    ("preset", InvalidArgumentError, lambda: both().use_preset(3)),
    ("x", ShapeError, lambda: both()(X[..., :4])),
    ("xa", ShapeError, lambda: both()(X, X[:1])),
    ("mask", ShapeError, lambda: both()(X, mask=MASK[:, :3])),
    ("xa_mask", InvalidArgumentError, lambda: both()(X, xa_mask=MASK)),
    ("kv_cache", DTypeError, lambda: both()(X, kv_cache={})),
    ("act", InvalidArgumentError, lambda: block(act="swoosh")),
    ("act", DTypeError, lambda: block(act=3)),
    ("norm", InvalidArgumentError, lambda: block(norm="batchnorm")),
    ("ctx", InvalidArgumentError, lambda: block(ctx=0)),
    ("pattern", InvalidArgumentError, lambda: block(ctx=3, pattern="cantor")),
    ("layer_idx", InvalidArgumentError, lambda: block(layer_idx=-1)),
    ("mlp_ratio", InvalidArgumentError, lambda: block(mlp_ratio=0)),
    ("xa", InvalidArgumentError, lambda: block()(X, X)),
    ("xa", InvalidArgumentError, lambda: block(cross_attention=True)(X)),
    ("kv_cache", InvalidArgumentError, lambda: block()(X, kv_cache=nn.KeyValueCache())),
    (
        "kv_cache",
        InvalidArgumentError,
        lambda: block(pattern=fc.pattern("hilbert", shape=(6,)), decoder=True)(X, kv_cache=nn.KeyValueCache()),
    ),
    ("heads", InvalidArgumentError, lambda: nn.sample_encoder_config(2, 16, 0, heads=(3, 5))),
    ("acts", InvalidArgumentError, lambda: nn.sample_encoder_config(2, 16, 0, acts=())),
    ("act", InvalidArgumentError, lambda: nn.sample_encoder_config(2, 16, 0, acts=("swoosh",))),
    ("norms", DTypeError, lambda: nn.sample_encoder_config(2, 16, 0, norms="layernorm")),
    ("dropout", InvalidArgumentError, lambda: nn.sample_encoder_config(2, 16, 0, dropout=(0.3, 0.1))),
    ("dropout", DTypeError, lambda: nn.sample_encoder_config(2, 16, 0, dropout=0.1)),
    ("seed", InvalidArgumentError, lambda: nn.sample_encoder_config(2, 16, -1)),
    ("num_layers", InvalidArgumentError, lambda: nn.create_encoder_layers(-1)),
    ("configs", DTypeError, lambda: nn.build_encoder([{"dims": 16}])),
    ("configs", DTypeError, lambda: nn.build_encoder("layers")),
    ("configs", InvalidArgumentError, lambda: nn.build_encoder([nn.EncoderLayerConfig(d, 4) for d in (16, 32)])),
    ("depth", InvalidArgumentError, lambda: nn.EncoderLayerConfig.from_dict({"dims": 16, "head": 4, "depth": 2})),
    ("head", InvalidArgumentError, lambda: nn.EncoderLayerConfig.from_dict({"dims": 16})),
    ("settings", DTypeError, lambda: nn.EncoderLayerConfig.from_dict([16, 4])),
    ("pattern", DTypeError, lambda: nn.EncoderLayerConfig(16, 4, pattern=fc.pattern("cantor"))),
    ("outputs", InvalidArgumentError, lambda: nn.Predictor(16, outputs=0)),
    ("x", ShapeError, lambda: nn.Predictor(16)(X[:, :0])),
    ("x", ShapeError, lambda: nn.Predictor(16)(X[0])),
]


@pytest.mark.parametrize(
    ("argument", "kind", "call"), WRONG, ids=[f"{n}-{argument}" for n, (argument, *_) in enumerate(WRONG)]
)
def test_wrong_call(argument, kind, call):
    with pytest.raises(kind, match=rf"^{argument}: got .*; allowed: ") as caught:
        call()
    assert type(caught.value) is kind
    assert isinstance(caught.value, FractalError)
