"""Q-learning by hand, to its fixed point, and what A19 to A21 did.

A20 (rewards that were entropies of activations) cannot occur: a reward is a number that the trainer gives.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from fractal_core.nn import IntegratedAttention, Refiner


def test_updates_are_those_of_the_definition():
    refiner = Refiner(3, 2, alpha=0.5, gamma=0.8)
    refiner.observe(0, 1, 2.0, 1)
    assert refiner.q[0, 1] == 0.5 * 2.0
    refiner.observe(1, 0, 1.0, 0)
    assert refiner.q[1, 0] == 0.5 * (1.0 + 0.8 * 1.0)
    refiner.observe(0, 1, 0.0, 1, done=True)
    assert refiner.q[0, 1] == 1.0 + 0.5 * (0.0 - 1.0)
    assert refiner.visits.tolist() == [[0, 2], [1, 0], [0, 0]]


def test_without_alpha_values_are_means():
    refiner = Refiner(1, 2, alpha=None)
    for reward in (1.0, 4.0, 7.0):
        refiner.observe(0, 0, reward)
    assert refiner.q[0].tolist() == pytest.approx([4.0, 0.0])


def test_a_chain_converges_to_its_fixed_point():
    """Two states: 'stay' pays 0 and 1, 'go' changes the state and pays 0.5; gamma 0.9."""
    gamma, rewards = 0.9, np.array([[0.0, 0.5], [1.0, 0.5]])
    after = np.array([[0, 1], [1, 0]])
    wanted = np.zeros((2, 2))
    for _ in range(2000):
        wanted = rewards + gamma * wanted.max(1)[after]
    refiner, state = Refiner(2, 2, alpha=0.2, gamma=gamma, epsilon=0.5, seed=1), 0
    for _ in range(3000):
        action = refiner.act(state)
        refiner.observe(state, action, float(rewards[state, action]), int(after[state, action]))
        state = int(after[state, action])
    np.testing.assert_allclose(refiner.q.numpy(), wanted, atol=1e-6)
    assert [refiner.act(s, explore=False) for s in (0, 1)] == wanted.argmax(1).tolist()


def test_ties_are_drawn_evenly():
    """A19: ties went to action 0, a span of 0."""
    refiner = Refiner(1, 5, epsilon=0.0)
    refiner.q[0, 2] = -1.0
    counts = np.bincount([refiner.act(0) for _ in range(2000)], minlength=5)
    assert counts[2] == 0
    expected = 500
    assert ((counts[[0, 1, 3, 4]] - expected) ** 2 / expected).sum() < 16.3, "chi-square, 3 degrees, p = 0.001"


def test_eval_takes_the_default_of_ties_and_learns_nothing():
    """A19: it learned in eval; and the default of an untouched table is the full span, not none."""
    refiner = Refiner(2, 4).eval()
    before = copy.deepcopy(refiner.state_dict())
    assert [refiner.act(0) for _ in range(20)] == [3] * 20
    assert Refiner(2, 4, default=1).eval().act(0) == 1
    refiner.observe(0, 1, 5.0)
    for name, value in refiner.state_dict().items():
        assert torch.equal(value, before[name])
    refiner.q[0] = torch.tensor([0.0, 7.0, 7.0, 1.0])
    assert refiner.act(0) == 1


def test_exploring_is_as_often_as_said():
    refiner = Refiner(1, 10, epsilon=0.3)
    refiner.q[0, 4] = 1.0
    share = np.mean([refiner.act(0) == 4 for _ in range(3000)])
    assert share == pytest.approx(0.7 + 0.03, abs=0.03)
    assert all(refiner.act(0, explore=False) == 4 for _ in range(50))


def test_a_high_start_makes_every_action_be_tried():
    refiner = Refiner(1, 6, alpha=1.0, epsilon=0.0, initial=10.0)
    taken = []
    for _ in range(6):
        taken.append(refiner.act(0))
        refiner.observe(0, taken[-1], 1.0)
    assert sorted(taken) == list(range(6))


def test_draws_are_the_seeds_alone():
    """A19: global `np.random`."""
    torch.manual_seed(0)
    np.random.seed(0)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, other = (Refiner(1, 9, epsilon=1.0, seed=3) for _ in range(2))
    drawn = [one.act(0) for _ in range(30)]
    assert drawn == [other.act(0) for _ in range(30)]
    assert drawn != [Refiner(1, 9, epsilon=1.0, seed=4).act(0) for _ in range(30)]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()


@pytest.mark.parametrize("way", ["state dict", "file", "copy", "pickle"])
def test_it_goes_on_from_where_it_was(way, tmp_path):
    """A19: the table was a dict outside of the state dict."""
    refiner = Refiner(4, 9, epsilon=0.5, seed=3)
    for _ in range(50):
        refiner.observe(1, refiner.act(1), 1.0)
    if way == "copy":
        again = copy.deepcopy(refiner)
    elif way == "pickle":
        again = pickle.loads(pickle.dumps(refiner))
    else:
        state = refiner.state_dict()
        if way == "file":
            torch.save(state, tmp_path / "refiner.pt")
            state = torch.load(tmp_path / "refiner.pt", weights_only=True)
        again = Refiner(4, 9, epsilon=0.5)
        again.load_state_dict(state)
    assert torch.equal(again.q, refiner.q)
    assert torch.equal(again.visits, refiner.visits)
    assert [again.act(1) for _ in range(40)] == [refiner.act(1) for _ in range(40)]


def test_casts_of_the_model_leave_the_table_alone():
    layer = IntegratedAttention(8, 2, refiner=Refiner(2, 3)).bfloat16()
    assert layer.refiner.q.dtype == torch.float64
    assert layer.q.weight.dtype == torch.bfloat16


def test_states_are_bins_of_statistics():
    """A21: numbers of 10 ** 19 overflowed."""
    edges = [[0.5], [-1.0, 0.0, 1.0], []]
    assert Refiner.discretize([0.0, -9.0, 3.0], edges) == 0
    assert Refiner.discretize([0.5, 0.0, 3.0], edges) == 1 * 4 + 2
    assert Refiner.discretize([float("inf"), 1e300, 0], edges) == 7
    seen = {Refiner.discretize([a, b, 0], edges) for a in (0, 1) for b in (-2, -0.5, 0.5, 2)}
    assert seen == set(range(8))
    assert Refiner.discretize([0.0] * 40, [[-1.0]] * 40) == 2**40 - 1


def test_the_names_that_the_idea_came_with():
    refiner = Refiner(2, 3, 0.5, 0.9, 0.0)
    refiner.update(0, 2, 4.0, 1)
    assert refiner.q[0, 2] == 2.0
    assert refiner.choose_action(0) == 2


@pytest.mark.parametrize("action", [0, 1, 2])
def test_a_layer_uses_what_it_chooses(action):
    layer = IntegratedAttention(
        8, 2, 64, win_size=8, max_span=16, presets=(0.0, 0.5, 1.0), refiner=Refiner(2, 3, epsilon=0.0)
    )
    layer.refiner.q[1, action] = 1.0
    assert layer.choose_preset(1) == action
    assert float(layer.span_scale) == (0.0, 0.5, 1.0)[action]


def test_a_refiner_finds_the_preset_that_pays():
    """Copying from 6 places back, with spans that are not learned: only the full preset reaches it."""
    torch.manual_seed(0)
    refiner = Refiner(1, 3, alpha=None, epsilon=0.2, seed=0)
    layer = IntegratedAttention(8, 1, 16, 7, 7, span="fixed", ramp=1.0, presets=(0.0, 0.5, 1.0), refiner=refiner)
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.fill_(50.0)
    x = torch.randn(4, 16, 8)
    target = x.unfold(1, 7, 1).mean(-1)
    with torch.no_grad():
        for name, value in (("q", 0.0), ("k", 0.0)):
            getattr(layer, name).weight.fill_(value)
        for name in ("v", "out"):
            getattr(layer, name).weight.copy_(torch.eye(8))
        for _ in range(60):
            action = layer.choose_preset()
            refiner.observe(0, action, -float((layer(x)[:, 6:] - target).square().mean()))
    assert refiner.eval().act(0) == 2
    assert float(refiner.q[0, 2]) > float(refiner.q[0, :2].max())
