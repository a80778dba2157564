"""`FractalAttention(rotary=...)`: rotated queries and keys, grouped heads, decoding, positions along curves."""

from __future__ import annotations

import copy
import io
import pickle

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import FractalAttention, KeyValueCache, RotaryEmbedding, grid_positions

WIDE = "window:radius=64"


def layer(rotary=None, *, heads=4, kv=2, pattern="window:radius=3", causal=True, dim=24, seed=0):
    torch.manual_seed(seed)
    return FractalAttention(dim, heads, pattern, num_kv_heads=kv, causal=causal, rotary=rotary).double()


def tokens(batch=2, n=10, dim=24, seed=1):
    return torch.randn(batch, n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense(m, x, places, padding=None):
    """The layer by its definition: every score written out, R(p) applied to each head."""
    batch, n, _ = x.shape
    q, k, v = m._projected(x)
    q, k = m.rotary.rotate(q, places), m.rotary.rotate(k, places, key=True)
    k, v = (t.repeat_interleave(m.num_heads // m.num_kv_heads, 1) for t in (k, v))
    scores = q @ k.mT / m.head_dim**0.5
    mask = torch.from_numpy(m.pattern.index_set(n, n, causal=m.causal).to_mask())
    if padding is not None:
        mask = mask & ~padding[:, None, None, :]
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return m.out((weights @ v).transpose(1, 2).reshape(batch, n, -1))


MADE = {
    "rope": {},
    "half": {"layout": "half", "rotary_dim": 4},
    "quaternion3": {"mode": "quaternion3"},
    "givens": {"basis": "givens", "learned_freq": True},
    "projection": {"proj_dim": 2},
    "xpos": {"xpos": True},
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize("causal", [False, True])
def test_the_layer_is_attention_over_rotated_queries_and_keys(made, causal):
    m, x = layer(RotaryEmbedding(6, **made), causal=causal), tokens()
    torch.testing.assert_close(m(x), dense(m, x, torch.arange(10)), rtol=0, atol=1e-12)
    assert (m(x) - layer(causal=causal)(x)).abs().max() > 1e-3


def test_every_parameter_learns():
    m, x = layer(RotaryEmbedding(6, learned_freq=True, basis="cayley")), tokens()
    m(x).square().sum().backward()
    for name, p in m.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().max() > 0, name


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize("pieces", [[1] * 10, [4, 1, 0, 5]], ids=["by token", "by piece"])
def test_decoding_is_the_full_pass(made, pieces):
    m, x, cache = layer(RotaryEmbedding(6, **made)), tokens(), KeyValueCache(2)
    with torch.no_grad():
        got = torch.cat([m(part, cache=cache) for part in x.split(pieces, 1)], 1)
        torch.testing.assert_close(got, m(x), rtol=0, atol=1e-12)


def test_cached_keys_are_rotated_ones():
    m, x, cache = layer(RotaryEmbedding(6)), tokens(), KeyValueCache()
    with torch.no_grad():
        m(x, cache=cache)
        _, k, _ = m._projected(x)
        held = cache._held.tokens()[0]
        torch.testing.assert_close(held, m.rotary.rotate(k), rtol=0, atol=1e-14)
        cache.truncate(4)
        again = m(x[:, 4:], cache=cache)
        torch.testing.assert_close(again, m(x)[:, 4:], rtol=0, atol=1e-12)


def test_decoding_from_prompts_of_different_lengths():
    """Rows padded on the right: the tokens that follow stand at their own places, not at those of the slots."""
    m = layer(RotaryEmbedding(6), pattern=WIDE)
    lengths, x = [3, 6], tokens(n=6)
    more = tokens(n=4, seed=2)
    padding = torch.arange(6)[None, :] >= torch.tensor(lengths)[:, None]
    cache = KeyValueCache()
    with torch.no_grad():
        m(x, key_padding_mask=padding, cache=cache)
        steps = [m(more[:, i : i + 1], cache=cache, positions=torch.tensor(lengths)[:, None] + i) for i in range(4)]
        got = torch.cat(steps, 1)
        for row, length in enumerate(lengths):
            alone = torch.cat((x[row : row + 1, :length], more[row : row + 1]), 1)
            torch.testing.assert_close(got[row : row + 1], m(alone)[:, length:], rtol=0, atol=1e-12)


def test_rows_padded_on_the_left_need_no_positions():
    """Scores see differences of positions alone."""
    m, x = layer(RotaryEmbedding(6), pattern=WIDE), tokens(n=6)
    padded = torch.cat((torch.zeros(2, 3, 24, dtype=torch.float64), x), 1)
    padding = torch.arange(9)[None, :].expand(2, 9) < 3
    with torch.no_grad():
        torch.testing.assert_close(m(padded, key_padding_mask=padding)[:, 3:], m(x), rtol=0, atol=1e-12)


def test_no_leak_from_later_tokens_and_other_rows():
    m, x = layer(RotaryEmbedding(6, mode="quaternion3")), tokens()
    x.requires_grad_()
    (grad,) = torch.autograd.grad(m(x)[0, 4].sum(), x)
    assert (grad[0, 5:] == 0).all()
    assert (grad[1] == 0).all()


@pytest.mark.parametrize("curve", [None, "hilbert", "morton"])
def test_tokens_along_a_curve_of_the_plane(curve):
    """The same picture in another order gives the same result in that order: positions carry the place."""
    shape = (4, 8)
    m = layer(RotaryEmbedding(6, n_axes=2), pattern=WIDE, causal=False)
    picture = tokens(n=32)
    places = grid_positions(shape, curve)
    order = places[:, 0] * shape[1] + places[:, 1]
    assert sorted(order.tolist()) == list(range(32))
    raster = m(picture, positions=grid_positions(shape))
    torch.testing.assert_close(m(picture[:, order], positions=places), raster[:, order], rtol=0, atol=1e-12)


def test_positions_of_a_curve_are_those_of_its_codes():
    want = fc.curves.hilbert_decode(range(64), 3, 2)
    assert grid_positions((8, 8), "hilbert").tolist() == want.tolist()
    want = fc.curves.hilbert_decode(range(64), 2, 3)
    assert grid_positions((4, 4, 4), "hilbert").tolist() == want.tolist()
    assert grid_positions((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert grid_positions((5,)).tolist() == [[0], [1], [2], [3], [4]]


def test_positions_of_each_row():
    m, x = layer(RotaryEmbedding(6)), tokens()
    places = torch.stack((torch.arange(10), 3 * torch.arange(10)))
    got = m(x, positions=places)
    for row in range(2):
        want = m(x[row : row + 1], positions=places[row])
        torch.testing.assert_close(got[row : row + 1], want, rtol=0, atol=1e-14)
    two = layer(RotaryEmbedding(6, n_axes=2))
    places = torch.randn(2, 10, 2, dtype=torch.float64)
    torch.testing.assert_close(two(x, positions=places), dense(two, x, places[:, None]), rtol=0, atol=1e-12)


def test_one_embedding_for_several_layers():
    rotary = RotaryEmbedding(6, learned_freq=True)
    model = torch.nn.Sequential(layer(rotary), layer(rotary, seed=1))
    assert sum(p is rotary.learned.log_freqs for p in model.parameters()) == 1
    x = tokens()
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x), rtol=0, atol=0)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), model(x), rtol=0, atol=0)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = RotaryEmbedding(6, learned_freq=True)
    fresh = torch.nn.Sequential(layer(other, seed=5), layer(other, seed=6))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(fresh(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_stay(dtype):
    m, x = layer(RotaryEmbedding(6)), tokens()
    want = m(x)
    got = m.to(dtype)(x.to(dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5 if dtype == torch.float32 else 5e-2)


def test_compiled_whole_and_decoding_compiled_once():
    torch._dynamo.reset()
    m, x = layer(RotaryEmbedding(6)), tokens(1, 12)
    m.prepare(12)
    got = torch.compile(m, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(got, m(x), rtol=0, atol=1e-12)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    step, cache = torch.compile(lambda piece, cache: m(piece, cache=cache), backend=count), KeyValueCache()
    with torch.no_grad():
        parts = [step(x[:, :1], cache)]
        first = len(graphs)
        parts += [step(x[:, i : i + 1], cache) for i in range(1, 12)]
        torch.testing.assert_close(torch.cat(parts, 1), m(x), rtol=0, atol=1e-12)
    assert len(graphs) == first


def test_exported():
    m, x = layer(RotaryEmbedding(6, learned_freq=True)), tokens(1, 12)
    torch.testing.assert_close(torch.export.export(m, (x,), strict=False).module()(x), m(x), rtol=0, atol=1e-12)


def test_sizes_of_nothing():
    for rotary, places in ((RotaryEmbedding(6), None), (RotaryEmbedding(6, n_axes=2), torch.zeros(0, 2))):
        m = layer(rotary)
        assert m(tokens(2, 0), positions=places).shape == (2, 0, 24)
        assert m(tokens(0, 4), positions=None if places is None else torch.zeros(4, 2)).shape == (0, 4, 24)
        assert m(tokens(2, 0), cache=KeyValueCache()).shape == (2, 0, 24)


X = tokens()
WRONG = [
    ("rotary", DTypeError, lambda: layer("rope")),
    ("rotary", ShapeError, lambda: layer(RotaryEmbedding(8))),
    ("positions", InvalidArgumentError, lambda: layer()(X, positions=torch.arange(10))),
    ("positions", InvalidArgumentError, lambda: layer(RotaryEmbedding(6, n_axes=2))(X)),
    ("positions", ShapeError, lambda: layer(RotaryEmbedding(6))(X, positions=torch.arange(9))),
    ("positions", ShapeError, lambda: layer(RotaryEmbedding(6))(X, positions=torch.ones(3, 10))),
    ("positions", ShapeError, lambda: layer(RotaryEmbedding(6, n_axes=2))(X, positions=torch.ones(10))),
    ("positions", DTypeError, lambda: layer(RotaryEmbedding(6))(X, positions=list(range(10)))),
    ("positions", DTypeError, lambda: layer(RotaryEmbedding(6))(X, positions=torch.arange(10).half())),
]


@pytest.mark.parametrize(("argument", "kind", "call"), WRONG, ids=range(len(WRONG)))
def test_wrong_calls(argument, kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert caught.value.argument == argument


def test_a_refused_position_leaves_the_cache():
    m, cache = layer(RotaryEmbedding(6)), KeyValueCache()
    with torch.no_grad():
        m(X, cache=cache)
        for places in (torch.arange(3), torch.arange(10).half()):
            with pytest.raises((ShapeError, DTypeError)):
                m(X, cache=cache, positions=places)
    assert len(cache) == 10
