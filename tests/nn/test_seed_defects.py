"""The twelve defects of the tutorial's original program, each of which must stay away."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core._torch.recent import Recent
from fractal_core.nn import (
    CantorSetAttention,
    DragonCurveAttention,
    FractalAttention,
    FractalConfig,
    HilbertCurveAttention,
    JuliaSetAttention,
    NumericalStability,
    UnifiedFractalAttention,
    sparse_attention,
)

CLASSES = {
    HilbertCurveAttention: (torch.tensor([[17]]),),
    CantorSetAttention: (0.5,),
    DragonCurveAttention: (),
    JuliaSetAttention: (),
    UnifiedFractalAttention: (0.5,),
}


@pytest.fixture(params=CLASSES, ids=lambda c: c.__name__)
def attention(request):
    torch.manual_seed(0)
    module = request.param(FractalConfig())
    return lambda *qkv: module(*qkv, *CLASSES[request.param])


def inputs(seed, batch=2, n_keys=64, dim=8):
    g = torch.Generator().manual_seed(seed)
    shapes = ((batch, 1, dim), (batch, n_keys, dim), (batch, n_keys, dim))
    return tuple(torch.randn(s, generator=g).requires_grad_() for s in shapes)


def test_d1_no_output_or_gradient_comes_from_an_earlier_call(attention):
    first = attention(*inputs(1))
    query, key, value = inputs(2)
    second = attention(query, key, value)
    assert not torch.allclose(first, second, atol=1e-3)
    second.sum().backward()
    assert all((x.grad != 0).any() for x in (query, key, value))
    assert torch.equal(attention(*inputs(1)), first)


def test_d2_cantor_points_have_no_ternary_one_and_both_halves_alike():
    points = fc.sets.cantor_points(5)
    digits = [np.base_repr(round(x * 3**5), 3) for x in points]
    assert not any("1" in d for d in digits)
    (row,) = CantorSetAttention(FractalConfig()).samples(np.array([500]), 1000, 0)
    assert (row[:-1] < 500).sum() == (row[:-1] >= 500).sum() == 2**5


def test_d3_each_scale_holds_the_query_and_keys_on_both_sides_of_it():
    module = CantorSetAttention(FractalConfig(cantor_num_scales=5))
    nearest = []
    for scale in range(5):
        keys = module.samples(np.array([512]), 1024, scale)[0]
        assert keys[-1] == 512
        away = keys[:-1] - 512
        assert away.min() < 0 < away.max()
        nearest.append(np.abs(away[away != 0]).min())
    assert nearest[-1] <= 2
    assert len(np.unique(module.samples(np.array([1023]), 1024, 0)[0])) == 2**6 + 1


@pytest.mark.parametrize("pattern", ["cantor", "cantor_samples", "hilbert", "dragon", "julia"])
def test_d4_nothing_leaks_from_later_positions(pattern):
    torch.manual_seed(0)
    layer = FractalAttention(16, 4, pattern, causal=True)
    x = torch.randn(2, 64, 16)
    changed = x.clone()
    changed[:, 40:] = torch.randn(2, 24, 16)
    assert torch.equal(layer(x)[:, :40], layer(changed)[:, :40])
    assert not torch.allclose(layer(x)[:, 40:], layer(changed)[:, 40:], atol=1e-3)


def test_d5_a_padding_mask_hides_keys_and_leaves_every_row_finite():
    q, k, v = (torch.randn(2, 1, 32, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    padding = torch.zeros(2, 32, dtype=torch.bool)
    padding[:, 20:] = True
    index_set = fc.pattern("window", radius=40).index_set(32)
    out = sparse_attention(q, k, v, index_set, key_padding_mask=padding)
    k2, v2 = k.clone(), v.clone()
    k2[:, :, 20:], v2[:, :, 20:] = 1e3, 1e3
    assert torch.isfinite(out).all()
    assert torch.equal(out, sparse_attention(q, k2, v2, index_set, key_padding_mask=padding))


@pytest.mark.parametrize("batch", [1, 3])
def test_d6_the_calls_of_the_tutorial(batch):
    query, key, value = inputs(0, batch=batch, n_keys=200)
    unified = UnifiedFractalAttention(FractalConfig())
    assert unified(query, key, value, torch.tensor([0.5])).shape == (batch, 8)
    assert unified(key, torch.tensor([0.5])).shape == (batch, 8)
    hilbert = HilbertCurveAttention(FractalConfig())
    assert hilbert(query, key, value, torch.tensor([[128]])).shape == (batch, 8)


def test_d7_the_neighbours_of_a_cell_are_those_of_the_curve():
    row = fc.pattern("hilbert", window=5).index_set(256).to_mask()[37].nonzero()[0]
    expected = [*range(24, 30), *range(34, 42), 45, *range(214, 220), *range(228, 232)]
    assert row.tolist() == expected
    module = HilbertCurveAttention(FractalConfig(hilbert_window_size=5))
    edges, _ = module.edges(np.array([[37]]), 256)
    assert edges.keys.tolist() == expected


def test_d8_cantor_sets_are_made_for_the_length_at_hand():
    places = fc.sets.digit_offsets(3**5, 3, (0, 2))
    for n in (100, 1000):
        keys = np.unique(places * n // 3**5)
        assert len(keys) > 20
        rows = fc.pattern("cantor_samples", depth=5).index_set(n).to_mask()
        assert all(row.nonzero()[0].tolist() == sorted({*keys, i}) for i, row in enumerate(rows))
    module = CantorSetAttention(FractalConfig())
    assert [len(module.samples(np.array([n // 2]), n, 0)[0]) for n in (100, 1000)] == [2**4 + 1, 2**6 + 1]
    assert module(*inputs(0, batch=4, n_keys=100), 0.5).shape == (4, 8)


def test_d9_weights_are_added_so_a_shift_of_all_scores_changes_nothing():
    module = DragonCurveAttention(FractalConfig()).double()
    query, key, value = (x.detach().double() for x in inputs(3))
    lowered = key - 50 * query / query.square().sum(-1, keepdim=True)
    assert (query @ lowered.mT < 0).all()
    assert torch.allclose(module(query, lowered, value), module(query, key, value), rtol=0, atol=1e-12)


def test_d10_strong_biases_and_temperatures_keep_their_gradients():
    module = HilbertCurveAttention(FractalConfig(hilbert_window_size=3))
    with torch.no_grad():
        module.relative_bias.fill_(-2.0)
    module(*inputs(4), torch.tensor([13])).square().sum().backward()
    assert (module.relative_bias.grad != 0).all()
    temperature = torch.tensor(1.5, requires_grad=True)
    NumericalStability.stable_softmax(torch.tensor([1.0, 2.0, 4.0]), temperature=temperature)[0].backward()
    assert temperature.grad != 0


@pytest.mark.parametrize("make", CLASSES, ids=lambda c: c.__name__)
def test_d11_construction_makes_no_tables(make):
    module = make(FractalConfig())
    assert sum(p.numel() for p in module.parameters()) < 500
    assert not list(module.buffers())
    stores = [value for m in module.modules() for value in vars(m).values() if isinstance(value, Recent)]
    assert stores
    assert [len(store) for store in stores] == [0] * len(stores)


def test_d12_a_longer_curve_starts_like_a_shorter_one():
    for order in range(1, 8):
        places = np.arange(4**order)
        assert np.array_equal(fc.curves.hilbert_decode(places, order), fc.curves.hilbert_decode(places, order + 1))
    query, key, value = inputs(5)
    outs = [HilbertCurveAttention(FractalConfig(hilbert_order=o))(query, key, value, torch.tensor([9])) for o in (3, 4)]
    assert torch.equal(*outs)
