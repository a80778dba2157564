"""The myelinated layer at sizes of 0, in half precision, under autocast, copied and pickled."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from .stack_reference import made, tokens

NAMES = ["act", "always", "gumbel", "ponder", "topk"]


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0)])
@pytest.mark.parametrize("router", NAMES)
def test_sizes_of_0(shape, router):
    for training in (True, False):
        for causal in (True, False):
            layer = made(router=router).train(training)
            x = torch.zeros(*shape, 12, dtype=torch.float64, requires_grad=True)
            out, routing = layer(x, is_causal=causal, return_routing=True)
            assert out.shape == x.shape
            (out.sum() + routing.loss).backward()
            assert x.grad.shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("router", NAMES)
def test_the_dtype_stays(dtype, router):
    for training in (True, False):
        layer = made(router=router, memory="ema").to(dtype).train(training)
        x = tokens().to(dtype)
        assert layer(x).dtype == layer(x, is_causal=False).dtype == dtype


def test_copies_and_pickles():
    layer, x = made(pattern="window:radius=2").eval(), tokens()
    out = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), out)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), out)
    fresh = made(seed=7, pattern="window:radius=2").eval()
    assert not torch.equal(fresh(x), out)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), out)


@pytest.mark.parametrize("router", NAMES)
def test_autocast(router):
    """Projections in bfloat16, tokens in float32."""
    for training in (True, False):
        layer = made(router=router, restless=False).float().train(training)
        if training:  # draws alike
            for node in layer.nodes:
                node.router.eval()
            layer.policy.eval()
        x = tokens().float()
        with torch.autocast("cpu", torch.bfloat16):
            out, routing = layer(x, return_routing=True)
        assert out.dtype == torch.float32
        (out.sum() + routing.loss).backward()
        if router not in {"topk", "act"}:  # whose decisions may turn on a rounding
            torch.testing.assert_close(out, layer(x), rtol=0.1, atol=0.1)
