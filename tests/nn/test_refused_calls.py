"""A refused or raising call changes nothing: what a cache holds counts only once the whole step is done."""

from __future__ import annotations

import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import FractalAttention, KeyValueCache
from fractal_core.patterns.window import Window


class Fragile(Window):
    """Raises what it is told to."""

    error: BaseException | None = None

    def index_set(self, n_queries, n_keys=None, *, causal=False):
        if Fragile.error is not None:
            raise Fragile.error
        return super().index_set(n_queries, n_keys, causal=causal)


def layer():
    torch.manual_seed(0)
    return FractalAttention(24, 4, Fragile(3), causal=True).double()


def held(cache):
    k, v, padding = cache.append(torch.zeros(2, 4, 1, 6).double(), torch.zeros(2, 4, 1, 6).double(), None)
    cache.truncate(len(cache) - 1)
    return [None if t is None else t.clone() for t in (k, v, padding)]


def filled(m):
    cache, x = KeyValueCache(capacity=2), torch.randn(2, 5, 24).double()
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, 1] = True
    with torch.no_grad():
        m(x, key_padding_mask=mask, cache=cache)
    return cache


X = torch.ones(2, 1, 24).double()
REFUSED = {
    "dtype": lambda m, c: m.float()(X.float(), cache=c),
    "dtype of x alone": lambda m, c: m(X.float(), cache=c),
    "batch": lambda m, c: m(X[:1], cache=c),
    "width": lambda m, c: m(X[..., :5], cache=c),
    "mask dtype": lambda m, c: m(X, key_padding_mask=torch.zeros(2, 1), cache=c),
    "mask shape": lambda m, c: m(X, key_padding_mask=torch.zeros(2, 2, dtype=torch.bool), cache=c),
    "mask device": lambda m, c: m(X, key_padding_mask=torch.zeros(2, 1, dtype=torch.bool, device="meta"), cache=c),
    "truncate": lambda m, c: c.truncate(2.0),
    "truncate beyond": lambda m, c: c.truncate(6),
    "truncate flag": lambda m, c: c.truncate(True),
    "reorder": lambda m, c: c.reorder([0, 2]),
    "reorder floats": lambda m, c: c.reorder([0.0]),
    "repeat": lambda m, c: c.repeat(0),
    "append values": lambda m, c: c.append(torch.ones(2, 4, 1, 6).double(), torch.ones(2, 4, 2, 6).double(), None),
    "append dtype": lambda m, c: c.append(torch.ones(2, 4, 1, 6), torch.ones(2, 4, 1, 6), None),
    "append mask": lambda m, c: c.append(*[torch.ones(2, 4, 1, 6).double()] * 2, torch.zeros(2, 1)),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_a_refused_call_leaves_the_cache(call):
    m = layer()
    cache = filled(m)
    before = held(cache)
    with torch.no_grad(), pytest.raises((FractalError, RuntimeError, NotImplementedError)):
        call(m, cache)
    assert len(cache) == 5
    torch.testing.assert_close(held(cache), before, rtol=0, atol=0)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), ValueError("no")], ids=repr)
@pytest.mark.parametrize("where", ["pattern", "projection"])
def test_a_call_that_raises_late_leaves_the_cache(error, where, monkeypatch):
    m = layer()
    cache = filled(m)
    before = held(cache)

    def fail(*_):
        raise error

    if where == "pattern":
        monkeypatch.setattr(Fragile, "error", error)
    else:
        m.out.register_forward_hook(fail)
    with torch.no_grad(), pytest.raises(type(error)):
        m(X, cache=cache)
    assert len(cache) == 5
    torch.testing.assert_close(held(cache), before, rtol=0, atol=0)


def test_a_refused_dtype_is_named():
    m = layer()
    cache = filled(m)
    with pytest.raises(DTypeError, match=r"cache: got torch.float64; allowed: torch.float32"):
        m.float()(X.float(), cache=cache)


def test_a_refused_pattern_leaves_the_layer():
    m = layer()
    m.prepare(8)
    pattern, sets = m.pattern, len(m._sets)
    with pytest.raises(DTypeError):
        m.pattern = 5
    assert m.pattern is pattern
    assert len(m._sets) == sets


def test_reordered_and_repeated_rows_decode_as_those_rows():
    m, x = layer(), torch.randn(3, 6, 24).double()
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1, 0] = True
    cache = KeyValueCache()
    with torch.no_grad():
        m(x[:, :4], key_padding_mask=mask, cache=cache)
        cache.reorder(torch.tensor([2, 1]))
        rows = torch.tensor([2, 1])
        full = m(x[rows], key_padding_mask=torch.nn.functional.pad(mask[rows], (0, 2)))
        torch.testing.assert_close(m(x[rows, 4:5], cache=cache), full[:, 4:5], rtol=0, atol=1e-12)
        cache.repeat(2)
        again = rows.repeat_interleave(2)
        step = m(x[again, 5:], cache=cache)
    torch.testing.assert_close(step, full[:, 5:].repeat_interleave(2, 0), rtol=0, atol=1e-12)


def test_an_empty_cache_has_no_rows():
    for call in (lambda c: c.reorder([0]), lambda c: c.repeat(2)):
        with pytest.raises(KeyIndexError, match="rows"):
            call(KeyValueCache())
    with pytest.raises(ShapeError):
        KeyValueCache().reorder([])


def test_a_late_mask_lies_where_the_keys_are():
    cache = KeyValueCache()
    k = torch.ones(2, 4, 3, 6, device="meta")
    cache.append(k, k, None)
    _, _, padding = cache.append(k, k, torch.zeros(2, 3, dtype=torch.bool, device="meta"))
    assert padding is not None
    assert padding.device.type == "meta"
    with pytest.raises(InvalidArgumentError, match="device"):
        cache.append(k.new_ones(k.shape, device="cpu"), k.new_ones(k.shape, device="cpu"), None)
