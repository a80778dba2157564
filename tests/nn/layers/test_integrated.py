"""Local and global attention behind a gate: against dense float64, its limits, decoding, and A20 to A24, A29.

A22 (the cross path raised) and A24 (ten additions to the query drove weights to one key) have tests here. A29's
thresholds without a gradient cannot occur: there is no threshold, and `test_local_layers.py` sees a gradient at
every parameter. A3 (`xa` and `kv_cache` ignored) has the tests on both.
"""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import IntegratedAttention, KeyValueCache
from torch.nn.functional import layer_norm

B, N, M, E, H, D = 2, 33, 21, 12, 3, 4
PLACES = torch.arange(N)
FAR = PLACES[:, None] - PLACES[None, :]


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(seed=0, **settings):
    torch.manual_seed(seed)
    layer = IntegratedAttention(
        E, H, **{"max_dist": 25, "win_size": 7, "max_span": 12, "ramp": 4.0, "stride": 5, **settings}
    )
    with torch.no_grad():
        for p in (layer.gate.bias, layer.query_norm.weight, layer.query_norm.bias):
            p.add_(0.5 * torch.randn(p.shape))
        if layer.steps > 1:
            layer.eta.copy_(torch.tensor([0.7, -0.4, 1.5]))
    return layer.double()


def heads(x):
    return x.unflatten(2, (H, D)).transpose(1, 2)


def softmax_of_seen(scores, weights):
    """`m e^s / sum m e^s`; a row without keys gives 0."""
    w = weights * scores.exp()
    return w / w.sum(-1, keepdim=True).clamp(min=1e-300)


def reference(layer, x, xa=None, *, far="full", causal=True, mask=None, scale=1.0):
    """Every pair written out."""
    source = x if xa is None else xa
    k, v, fk, fv = (heads(t) for t in (layer.k(x), layer.v(x), layer.k(source), layer.v(source)))
    gate = torch.sigmoid(x @ layer.gate.weight.T + layer.gate.bias).transpose(1, 2)[..., None]
    allowed = (FAR >= 0) if causal else torch.ones(N, N, dtype=torch.bool)
    kept = torch.ones(B, 1, 1, N) if mask is None else mask.double()[:, None, None]
    z = (12 * layer.span.share * scale)[:, None, None]
    near = ((4 + z - FAR.abs()) / 4).clamp(0, 1) * allowed * (FAR.abs() <= 12) * kept
    heat = 1 + 0.01 * (1 - z / 12)
    if far == "summaries":
        runs = len(source[0]) // 5 if causal and xa is None else -(-len(source[0]) // 5)
        parts = [slice(5 * r, 5 * r + 5) for r in range(runs)]
        fk, fv = (torch.stack([t[:, :, p].mean(2) for p in parts], 2) for t in (fk, fv))
        seen = torch.ones(N, runs)
        if causal and xa is None:
            seen = torch.stack([5 * r + 4 <= PLACES for r in range(runs)], 1).double()
    elif xa is not None:
        seen = torch.ones(N, M)
    elif far == "full":
        seen = allowed * (FAR.abs() <= 25) * kept
    else:
        seen = torch.from_numpy(fc.pattern(far).index_set(N, causal=causal).to_mask()) * kept
    state = heads(layer.q(x))
    for _ in range(layer.steps):
        q = layer_norm(state, (D,), layer.query_norm.weight, layer.query_norm.bias, layer.query_norm.eps)
        local = softmax_of_seen(q @ k.mT / D**0.5 / heat, near) @ v
        out = gate * local + (1 - gate) * (softmax_of_seen(q @ fk.mT / D**0.5, seen) @ fv)
        if layer.steps > 1:
            state = state + layer.eta[:, None, None] * out
    return layer.out(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("far", "steps"), [("full", 1), ("full", 3), ("summaries", 2), ("cantor", 2)])
def test_values_and_gradients_are_the_formula(far, steps, causal, cross):
    layer, x = made(far=far, steps=steps), drawn(B, N, E).requires_grad_()
    xa = drawn(B, M, E, seed=2).requires_grad_() if cross else None
    found = layer(x, xa, is_causal=causal)
    wanted = reference(layer, x, xa, far=far, causal=causal)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weights, into = drawn(B, N, E, seed=3), [x, *([xa] if cross else []), *layer.parameters()]
    for one, other in zip(*(torch.autograd.grad(y, into, weights) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_closed_gate_is_one_part_alone():
    layer, x = made(), drawn(B, N, E)
    layer.gate.weight.data.zero_()
    layer.gate.bias.data.fill_(torch.inf)
    q = layer.query_norm(heads(layer.q(x)))
    k, v = heads(layer.k(x)), heads(layer.v(x))
    alone = layer.local(q, k, v, x, layer.local.prepare(N, N, causal=True))
    torch.testing.assert_close(layer(x), layer.out(alone.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)
    layer.gate.bias.data.fill_(-torch.inf)
    mask = (FAR >= 0) & (FAR <= 25)
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(layer(x), layer.out(dense.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)


def test_steps_without_eta_are_one_step():
    """A24."""
    once, often, x = made(), made(steps=3), drawn(B, N, E)
    often.load_state_dict({**often.state_dict(), **once.state_dict(), "eta": torch.zeros(H)})
    torch.testing.assert_close(often(x), once(x), rtol=0, atol=0)


def test_steps_keep_weights_soft():
    """A24: queries grew with every step. Here their size is that of a normalised vector, whatever eta adds."""
    layer, x = made(steps=3), drawn(B, N, E)
    layer.eta.data.fill_(1e3)
    with torch.no_grad():
        layer.query_norm.weight.fill_(1.0)
        layer.query_norm.bias.fill_(0.0)
    seen = []
    layer.query_norm.register_forward_hook(lambda _m, _i, out: seen.append(out))
    layer(x)
    assert len(seen) == 3
    assert all(q.norm(dim=-1).max() <= D**0.5 for q in seen)


def test_one_token():
    layer = made()
    x = drawn(B, 1, E)
    value = layer.out(layer.v(x))
    torch.testing.assert_close(layer(x), value, rtol=0, atol=1e-12)
    torch.testing.assert_close(made(far="summaries")(x).shape, (B, 1, E))


@pytest.mark.parametrize("far", ["full", "summaries", "cantor"])
@pytest.mark.parametrize("span", ["learned", "dynamic"])
def test_decoding_is_the_full_pass(far, span):
    layer, x = made(far=far, span=span, steps=2).eval(), drawn(B, N, E)
    cache = KeyValueCache(4)
    with torch.no_grad():
        parts = [layer(piece, kv_cache=cache) for piece in x.split([6, 1, 1, 1, 24], 1)]
        torch.testing.assert_close(torch.cat(parts, 1), layer(x), rtol=0, atol=1e-12)
        assert len(cache) == N
        xa = drawn(B, M, E, seed=2)
        cache.clear()
        parts = [layer(piece, xa, kv_cache=cache) for piece in x.split([6, 1, 26], 1)]
        torch.testing.assert_close(torch.cat(parts, 1), layer(x, xa), rtol=0, atol=1e-12)


def test_what_cannot_stream():
    x = drawn(1, 2, E)
    for layer, causal in (
        (made(), False),
        (made(span="pooled"), True),
        (made(far=fc.pattern("hilbert", shape=(2,))), True),
    ):
        cache = KeyValueCache()
        with pytest.raises(InvalidArgumentError, match="kv_cache"):
            layer(x, kv_cache=cache, is_causal=causal)
        assert len(cache) == 0


@pytest.mark.parametrize("far", ["full", "summaries", "cantor"])
def test_ignored_tokens_do_not_count(far):
    layer, x = made(far=far), drawn(B, N, E)
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[0, 10:15], mask[1, :7] = False, False
    noisy = torch.where(mask[..., None], x, drawn(B, N, E, seed=5))
    torch.testing.assert_close(layer(noisy, mask=mask)[mask], layer(x, mask=mask)[mask], rtol=0, atol=1e-12)
    if far != "summaries":
        wanted = reference(layer, x, far=far, mask=mask)
        torch.testing.assert_close(layer(x, mask=mask)[mask], wanted[mask], rtol=0, atol=1e-12)
    xa = drawn(B, M, E, seed=2)
    xa_mask = torch.ones(B, M, dtype=torch.bool)
    xa_mask[0, 5:12] = False
    changed = torch.where(xa_mask[..., None], xa, drawn(B, M, E, seed=6))
    torch.testing.assert_close(layer(x, changed, xa_mask=xa_mask), layer(x, xa, xa_mask=xa_mask), rtol=0, atol=1e-12)


def test_means_of_runs_leave_ignored_tokens_out():
    from fractal_core.nn.layers._summaries import summaries

    k, v = drawn(B, H, 12, D), drawn(B, H, 12, D, seed=1)
    padding = torch.zeros(B, 12, dtype=torch.bool)
    padding[1, 3:10] = True
    k[1, :, 3:10] = torch.nan
    means = summaries(k, v, padding, 5, partial=True)
    torch.testing.assert_close(means.k[0, :, 2], k[0, :, 10:].mean(1))
    torch.testing.assert_close(means.k[1, :, 0], k[1, :, :3].mean(1))
    assert means.padding.tolist() == [[False] * 3, [False, True, False]]
    assert means.k.isfinite().all()
    assert summaries(k, v, None, 5, partial=False).v.shape == (B, H, 2, D)


def test_presets_scale_the_spans():
    layer, x = made(presets=(0.25, 1.0)), drawn(B, N, E)
    layer.use_preset(0)
    torch.testing.assert_close(layer(x), reference(layer, x, scale=0.25), rtol=0, atol=1e-12)
    again = made(seed=1)
    again.load_state_dict(layer.state_dict())
    torch.testing.assert_close(again(x), layer(x), rtol=0, atol=0)
    layer.use_preset(1)
    torch.testing.assert_close(layer(x), reference(layer, x), rtol=0, atol=1e-12)


def test_trimmed_is_untrimmed():
    layer = IntegratedAttention(E, H, 300, 10, 200, ramp=8.0).double()
    x = drawn(1, 250, E)
    whole = layer(x)
    with layer.trimmed():
        assert layer.local.radius == 64
        torch.testing.assert_close(layer(x), whole, rtol=0, atol=1e-12)


def test_a_call_that_raises_leaves_the_cache():
    layer, cache = made(), KeyValueCache()
    layer(drawn(B, 4, E), kv_cache=cache)
    with pytest.raises(fc.errors.ShapeError):
        layer(drawn(B, 4, E), drawn(1, 4, E), kv_cache=cache)
    assert len(cache) == 4
