"""FractalAttention: shapes, causality, padding, grouped heads, dropout, decode that equals the full pass."""

from __future__ import annotations

import copy
import io

import fractal_core as fc
import pytest
import torch
import torch.nn.functional as F
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError, ShapeError
from fractal_core.nn import FractalAttention, KeyValueCache
from fractal_core.nn.patterns import grows_at_the_end

SPEC = "window:radius=3|cantor:base=4"


def layer(pattern=SPEC, dtype=torch.float64, **options):
    torch.manual_seed(0)
    options.setdefault("num_heads", 4)
    return FractalAttention(24, pattern=pattern, **options).to(dtype)


def tokens(batch=2, length=20, dtype=torch.float64, seed=0):
    return torch.randn(batch, length, 24, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def reference(m, x, padding=None):
    """The same layer through SDPA and the dense mask."""
    mask = torch.from_numpy(m.pattern.index_set(x.shape[1], causal=m.causal).to_mask())
    if padding is not None:
        mask = mask & ~padding[:, None, None, :]
    kv = m.num_kv_heads * m.head_dim
    q, k, v = m.qkv(x).split((m.embed_dim, kv, kv), 2)
    q, k, v = (t.unflatten(2, (-1, m.head_dim)).transpose(1, 2) for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    return m.out(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kv_heads", [None, 1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_dense_layer(kv_heads, causal):
    m, x = layer(num_kv_heads=kv_heads, causal=causal), tokens().requires_grad_()
    padding = torch.zeros(2, 20, dtype=torch.bool)
    padding[1, 13:] = True
    out, wanted = m(x, key_padding_mask=padding), reference(m, x, padding)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    inputs = (x, *m.parameters())
    for g, w in zip(
        torch.autograd.grad(out.sin().sum(), inputs), torch.autograd.grad(wanted.sin().sum(), inputs), strict=True
    ):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("pattern", ["window", SPEC, fc.pattern("cantor", base=5)])
def test_takes_a_name_a_text_or_a_pattern(pattern):
    m = layer(pattern)
    assert m(tokens()).shape == (2, 20, 24)
    assert m.prepare(20) == (fc.pattern(pattern) if isinstance(pattern, str) else pattern).index_set(20)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize(
    "chunks", [[1] * 20, [7] + [1] * 13, [20], [3, 5, 12]], ids=["tokens", "prefill", "one", "chunks"]
)
@pytest.mark.parametrize("grad", [True, False])
def test_decode_equals_the_full_pass(dtype, tolerance, chunks, grad):
    m, x = layer(dtype=dtype, causal=True, num_kv_heads=2), tokens(dtype=dtype)
    padding = torch.zeros(2, 20, dtype=torch.bool)
    padding[0, :4] = True
    cache = KeyValueCache(capacity=2)
    with torch.set_grad_enabled(grad):
        full = m(x, key_padding_mask=padding)
        parts = [
            m(piece, key_padding_mask=mask, cache=cache)
            for piece, mask in zip(x.split(chunks, 1), padding.split(chunks, 1), strict=True)
        ]
    torch.testing.assert_close(torch.cat(parts, 1), full, rtol=0, atol=tolerance)
    assert len(cache) == 20


@pytest.mark.parametrize("name", [n for n in fc.patterns.names() if grows_at_the_end(fc.pattern(n))])
def test_a_thousand_decoded_tokens_equal_the_full_pass(name):
    torch.manual_seed(0)
    m = FractalAttention(32, 4, fc.pattern(name), num_kv_heads=2, causal=True).double()
    x = torch.randn(2, 1000, 32, dtype=torch.float64)
    cache = KeyValueCache(capacity=64)
    with torch.no_grad():
        parts = [m(piece, cache=cache) for piece in x.split(1, 1)]
        torch.testing.assert_close(torch.cat(parts, 1), m(x), rtol=0, atol=1e-12)


def test_decode_carries_gradients():
    m, x = layer(causal=True), tokens(length=6).requires_grad_()
    cache = KeyValueCache()
    out = torch.cat([m(piece, cache=cache) for piece in x.split(1, 1)], 1)
    (given,), (wanted,) = torch.autograd.grad(out.sin().sum(), x), torch.autograd.grad(m(x).sin().sum(), x)
    torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-11)


def test_a_cache_may_move_between_inference_mode_and_not():
    m, x = layer(causal=True), tokens(length=6)
    cache = KeyValueCache()
    with torch.inference_mode():
        first = m(x[:, :3], cache=cache)
    with torch.no_grad():
        second = m(x[:, 3:5], cache=cache)
    with torch.inference_mode():
        third = m(x[:, 5:], cache=cache)
    torch.testing.assert_close(torch.cat((first, second, third), 1), m(x), rtol=0, atol=1e-12)


def test_a_truncated_cache_goes_on_from_there():
    m, x = layer(causal=True), tokens()
    cache = KeyValueCache()
    with torch.no_grad():
        m(x[:, :12], cache=cache)
        cache.truncate(8)
        out = m(x[:, 8:], cache=cache)
        torch.testing.assert_close(out, m(x)[:, 8:], rtol=0, atol=1e-12)
    with pytest.raises(InvalidArgumentError, match="length"):
        cache.truncate(21)
    cache.clear()
    assert len(cache) == 0


def test_a_mask_that_appears_late_or_not_at_all():
    m, x = layer(causal=True), tokens(length=8)
    late = torch.zeros(2, 8, dtype=torch.bool)
    late[0, 5] = True
    cache = KeyValueCache()
    with torch.no_grad():
        parts = [
            m(x[:, :4], cache=cache),
            m(x[:, 4:6], key_padding_mask=late[:, 4:6], cache=cache),
            m(x[:, 6:], cache=cache),
        ]
        torch.testing.assert_close(torch.cat(parts, 1), m(x, key_padding_mask=late), rtol=0, atol=1e-12)


def test_a_refused_step_leaves_the_cache_as_it_was():
    m, x = layer(causal=True), tokens(length=4)
    cache = KeyValueCache()
    with torch.no_grad():
        m(x, cache=cache)
        with pytest.raises(ShapeError, match="cache"):
            m(tokens(batch=3, length=1), cache=cache)
    assert len(cache) == 4


def test_a_layer_without_causality_or_with_a_length_dependent_pattern_does_not_stream():
    with pytest.raises(InvalidArgumentError, match="causal"):
        layer()(tokens(), cache=KeyValueCache())

    class Stretched:
        length_dependent = True

        def index_set(self, n_queries, n_keys=None, *, causal=False):
            return fc.pattern("window", radius=(n_keys or n_queries) // 2).index_set(n_queries, n_keys, causal=causal)

    m = layer(Stretched(), causal=True)
    assert m(tokens()).shape == (2, 20, 24)
    with pytest.raises(InvalidArgumentError, match="length-dependent"):
        m(tokens(), cache=KeyValueCache())


def test_causal_layers_do_not_see_later_tokens():
    m, x = layer(causal=True), tokens()
    changed = x.clone()
    changed[:, 12:] = 7.0
    assert torch.equal(m(x)[:, :12], m(changed)[:, :12])
    assert not torch.equal(m(x)[:, 12:], m(changed)[:, 12:])


def test_index_sets_are_kept_and_forgotten_with_the_pattern():
    m = layer()
    first = m.prepare(20)
    assert m.prepare(20) is first
    assert m.prepare(4, 20) is not first
    m.causal = True
    assert m.prepare(20) is not first
    assert m.prepare(20).is_causal
    m.pattern = "window:radius=1"
    assert m.prepare(20).nnz == 20 + 19
    for length in range(1, 60):
        m.prepare(length)
    assert len(m._sets) == 32


def test_a_patterns_own_bias_is_added():
    class Ramp(type(fc.pattern("window"))):
        def bias(self, n_keys):
            import numpy as np

            return np.arange(n_keys, dtype=np.float64)

    plain, biased = layer("window:radius=4"), layer(Ramp(4))
    x = tokens()
    biased.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(x), biased(x))
    kv = biased.embed_dim
    q, k, v = biased.qkv(x).split((kv, kv, kv), 2)
    q, k, v = (t.unflatten(2, (-1, 6)).transpose(1, 2) for t in (q, k, v))
    mask = torch.zeros(20, 20, dtype=torch.float64) + torch.arange(20.0)
    mask = mask.masked_fill(~torch.from_numpy(biased.prepare(20).to_mask()), -torch.inf)
    wanted = biased.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))
    torch.testing.assert_close(biased(x), wanted, rtol=0, atol=1e-12)


def test_state_travels_through_save_copy_and_load():
    m, x = layer(), tokens()
    m(x)
    buffer = io.BytesIO()
    torch.save(m.state_dict(), buffer)
    buffer.seek(0)
    other = FractalAttention(24, 4, SPEC).double()
    other.load_state_dict(torch.load(buffer))
    assert torch.equal(other(x), m(x))
    assert torch.equal(copy.deepcopy(m)(x), m(x))


def test_inside_a_block_in_eval_mode_it_is_called():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.norm = layer(causal=True), torch.nn.LayerNorm(24).double()

        def forward(self, x):
            return x + self.attention(self.norm(x))

    block, x = Block().eval(), tokens()
    with torch.no_grad():
        torch.testing.assert_close(block(x), x + reference(block.attention, block.norm(x)), rtol=0, atol=1e-12)


def test_compiles_whole():
    m, x = layer(dtype=torch.float32, causal=True), tokens(dtype=torch.float32)
    m.prepare(20)
    compiled = torch.compile(m, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), m(x), rtol=0, atol=1e-6)


def test_autocast_runs_in_bfloat16():
    m, x = layer(dtype=torch.float32), tokens(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = m(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), m(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("bias", [True, False])
def test_parameters(bias):
    m = layer(num_kv_heads=2, bias=bias)
    assert m.qkv.weight.shape == (24 + 2 * 2 * 6, 24)
    assert (m.qkv.bias is not None) == bias
    assert "Window(radius=3)" in repr(m)


@pytest.mark.parametrize(
    ("name", "error", "change"),
    [
        ("embed_dim", InvalidArgumentError, {"embed_dim": 0}),
        ("embed_dim", DTypeError, {"embed_dim": 24.0}),
        ("num_heads", InvalidArgumentError, {"num_heads": 5}),
        ("num_kv_heads", InvalidArgumentError, {"num_kv_heads": 3}),
        ("num_kv_heads", InvalidArgumentError, {"num_kv_heads": 0}),
        ("dropout", InvalidArgumentError, {"dropout": 1.5}),
        ("pattern", DTypeError, {"pattern": 7}),
    ],
)
def test_wrong_arguments_are_refused_by_name(name, error, change):
    with pytest.raises(error) as caught:
        FractalAttention(**{"embed_dim": 24, "num_heads": 4, "pattern": "window", **change})
    assert caught.value.argument == name


def test_an_unknown_pattern_is_refused():
    with pytest.raises(PluginError, match="no_such_pattern"):
        FractalAttention(24, 4, "no_such_pattern")


@pytest.mark.parametrize(
    ("name", "error", "call"),
    [
        ("x", ShapeError, {"x": torch.zeros(2, 20, 23)}),
        ("x", ShapeError, {"x": torch.zeros(2, 20, 0)}),
        ("x", ShapeError, {"x": torch.zeros(20, 24)}),
        ("x", DTypeError, {"x": torch.zeros(2, 20, 24, dtype=torch.int64)}),
        ("key_padding_mask", ShapeError, {"key_padding_mask": torch.zeros(2, 19, dtype=torch.bool)}),
        ("key_padding_mask", DTypeError, {"key_padding_mask": torch.zeros(2, 20)}),
    ],
)
def test_wrong_calls_are_refused_by_name(name, error, call):
    with pytest.raises(error) as caught:
        layer(dtype=torch.float32)(**{"x": torch.zeros(2, 20, 24), **call})
    assert caught.value.argument == name
