"""Routers against formulas written out here, and what every router promises.

Faults of the seed's hard decisions that are tested here: A4 (no gradient to what decides), A5 (a threshold that never
skips), A6 (draws in eval mode, decisions by the batch), A11 (one draw for the whole batch).
"""

from __future__ import annotations

import math

import fractal_core as fc
import pytest
import torch
from fractal_core.nn.routing import ActRouter, AlwaysRouter, GumbelRouter, PonderRouter, TopKRouter
from fractal_core.nn.routing.straight import bernoulli, choice, straight_through

NAMES = ["act", "always", "gumbel", "ponder", "topk"]


def made(name, dims=6, seed=0, **params):
    torch.manual_seed(seed)
    return fc.nn.routers.create(name, dims=dims, **params).double()


def tokens(batch=3, length=9, dims=6, seed=1):
    return torch.randn(batch, length, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kept(routing, x):
    return torch.ones(x.shape[:2], dtype=torch.bool) if routing.keep is None else routing.keep


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_what_every_router_gives(name, causal, training):
    router, x = made(name).train(training), tokens()
    routing = router(x, causal=causal)
    keep = kept(routing, x)
    assert keep.shape == routing.gate.shape == x.shape[:2]
    assert routing.gate.dtype == x.dtype
    assert routing.loss.shape == ()
    assert (routing.gate[~keep] == 0).all()
    assert (routing.gate[keep] > 0).all()
    if routing.at_most is not None:
        assert keep.sum(1).max() <= routing.at_most


@pytest.mark.parametrize("name", [n for n in NAMES if n != "always"])
def test_every_parameter_gets_a_gradient(name):
    """A4: 20 of 44 tensors had none."""
    first, second, x = made(name), made(name, seed=2), tokens()
    one = first(x)
    two = second(x, state=one.state)
    weights = torch.rand(x.shape[:2], dtype=x.dtype)
    ((one.gate + two.gate) * weights).sum().add(one.loss + two.loss).backward()
    for router in (first, second):
        assert [n for n, p in router.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("name", NAMES)
def test_eval_draws_nothing_and_repeats(name):
    """A6: two eval forwards differed."""
    router, x = made(name).eval(), tokens()
    before = torch.get_rng_state()
    first, second = router(x), router(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.gate, second.gate)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [True, False])
def test_samples_decide_for_themselves(name, causal):
    """A6: sample 0 depended on its batch mates, by `any` and `max`."""
    router, x = made(name).eval(), tokens()
    alone = torch.cat([router(x[i : i + 1], causal=causal).gate for i in range(3)])
    torch.testing.assert_close(router(x, causal=causal).gate, alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "topk"])
@pytest.mark.parametrize("training", [True, False])
def test_no_token_sees_a_later_one(name, training):
    """A8, for routers."""
    _same_prefix(made(name).train(training))


def test_top_k_looks_ahead_in_training_and_not_in_eval():
    router = made("topk")
    _same_prefix(router.eval())
    x = tokens()
    later = x.clone()
    later[:, -1] += 100 * router.score.weight.detach()[0]
    router.train()
    assert not torch.equal(router(x).keep[:, :-1], router(later).keep[:, :-1])


def _same_prefix(router):
    x = tokens()
    later = x.clone()
    later[:, -1] += 5
    results = []
    for one in (x, later):
        torch.manual_seed(3)
        results.append(router(one))
    assert torch.equal(kept(results[0], x)[:, :-1], kept(results[1], x)[:, :-1])
    assert torch.equal(results[0].gate[:, :-1], results[1].gate[:, :-1])


def test_gumbel_by_its_formula():
    router = made("gumbel", rate=0.3, threshold=0.2).eval()
    x = tokens()
    importance = 1 / (1 + torch.exp(-(x @ router.importance.weight[0] + router.importance.bias)))
    routing = router(x)
    assert torch.equal(routing.keep, importance > 0.2)
    odds = importance / (1 - importance) / (0.2 / 0.8)
    pi = odds / (1 + odds)
    torch.testing.assert_close(routing.loss, (pi.mean() - 0.3) ** 2)
    with torch.no_grad():
        router.importance.weight.zero_()
    at_start = (router(x).loss.sqrt() + 0.3).item()
    assert at_start == pytest.approx(1 / (1 + math.exp(-2)))


def test_the_seeds_threshold_skips():
    """A5: sigmoid > 0.1 held for every token at the start, and nothing could close it."""
    router = made("gumbel", threshold=0.1).eval()
    x = tokens(8, 64) * 3
    with torch.no_grad():
        router.importance.bias -= 2.0
    rate = router(x).keep.double().mean().item()
    assert 0.2 < rate < 0.8


def test_gumbel_keeps_with_its_probability():
    router = made("gumbel")
    x = tokens(1, 1).expand(20000, 1, 6)
    pi = router(x[:1]).loss.sqrt().item() + router.rate
    torch.manual_seed(0)
    assert router(x).keep.double().mean().item() == pytest.approx(pi, abs=0.01)


def test_top_k_by_its_formula():
    router, x = made("topk", rate=0.4), tokens()
    scores = x @ router.score.weight[0] + router.score.bias
    expected = torch.zeros(3, 9, dtype=torch.bool)
    for row in range(3):
        for place in sorted(range(9), key=lambda t, row=row: -scores[row, t].item())[: math.ceil(0.4 * 9)]:
            expected[row, place] = True
    routing = router(x)
    assert routing.at_most == 4
    assert torch.equal(routing.keep, expected)
    torch.testing.assert_close(routing.gate, expected / (1 + torch.exp(-scores)))
    logits = router.predictor(x).squeeze(2)
    chance = 1 / (1 + torch.exp(-logits))
    cross = -(expected * chance.log() + ~expected * (1 - chance).log()).mean()
    torch.testing.assert_close(routing.loss, cross)
    router.eval()
    assert torch.equal(router(x).keep, logits > 0)
    assert torch.equal(router(x, causal=False).keep, expected)


@pytest.mark.parametrize(
    ("rate", "length", "count"), [(0.1, 10, 1), (0.3, 10, 3), (0.31, 10, 4), (1.0, 7, 7), (0.5, 0, 0)]
)
def test_top_k_counts(rate, length, count):
    assert made("topk", rate=rate)(tokens(length=length)).at_most == count


def test_the_predictor_teaches_the_router_nothing():
    router, x = made("topk"), tokens().requires_grad_()
    router(x).loss.backward()
    assert x.grad is None or not x.grad.any()
    assert router.score.weight.grad is None


@pytest.mark.parametrize("causal", [True, False])
def test_act_by_its_formula(causal):
    routers, x = [made("act", seed=s, epsilon=0.05) for s in range(12)], tokens()
    state, halted = None, torch.zeros(3, 9, dtype=torch.float64)
    for router in routers:
        seen = x if causal else x.mean(1, keepdim=True).expand_as(x)
        halted = halted + 1 / (1 + torch.exp(-(seen @ router.halting.weight[0] + router.halting.bias)))
        left = torch.clamp(1 - halted, min=0)
        routing = router(x, state=state, causal=causal)
        state = routing.state
        torch.testing.assert_close(routing.gate, torch.where(left > 0.05, left, torch.zeros_like(left)))
        torch.testing.assert_close(routing.loss, left.mean())
    assert not routing.keep.any()


def test_ponders_loss_is_the_divergence_of_the_depth():
    """Summed over the layers: KL of the depth's law from a geometric law cut off at the last layer."""
    routers, x = [made("ponder", seed=s, prior=0.3).eval() for s in range(4)], tokens(1, 1)
    chances = [(1 / (1 + torch.exp(-(x @ r.halting.weight[0] + r.halting.bias)))).item() for r in routers]
    state, loss, depth = None, 0.0, 0
    for router in routers:
        routing = router(x, state=state)
        state, loss, depth = routing.state, loss + routing.loss.item(), depth + int(routing.keep.item())
    law, prior, left, prior_left = [], [], 1.0, 1.0
    for chance in chances:
        law.append(left * chance)
        prior.append(prior_left * 0.3)
        left, prior_left = left * (1 - chance), prior_left * 0.7
    law.append(left)
    prior.append(prior_left)
    assert loss == pytest.approx(sum(p * math.log(p / q) for p, q in zip(law, prior, strict=True)))
    survival = [1 - sum(law[: i + 1]) for i in range(4)]
    assert depth == sum(s > 0.5 for s in survival)


def test_ponder_halts_for_good_with_its_probability():
    routers, x = [made("ponder", seed=s) for s in range(3)], tokens(1, 1).expand(1, 20000, 6)
    torch.manual_seed(0)
    state, before, survival = None, torch.ones(1, 20000, dtype=torch.bool), 1.0
    for router in routers:
        routing = router(x, state=state)
        state = routing.state
        survival *= 1 - torch.sigmoid(x[0, 0] @ router.halting.weight[0] + router.halting.bias).item()
        assert not (routing.keep & ~before).any()
        assert routing.keep.double().mean().item() == pytest.approx(survival, abs=0.015)
        before = routing.keep


def test_ponder_halts_a_sample_as_a_whole():
    router, x = made("ponder"), tokens(64, 5)
    with torch.no_grad():
        router.halting.bias.zero_()
    keep = router(x, causal=False).keep
    assert torch.equal(keep, keep[:, :1].expand(-1, 5))
    assert 0 < keep.double().mean() < 1


def test_padding_counts_neither_for_rates_nor_for_losses():
    x = tokens()
    mask = torch.arange(9)[None] < torch.tensor([9, 5, 3])[:, None]
    changed = torch.where(mask[..., None], x, torch.full_like(x, 7.0))
    for name in ("act", "gumbel", "ponder", "topk"):
        for causal in (True, False):
            router = made(name).eval()
            one, two = (router(y, mask=mask, causal=causal) for y in (x, changed))
            torch.testing.assert_close(one.loss, two.loss, msg=name)
            assert torch.equal(kept(one, x) & mask, kept(two, x) & mask)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0)])
def test_sizes_of_0(name, shape):
    for training in (True, False):
        routing = made(name).train(training)(torch.zeros(*shape, 6, dtype=torch.float64))
        assert routing.gate.shape == shape
        assert routing.loss.item() == routing.loss.item()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_stays(name):
    x = tokens().bfloat16()
    assert made(name).bfloat16()(x).gate.dtype == torch.bfloat16


def test_straight_through_is_exact():
    soft = torch.rand(1000, requires_grad=True)
    hard = soft > 0.3
    value = straight_through(hard, soft)
    assert torch.equal(value, hard.float())
    value.sum().backward()
    assert torch.equal(soft.grad, torch.ones(1000))


def test_draws_follow_their_laws():
    torch.manual_seed(0)
    logits = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    one_hot = choice(logits.expand(40000, 3), 1.0, True)
    assert torch.equal(one_hot.sum(1), torch.ones(40000, dtype=torch.float64))
    torch.testing.assert_close(one_hot.mean(0), logits.softmax(0), atol=0.01, rtol=0)
    torch.testing.assert_close(
        bernoulli(logits.expand(40000, 3), 1.0, True).mean(0), logits.sigmoid(), atol=0.01, rtol=0
    )
    assert choice(logits, 1.0, False).tolist() == [0, 0, 1]


class Toy(torch.nn.Module):
    """Tokens that matter are marked; the loss falls where they are kept."""

    def __init__(self, router):
        super().__init__()
        self.router = router

    def forward(self, x, wanted):
        routing = self.router(x)
        return (wanted * (1 - routing.gate)).mean() + 10 * routing.loss, routing


@pytest.mark.parametrize("rate", [0.3, 0.6])
def test_the_rate_after_200_steps(rate):
    """The rate in training and, where the task tells tokens apart, in eval."""
    toy = Toy(made("gumbel", rate=rate, dims=4).float())
    optimizer = torch.optim.Adam(toy.parameters(), lr=0.1)
    torch.manual_seed(1)
    for _ in range(200):
        x = torch.randn(8, 32, 4)
        threshold = x[..., 0].flatten().quantile(1 - rate)
        loss, _ = toy(x, (x[..., 0] > threshold).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.randn(64, 64, 4)
    for training in (True, False):
        toy.train(training)
        assert toy(x, x[..., 0])[1].keep.float().mean().item() == pytest.approx(rate, abs=0.05)


def test_the_predictor_learns_the_choice_in_200_steps():
    router = made("topk", rate=0.25, dims=4).float()
    optimizer = torch.optim.Adam(router.parameters(), lr=0.03)
    torch.manual_seed(1)
    for _ in range(200):
        routing = router(torch.randn(8, 64, 4))
        optimizer.zero_grad()
        routing.loss.backward()
        optimizer.step()
    x = torch.randn(32, 64, 4)
    chosen, alone = router(x).keep, router.eval()(x).keep
    assert (chosen == alone).float().mean().item() > 0.9
    assert alone.float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("router", [GumbelRouter, TopKRouter, ActRouter, PonderRouter, AlwaysRouter])
def test_routers_compile(router):
    torch.manual_seed(0)
    module, x = router(6), torch.randn(2, 8, 6)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.manual_seed(5)
    one = compiled(x)
    torch.manual_seed(5)
    assert torch.equal(one.gate, module(x).gate)
