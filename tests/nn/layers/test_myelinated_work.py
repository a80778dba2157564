"""Skipped tokens cost nothing: counted by torch's FLOP counter, never timed; and the stack compiles as one graph."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import MyelinatedCache, MyelinatedLayer
from torch.utils.flop_counter import FlopCounterMode

E, N, LAYERS = 16, 32, 2
TERMINAL = 2 * N * E * (1 + 8 * E)


class Share(torch.nn.Module):
    """Keeps the first tokens, as many as it is told to."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x, *, state=None, mask=None, causal=True):
        keep = (torch.arange(x.shape[1]) < self.count).expand(x.shape[:2])
        return fc.nn.Routing(keep, keep.to(x.dtype), x.new_zeros(()), state)


def flops(layer, x, **given):
    with FlopCounterMode(display=False) as counter:
        layer(x, **given)
    return counter.get_total_flops()


def work(kept, seen):
    """Of one layer: four projections, an adapter and a gate for kept tokens, and two products over what they see."""
    return 2 * kept * E * (5 * E + 1) + 4 * seen * E


@pytest.mark.parametrize("kept", [32, 16, 8, 0])
def test_eval_computes_kept_tokens_alone(kept):
    layer = MyelinatedLayer(E, 2, LAYERS, router=lambda _: Share(kept), jump=False).eval()
    assert flops(layer, torch.randn(1, N, E)) == TERMINAL + LAYERS * work(kept, kept**2)


@pytest.mark.parametrize("kept", [32, 16, 0])
def test_and_over_a_pattern_their_own_edges(kept):
    layer = MyelinatedLayer(E, 2, LAYERS, router=lambda _: Share(kept), jump=False, pattern="window:radius=3").eval()
    edges = fc.pattern("window", radius=3).index_set(kept, causal=True).nnz if kept else 0
    assert flops(layer, torch.randn(1, N, E)) == TERMINAL + LAYERS * work(kept, edges)


def test_cross_attention_projects_the_others_once():
    layer = MyelinatedLayer(E, 2, LAYERS, router=lambda _: Share(8), jump=False).eval()
    once = 2 * 2 * 10 * E * E
    each = 2 * 8 * E * (3 * E + 1) + 4 * 8 * 10 * E
    assert flops(layer, torch.randn(1, N, E), xa=torch.randn(1, 10, E)) == TERMINAL + once + LAYERS * each


def test_a_skipped_token_of_a_stream_costs_its_mlp():
    layer = MyelinatedLayer(E, 2, LAYERS, router=lambda _: Share(0), jump=False).eval()
    with torch.no_grad():
        cache = MyelinatedCache()
        layer(torch.randn(1, 5, E), kv_cache=cache)
        assert flops(layer, torch.randn(1, 1, E), kv_cache=cache) == TERMINAL // N


def test_jumped_layers_cost_nothing():
    layer = MyelinatedLayer(E, 2, 3, router="always").eval()
    x = torch.randn(1, N, E)
    whole = flops(layer, x)
    with torch.no_grad():
        layer.policy.net[2].weight.zero_()
        layer.policy.net[2].bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
    jumped, routing = layer(x, return_routing=True)
    assert routing.keep.flatten(1).any(1).tolist() == [True, False, False]
    assert flops(layer, x) == whole - 2 * work(N, N * N)
    assert jumped.shape == x.shape


@pytest.mark.parametrize("training", [True, False])
def test_top_k_saves_in_training_too(training):
    layers = [
        MyelinatedLayer(E, 2, LAYERS, router="topk", rate=r, jump=False).train(training) for r in (1.0, 0.5, 0.25)
    ]
    x = torch.randn(2, N, E)
    counted = [flops(layer, x, is_causal=training) for layer in layers]
    for kept, found in zip((32, 16, 8), counted, strict=True):
        routers = LAYERS * 2 * 2 * N * (E + 4 * E + 4)
        assert found == 2 * TERMINAL + LAYERS * 2 * work(kept, kept**2) + routers


def test_work_falls_with_the_rate_that_was_learned():
    torch.manual_seed(0)
    x = torch.randn(4, N, E)
    counted, rates = [], []
    for shift in (0.0, -1.5, -3.0):
        torch.manual_seed(1)
        layer = MyelinatedLayer(E, 2, LAYERS, jump=False).eval()
        with torch.no_grad():
            for node in layer.nodes:
                node.router.importance.weight.mul_(4)
                node.router.importance.bias.add_(shift)
        counted.append(flops(layer, x))
        rates.append(layer(x, return_routing=True)[1].keep.float().mean().item())
    assert rates[0] > rates[1] > rates[2]
    assert counted[0] > counted[1] > counted[2]


@pytest.mark.parametrize(
    ("router", "backend", "training"),
    [
        ("gumbel", "eager", True),
        ("gumbel", "eager", False),
        ("topk", "eager", True),
        pytest.param("gumbel", "aot_eager", True, marks=pytest.mark.slow),
        pytest.param("topk", "aot_eager", True, marks=pytest.mark.slow),
        pytest.param("ponder", "aot_eager", True, marks=pytest.mark.slow),
    ],
)
def test_one_graph(router, backend, training):
    torch.manual_seed(0)
    layer, x = MyelinatedLayer(8, 2, 2, router=router).train(training), torch.randn(2, 6, 8)
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    results = []
    for run in (compiled, layer):
        torch.manual_seed(3)
        out, routing = run(x, return_routing=True)
        (out.square().sum() + routing.loss).backward()
        results.append((out.detach(), [p.grad.clone() for p in layer.parameters() if p.grad is not None]))
        layer.zero_grad()
    torch.testing.assert_close(results[0][0], results[1][0])
    if training or router == "topk":
        for one, two in zip(*(grads for _, grads in results), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
