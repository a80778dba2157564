"""What a token holds that takes no part, NaN and infinity among it, reaches no other token and no loss.

`WorkingMemory` once multiplied tokens by their mask, and 0 times NaN is NaN; layers left it to attention, whose weight
of 0 does the same. A mask of pairs is another matter: such a token takes part elsewhere.
"""

from __future__ import annotations

import math

import pytest
import torch
from fractal_core import nn

B, N, E, H = 2, 12, 16, 4
TAKES_PART = torch.ones(B, N, dtype=torch.bool)
TAKES_PART[0, 3:6] = TAKES_PART[1, :2] = TAKES_PART[1, 9] = False
IGNORED = ~TAKES_PART
ROUTERS = sorted(nn.routers.names())


def drawn(seed=0, n=N):
    return torch.randn(B, n, E, generator=torch.Generator().manual_seed(seed)).double()


def spoilt(x, ignored=IGNORED, value=math.nan):
    return x.masked_fill(ignored[..., None], value)


def padded(make):
    return lambda x, causal: make(causal)(x, key_padding_mask=IGNORED)


def span(kind, **more):
    layer = nn.AdaptiveSpan(E, H, 8, span=kind, ramp=4.0, **more).double()
    return lambda x, causal: layer(x, is_causal=causal, key_padding_mask=IGNORED)


def integrated(far, **more):
    layer = nn.IntegratedAttention(E, H, 10, 3, 6, far=far, stride=3, ramp=4.0, **more).double()
    return lambda x, causal: layer(x, None, TAKES_PART, None, causal)


def residual(x, causal):
    return nn.Residual(E, H, ctx=5, decoder=causal).double()(x, None, TAKES_PART)


def encoder(x, causal):
    configs = [nn.EncoderLayerConfig(E, H, decoder=causal, pattern=p) for p in (None, "cantor")]
    return nn.build_encoder(configs).double()(x, None, TAKES_PART)


def updated(x, causal):
    layers = [nn.KeyUpdateAttention(E, H, causal=causal, pattern=p).double() for p in (None, "cantor")]
    between, found = layers[0](x, mask=TAKES_PART)
    return layers[1](between, found, mask=TAKES_PART)[0]


def worm(**more):
    return lambda x, causal: nn.WormAttention(E, H, causal=causal, **more).double().eval()(x, TAKES_PART)


def force(**more):
    return padded(lambda causal: nn.RelativeForce(E, H, causal=causal, **more).double())


def myelinated(training=False, **more):
    def run(x, causal):
        layer = nn.MyelinatedLayer(E, H, **more).double().train(training)
        torch.manual_seed(1)
        out, routing = layer(x, None, TAKES_PART, None, causal, return_routing=True)
        assert routing.loss.isfinite()
        return out

    return run


LAYERS = {
    "FractalAttention": padded(lambda causal: nn.FractalAttention(E, H, "cantor", causal=causal).double()),
    "SlidingWindowAttention": padded(lambda causal: nn.SlidingWindowAttention(E, H, 3, 2, causal=causal).double()),
    "slide_win": lambda x, causal: nn.slide_win(x, 4, 2.0, mask=TAKES_PART, heads=H, is_causal=causal),
    **{f"AdaptiveSpan-{kind}": span(kind) for kind in nn.spans.names()},
    "AdaptiveSpan-raw": span("learned", project=False),
    **{f"IntegratedAttention-{far}": integrated(far) for far in ("full", "summaries", "cantor")},
    "IntegratedAttention-pooled": integrated("full", span="pooled", steps=2),
    "Residual": residual,
    "Encoder": encoder,
    "KeyUpdateAttention": updated,
    "WormAttention": worm(),
    "WormAttention-pattern": worm(pattern="cantor", persistent=True),
    "RelativeForce": force(content=True),
    "RelativeForce-pattern": force(pattern="cantor"),
    "RelativeForce-curve": force(pattern=nn.CurveNeighbors(4)),
    **{f"MyelinatedLayer-{router}": myelinated(router=router) for router in ROUTERS},
    **{f"MyelinatedLayer-{router}-training": myelinated(True, router=router) for router in ROUTERS},
    "MyelinatedLayer-ema": myelinated(memory="ema"),
    "MyelinatedLayer-near": myelinated(max_dist=4),
    "MyelinatedLayer-pattern": myelinated(pattern="cantor"),
}


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_layer_reads_an_ignored_token(name, causal, value):
    outs = []
    for x in (drawn(), spoilt(drawn(), value=value)):
        torch.manual_seed(0)
        outs.append(LAYERS[name](x, causal)[TAKES_PART])
    assert outs[0].isfinite().all()
    torch.testing.assert_close(outs[1], outs[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["mean", "ema"])
def test_a_memory_forgets_what_it_did_not_take(mode):
    memory = nn.WorkingMemory(E, mode).double()
    for causal in (True, False):
        found, state = memory(spoilt(drawn()), mask=TAKES_PART, causal=causal)
        wanted, kept = memory(drawn(), mask=TAKES_PART, causal=causal)
        assert torch.equal(found, wanted)
        assert torch.equal(state.total, kept.total)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [name for name in ROUTERS if name != "always"])
def test_routers(name, training, causal):
    router = nn.routers.create(name, dims=E).double().train(training)
    found = []
    for x in (drawn(), spoilt(drawn())):
        torch.manual_seed(0)
        found.append(router(x, mask=TAKES_PART, causal=causal))
    clean, dirty = found
    assert dirty.loss.isfinite()
    torch.testing.assert_close(dirty.loss, clean.loss, rtol=0, atol=1e-12)
    assert torch.equal(dirty.keep[TAKES_PART], clean.keep[TAKES_PART])
    torch.testing.assert_close(dirty.gate[TAKES_PART], clean.gate[TAKES_PART], rtol=0, atol=1e-12)


def test_tokens_of_another_sequence():
    x, source = drawn(), drawn(1)
    integrated = [nn.IntegratedAttention(E, H, 10, 3, 6, far=far, stride=3).double() for far in ("full", "summaries")]
    block, stack = nn.Residual(E, H, cross_attention=True).double(), nn.MyelinatedLayer(E, H).double().eval()
    calls = [
        *(lambda xa, layer=layer: layer(x, xa, xa_mask=TAKES_PART) for layer in integrated),
        lambda xa: block(x, xa, xa_mask=TAKES_PART),
        lambda xa: stack(x, xa, TAKES_PART),
    ]
    for call in calls:
        torch.testing.assert_close(call(spoilt(source)), call(source), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["FractalAttention", "IntegratedAttention", "Residual", "KeyUpdateAttention"])
def test_a_cache_holds_none_of_it(name):
    torch.manual_seed(0)
    make = {
        "FractalAttention": lambda: nn.FractalAttention(E, H, "cantor", causal=True),
        "IntegratedAttention": lambda: nn.IntegratedAttention(E, H, 10, 3, 6, far="summaries", stride=3),
        "Residual": lambda: nn.Residual(E, H, decoder=True),
        "KeyUpdateAttention": lambda: nn.KeyUpdateAttention(E, H),
    }
    layer = make[name]().double()

    def step(part, at, cache):
        if name == "FractalAttention":
            return layer(part, key_padding_mask=IGNORED[:, at], cache=cache)
        if name == "KeyUpdateAttention":
            return layer(part, mask=TAKES_PART[:, at], past=cache)[0]
        return layer(part, mask=TAKES_PART[:, at], kv_cache=cache)

    outs = []
    with torch.no_grad():
        for x in (drawn(), spoilt(drawn())):
            cache = nn.KeyValueCache(2)
            outs.append(torch.cat([step(x[:, at], at, cache) for at in (slice(7), slice(7, 8), slice(8, N))], 1))
    torch.testing.assert_close(outs[1][TAKES_PART], outs[0][TAKES_PART], rtol=0, atol=1e-12)


def test_a_stream_of_a_stack_holds_none_of_it():
    layer = nn.MyelinatedLayer(E, H).double().eval()
    outs = []
    with torch.no_grad():
        for x in (drawn(), spoilt(drawn())):
            cache = nn.MyelinatedCache(2)
            parts = (slice(7), slice(7, 8), slice(8, N))
            outs.append(torch.cat([layer(x[:, at], None, TAKES_PART[:, at], cache) for at in parts], 1))
    torch.testing.assert_close(outs[1][TAKES_PART], outs[0][TAKES_PART], rtol=0, atol=1e-12)


def test_the_start_of_a_worm_is_the_mean_of_tokens_that_take_part():
    torch.manual_seed(0)
    layer = nn.WormAttention(E, H, persistent=True).double()
    layer(spoilt(drawn()), TAKES_PART)
    assert layer.start.isfinite()
    assert layer.start != 0
