"""A flag is a bool or NumPy's bool: every text is true, "False" too, so that nothing else is taken."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import IndexSet, fields
from fractal_core.errors import DTypeError
from fractal_core.patterns.neighborhood import Neighborhood

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
nn = fc.nn

POINTS = np.array([2 + 2j, 0.1j])
Q = torch.ones(1, 1, 4, 4)
LAYER = {"embed_dim": 8, "num_heads": 2, "pattern": "window"}

FLAGS = {
    f"{name} causal": ("causal", lambda f, n=name: fc.pattern(n).index_set(256, causal=f))
    for name in fc.patterns.names()
} | {
    "union causal": ("causal", lambda f: fc.pattern("window|cantor").index_set(4, causal=f)),
    "intersection causal": ("causal", lambda f: fc.pattern("window&cantor").index_set(4, causal=f)),
    "report causal": ("causal", lambda f: fc.pattern("window").report(4, causal=f)),
    "from_segments causal": ("causal", lambda f: IndexSet.from_segments([0, 2, 4], causal=f)),
    "neighborhood is_causal": ("is_causal", lambda f: Neighborhood((4,), 3, is_causal=f)),
    "neighborhood is_causal of an axis": ("is_causal", lambda f: Neighborhood((4,), 3, is_causal=(f,))),
    "na1d": ("is_causal", lambda f: nn.na1d(torch.ones(1, 4, 1, 4), *[torch.ones(1, 4, 1, 4)] * 2, 3, is_causal=(f,))),
    "na2d": ("is_causal", lambda f: nn.na2d(*[torch.ones(1, 4, 4, 1, 4)] * 3, 3, is_causal=(True, f))),
    "na3d": ("is_causal", lambda f: nn.na3d(*[torch.ones(1, 4, 4, 4, 1, 4)] * 3, 3, is_causal=(f, f, False))),
    "na1d return_lse": ("return_lse", lambda f: nn.na1d(*[torch.ones(1, 4, 1, 4)] * 3, 3, return_lse=f)),
    "attention": ("is_causal", lambda f: nn.attention(*[torch.ones(1, 4, 1, 4)] * 3, f)),
    "attention return_lse": ("return_lse", lambda f: nn.attention(*[torch.ones(1, 4, 1, 4)] * 3, return_lse=f)),
    "neighbourhood layer": ("is_causal", lambda f: nn.NeighborhoodAttention1D(8, 2, 3, is_causal=(f,))),
    "neighbourhood layer bias": ("qkv_bias", lambda f: nn.NeighborhoodAttention1D(8, 2, 3, qkv_bias=f)),
    "layer causal": ("causal", lambda f: nn.FractalAttention(**LAYER, causal=f)),
    "layer bias": ("bias", lambda f: nn.FractalAttention(**LAYER, bias=f)),
    **{f"rotary {f}": (f, lambda v, f=f: nn.RotaryEmbedding(8, **{f: v})) for f in ("learned_freq", "xpos")},
    "rotate key": ("key", lambda f: nn.RotaryEmbedding(4).rotate(Q, key=f)),
    "yarn": ("truncate", lambda f: nn.YaRNScaling(2, 1024, truncate=f)),
    "compact rotation": ("learned", lambda f: nn.CompactRotation(4, learned=f)),
    "return_lse": (
        "return_lse",
        lambda f: nn.sparse_attention(Q, Q, Q, fc.pattern("window").index_set(4), return_lse=f),
    ),
    "julia_escape smooth": ("smooth", lambda f: fields.julia_escape(POINTS, 0j, smooth=f)),
    "mandelbrot_escape smooth": ("smooth", lambda f: fields.mandelbrot_escape(POINTS, smooth=f)),
    "config": ("cache_fractals", lambda f: nn.FractalConfig(cache_fractals=f)),
}


@pytest.mark.parametrize("value", ["False", "no", "", 0, 1, None, 1.0, np.array([True])], ids=repr)
@pytest.mark.parametrize(("argument", "call"), FLAGS.values(), ids=FLAGS)
def test_what_is_no_bool_is_refused_by_name(argument, call, value):
    with pytest.raises(DTypeError) as caught:
        call(value)
    assert caught.value.argument == argument


@pytest.mark.parametrize(("argument", "call"), FLAGS.values(), ids=FLAGS)
def test_bools_of_both_kinds_are_taken(argument, call):
    for value in (False, True):
        call(value)
        call(np.bool_(value))


@pytest.mark.parametrize(
    ("argument", "call"), [("shape", lambda: fields.grid(5)), ("extent", lambda: fields.grid((2, 2), 1.0))]
)
def test_one_number_for_a_sequence_is_refused_by_name(argument, call):
    with pytest.raises(DTypeError, match="sequence") as caught:
        call()
    assert caught.value.argument == argument
