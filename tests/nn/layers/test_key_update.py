"""Content-dependent key update against its formula.

Faults of the seed (A25): no gradient to the predictor, "backward through the graph a second time" at the second step,
errors when length or batch changed, and no work saved, since every key was computed where any sample wanted one.
"""

from __future__ import annotations

import copy

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError
from fractal_core.nn import KeyUpdate, KeyUpdateAttention, KeyValueCache, KeyValues, update_keys

E, H, HKV, D = 16, 4, 2, 4


def made(seed=0, **options):
    torch.manual_seed(seed)
    layer = KeyUpdateAttention(E, H, num_kv_heads=HKV, **options).double()
    with torch.no_grad():  # gates on both sides of one half
        layer.keys.predictor[2].weight.normal_(std=3.0)
        layer.keys.predictor[2].bias.zero_()
    return layer


def forced(layer, logit):
    with torch.no_grad():
        layer.keys.predictor[2].weight.zero_()
        layer.keys.predictor[2].bias.fill_(logit)
    return layer


def tokens(batch=2, length=9, seed=1):
    return torch.randn(batch, length, E, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def below(batch=2, length=9, seed=5):
    g = torch.Generator().manual_seed(seed)
    return KeyValues(*(torch.randn(batch, HKV, length, D, dtype=torch.float64, generator=g) for _ in range(2)))


def heads(x, n):
    return x.reshape(*x.shape[:2], n, D).transpose(1, 2)


def gate_of(layer, x):
    first, _, last = layer.keys.predictor
    hidden = torch.clamp(x @ first.weight.T + first.bias, min=0)
    return (1 / (1 + torch.exp(-(hidden @ last.weight.T + last.bias)))).transpose(1, 2)


def attention(layer, x, k, v, mask=None):
    """Dense causal attention with every weight written out."""
    q = heads(x @ layer.q.weight.T + layer.q.bias, H)
    k, v = k.repeat_interleave(H // HKV, 1), v.repeat_interleave(H // HKV, 1)
    scores = q @ k.transpose(2, 3) / D**0.5
    seen = torch.ones(scores.shape[2:], dtype=torch.bool).tril(scores.shape[3] - scores.shape[2])
    seen = seen.expand(scores.shape) if mask is None else seen & mask[:, None, None]
    weights = torch.where(seen, torch.exp(scores), torch.zeros_like(scores))
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-300)
    return (weights @ v).transpose(1, 2).flatten(2) @ layer.o.weight.T + layer.o.bias


def projected(layer, x):
    return heads(x @ layer.keys.k.weight.T, HKV), heads(x @ layer.keys.v.weight.T + layer.keys.v.bias, HKV)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("per_head", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_the_formula(hard, per_head, training):
    layer, x, cache = made(hard=hard, per_head=per_head).train(training), tokens(), below()
    u = gate_of(layer, x)
    u = (u > 0.5).double() if hard else u
    assert 0.1 < u.mean() < 0.9
    k, v = (u[..., None] * new + (1 - u[..., None]) * old for new, old in zip(projected(layer, x), cache, strict=True))
    out, found = layer(x, cache)
    torch.testing.assert_close(found.k, k, rtol=0, atol=1e-13)
    torch.testing.assert_close(found.v, v, rtol=0, atol=1e-13)
    torch.testing.assert_close(out, attention(layer, x, k, v), rtol=0, atol=1e-12)
    assert layer.should_update_key(x).shape == (2, HKV if per_head else 1, 9)


@pytest.mark.parametrize("hard", [True, False])
def test_all_new_is_standard_attention_and_none_is_reuse(hard):
    x, cache = tokens(), below()
    layer = forced(made(hard=hard), 60.0).eval()
    torch.testing.assert_close(layer(x, cache)[0], attention(layer, x, *projected(layer, x)), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x)[0], layer(x, cache)[0], rtol=0, atol=1e-12)
    forced(layer, -60.0)
    torch.testing.assert_close(layer(x, cache)[0], attention(layer, x, *cache), rtol=0, atol=1e-12)


@pytest.mark.parametrize("hard", [True, False])
def test_gradients_reach_everything(hard):
    """A25: the predictor had none. Those of hard gates are those of the sigmoid (straight through)."""
    layer, x = made(hard=hard), tokens()
    cache = KeyValues(*(t.requires_grad_() for t in below()))
    out, _ = layer(x, cache)
    out.square().sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
    assert cache.k.grad.any()
    assert cache.v.grad.any()


def test_the_function_has_the_right_gradient():
    g = torch.Generator().manual_seed(0)
    shapes = ((1, 2, 4, 3), (1, 2, 4, 2), (1, 2, 3, 3), (1, 2, 3, 2), (1, 1, 4))
    given = tuple(torch.rand(s, dtype=torch.float64, generator=g).requires_grad_() for s in shapes)
    assert torch.autograd.gradcheck(lambda k, v, a, b, u: update_keys(k, v, KeyValues(a, b), u)[:2], given)


def test_two_training_steps():
    """A25: the second step raised. A cache of an earlier step carries no gradient."""
    layer = made()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    cache, losses = None, []
    for step in range(3):
        out, cache = layer(tokens(seed=step), cache, detach=True)
        assert not cache.k.requires_grad
        optimizer.zero_grad()
        loss = out.square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    _, kept = layer(tokens(), cache)
    assert kept.k.requires_grad
    assert not kept.detach().k.requires_grad


@pytest.mark.parametrize("hard", [True, False])
def test_lengths_may_grow_and_batches_change(hard):
    """A25: any change of n or b raised. New positions are always new."""
    layer, x = forced(made(hard=hard), -60.0).eval(), tokens()
    cache = below(length=5)
    _, found = layer(x, cache)
    torch.testing.assert_close(found.k[:, :, :5], cache.k)
    torch.testing.assert_close(found.k[:, :, 5:], projected(layer, x)[0][:, :, 5:])
    torch.testing.assert_close(found.v[:, :, 5:], projected(layer, x)[1][:, :, 5:])
    assert layer(tokens(3), below(3))[0].shape == (3, 9, E)
    assert layer(x, below(length=0))[1].k.shape == (2, HKV, 9, D)


@pytest.mark.parametrize("per_head", [True, False])
def test_eval_computes_refreshed_tokens_alone(per_head):
    """A25: nothing was saved. Work of keys and values falls with the share of gates that are open."""
    from torch.utils.flop_counter import FlopCounterMode

    layer, x, cache = made(hard=True, per_head=per_head).eval(), tokens(3, 20), below(3, 20)
    counted = []
    for shift in (8.0, 0.0, -8.0):
        with torch.no_grad():
            layer.keys.predictor[2].bias.fill_(shift)
            open_ = int(layer.should_update_key(x).sum())
        with FlopCounterMode(display=False) as counter:
            layer.keys(x, cache)
        gates = 2 * 60 * E * 4 + 2 * 60 * 4 * (HKV if per_head else 1)
        assert counter.get_total_flops() - gates == 2 * 2 * open_ * E * D * (1 if per_head else HKV)
        counted.append(counter.get_total_flops())
    assert counted[0] > counted[1] > counted[2]


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("pattern", [None, "window:radius=2"])
def test_causal_independent_and_deterministic(hard, pattern):
    layer, x, cache = made(hard=hard, pattern=pattern).eval(), tokens().requires_grad_(), below()
    out, _ = layer(x, cache)
    (grad,) = torch.autograd.grad(out[:, 4].sum(), x)
    assert not grad[:, 5:].any()
    alone = torch.cat([layer(x[i : i + 1], KeyValues(*(t[i : i + 1] for t in cache)))[0] for i in range(2)])
    torch.testing.assert_close(out, alone, rtol=0, atol=1e-13)
    assert torch.equal(out, layer(x, cache)[0])


def test_a_pattern_is_its_mask():
    layer, x = made(pattern="window:radius=2").eval(), tokens()
    dense = made()
    mask = torch.as_tensor(fc.pattern("window", radius=2).index_set(9, causal=True).to_mask())
    k, v = projected(layer, x)
    q = heads(x @ layer.q.weight.T + layer.q.bias, H)
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), attn_mask=mask
    )
    expected = out.transpose(1, 2).flatten(2) @ dense.o.weight.T + dense.o.bias
    torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pattern", [None, "window:radius=2"])
@pytest.mark.parametrize("masked", [True, False])
def test_decoding_two_layers_is_the_full_pass(pattern, masked):
    layers = [made(s, hard=True, pattern=pattern).eval() for s in range(2)]
    x = tokens()
    mask = torch.rand(2, 9, generator=torch.Generator().manual_seed(3)) > 0.3 if masked else None

    def run(part, given, pasts):
        previous = None
        for layer, past in zip(layers, pasts, strict=True):
            update, previous = layer(part, previous, mask=given, past=past)
            part = part + update
        return part

    with torch.no_grad():
        pasts = [KeyValueCache(2) for _ in layers]
        pieces = [
            run(x[:, a:b], None if mask is None else mask[:, a:b], pasts) for a, b in ((0, 4), (4, 5), (5, 5), (5, 9))
        ]
        torch.testing.assert_close(torch.cat(pieces, 1), run(x, mask, [None, None]), rtol=0, atol=1e-12)


def test_masked_keys_are_not_seen():
    layer, x, cache = made().eval(), tokens(), below()
    mask = torch.rand(2, 9, generator=torch.Generator().manual_seed(3)) > 0.3
    out, found = layer(x, cache, mask=mask)
    torch.testing.assert_close(out, attention(layer, x, *found, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize("hard", [True, False])
def test_it_compiles_as_one_graph(hard):
    layer, x = made(hard=hard), tokens()
    out, found = torch.compile(layer, backend="eager", fullgraph=True)(x, below())
    torch.testing.assert_close(out, layer(x, below())[0])
    torch.testing.assert_close(found.k, layer(x, below())[1].k)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_sizes_of_0(hard, shape):
    for training in (True, False):
        layer = made(hard=hard).train(training)
        out, found = layer(torch.zeros(*shape, E, dtype=torch.float64), below(*shape))
        assert out.shape == (*shape, E)
        assert found.k.shape == (shape[0], HKV, shape[1], D)


def test_dtypes_copies_and_silence(capfd):
    layer, x = made(hard=True), tokens()
    assert copy.deepcopy(layer)(x, below())[0].equal(layer(x, below())[0])
    halves = KeyValues(*(t.bfloat16() for t in below()))
    for training in (True, False):
        out, found = layer.bfloat16().train(training)(x.bfloat16(), halves)
        assert out.dtype == found.k.dtype == torch.bfloat16
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("training", [True, False])
def test_autocast(training):
    layer, x = made(hard=True).float().train(training), tokens().float()
    halves = KeyValues(*(t.bfloat16() for t in below()))
    with torch.autocast("cpu", torch.bfloat16):
        out, found = layer(x, halves)
        assert found.k.dtype == torch.bfloat16
        worm = fc.nn.WormAttention(E, H)(x)
    assert out.isfinite().all()
    assert worm.dtype == torch.float32


def test_a_refused_step_leaves_the_past():
    layer, past = made().eval(), KeyValueCache()
    layer(tokens(), past=past)
    with pytest.raises(FractalError):
        layer(tokens(1), past=past)
    assert len(past) == 9


K, V = below()
U = torch.ones(2, 1, 9, dtype=torch.float64)
BY_HEAD = fc.patterns.per_head(["window", "cantor"])


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    [
        ("embed_dim", InvalidArgumentError, lambda: KeyUpdateAttention(0, 1)),
        ("num_heads", InvalidArgumentError, lambda: KeyUpdateAttention(16, 3)),
        ("num_kv_heads", InvalidArgumentError, lambda: KeyUpdateAttention(16, 4, num_kv_heads=3)),
        ("threshold", InvalidArgumentError, lambda: KeyUpdateAttention(16, 4, threshold=1)),
        ("hard", DTypeError, lambda: KeyUpdateAttention(16, 4, hard="no")),
        ("per_head", DTypeError, lambda: KeyUpdate(16, 4, 4, per_head=1)),
        ("kv_heads", InvalidArgumentError, lambda: KeyUpdate(16, 0, 4)),
        (
            "pattern",
            InvalidArgumentError,
            lambda: KeyUpdateAttention(16, 2, pattern=fc.patterns.per_head(["window"] * 2)),
        ),
        ("x", ShapeError, lambda: made()(torch.zeros(2, 9, 4).double())),
        ("x", DTypeError, lambda: made()([1])),
        ("cache", ShapeError, lambda: made()(tokens(), below(length=10))),
        ("cache", ShapeError, lambda: made(hard=True).eval()(tokens(), below(3))),
        ("cache", DTypeError, lambda: made()(tokens(), (K, V))),
        ("cache", DTypeError, lambda: made()(tokens(), KeyValues(K.float(), V.float()))),
        ("mask", DTypeError, lambda: made()(tokens(), mask=torch.ones(2, 9))),
        ("mask", ShapeError, lambda: made()(tokens(), mask=torch.ones(9, dtype=torch.bool))),
        ("past", DTypeError, lambda: made()(tokens(), past={})),
        ("past", InvalidArgumentError, lambda: made(causal=False)(tokens(), past=KeyValueCache())),
        ("past", InvalidArgumentError, lambda: made(pattern="hilbert:shape=3x3")(tokens(), past=KeyValueCache())),
        ("detach", DTypeError, lambda: made()(tokens(), detach=1)),
        ("gate", ShapeError, lambda: update_keys(K, V, None, U[0])),
        ("gate", DTypeError, lambda: update_keys(K, V, None, 1.0)),
        ("v", ShapeError, lambda: update_keys(K, V[:, :1], None, U)),
        ("k", ShapeError, lambda: update_keys(K[0], V, None, U)),
        ("cache", ShapeError, lambda: update_keys(K, V, KeyValues(K, V[:, :, :3]), U)),
    ],
)
def test_wrong_calls(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument
