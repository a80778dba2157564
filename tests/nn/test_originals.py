"""The cases that the seeds' own programs were tested with, as far as their subjects exist here, with right numbers."""

from __future__ import annotations

import itertools
import math

import fractal_core as fc
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import FractalAttention, FractalConfig

# --- 01: the Hilbert curve -----------------------------------------------------------------------------------------


def test_01_order_two_fills_a_grid_of_four():
    cells = fc.curves.hilbert_decode(np.arange(16), 2)
    assert cells.shape == (16, 2)
    assert cells.min() == 0
    assert cells.max() == 3
    assert cells[0].tolist() == [0, 0]
    assert len(np.unique(cells, axis=0)) == 16


def test_01_consecutive_points_are_near():
    cells = fc.curves.hilbert_decode(np.arange(1024), 5).astype(float)
    steps = np.linalg.norm(np.diff(cells, axis=0), axis=1)
    rng = np.random.default_rng(0)
    pairs = cells[rng.integers(0, 1024, (1000, 2))]
    assert 3 * steps.mean() <= np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1).mean()
    assert (steps < 2 * steps.mean()).mean() >= 0.9


@pytest.mark.parametrize("shape", [(1,), (50,), (8, 8)])
def test_01_indices_of_any_shape(shape):
    assert fc.curves.hilbert_decode(np.zeros(shape, dtype=np.int64), 6).shape == (*shape, 2)


def test_01_an_index_out_of_range_is_refused():
    with pytest.raises(InvalidArgumentError, match="index"):
        fc.curves.hilbert_decode(np.array([16]), 2)


# --- 02: the Cantor set --------------------------------------------------------------------------------------------


def test_02_a_scale_has_two_to_its_number_of_samples_and_holds_the_scale_before():
    samples = [set(np.floor(fc.sets.cantor_points(k) * 1024 + 1e-9).astype(int)) for k in range(6)]
    for k, scale in enumerate(samples):
        assert len(scale) == 2**k
        assert min(scale) >= 0
        assert max(scale) < 1024
    for coarse, fine in itertools.pairwise(samples):
        assert coarse < fine


def test_02_the_dimension_is_log_two_over_log_three():
    counts = [len(fc.sets.cantor_points(k)) for k in range(1, 13)]
    slope = np.polyfit(np.arange(1, 13) * math.log(3), np.log(counts), 1)[0]
    assert abs(slope - math.log(2) / math.log(3)) < 1e-10


def test_02_distances_span_the_sequence():
    distances = np.abs(np.floor(fc.sets.cantor_points(5) * 1024).astype(int) - 512)
    counts, _ = np.histogram(distances, bins=(0, 200, 300, 400, 600))
    assert (counts > 0).sum() >= 3
    assert distances.max() > 2 * distances.min()


@pytest.mark.parametrize("scales", [0, -1])
def test_02_a_number_of_scales_out_of_range_is_refused(scales):
    with pytest.raises(InvalidArgumentError, match="cantor_num_scales"):
        FractalConfig(cantor_num_scales=scales)


# --- 03: the layer -------------------------------------------------------------------------------------------------


def layer(pattern="hilbert:window=7", **options):
    torch.manual_seed(0)
    return FractalAttention(64, 4, pattern, **options)


@pytest.mark.parametrize("shape", [(1, 16, 64), (8, 64, 64), (4, 128, 64), (2, 256, 64)])
def test_03_shapes_are_kept(shape):
    assert layer()(torch.randn(shape)).shape == shape


def test_03_causal_differs_and_keeps_the_past():
    torch.manual_seed(1)
    x = torch.randn(2, 32, 64)
    changed = torch.cat((x[:, :16], torch.randn(2, 16, 64)), 1)
    causal = layer(causal=True)
    assert (causal(x) - layer()(x)).abs().max() > 1e-4
    assert torch.equal(causal(x)[:, :16], causal(changed)[:, :16])


def test_03_the_number_of_edges_is_n_times_the_keys_of_a_query():
    report = fc.pattern("hilbert", window=7).index_set(1024)
    assert report.nnz <= 1024 * 49
    assert report.nnz >= 1024 * 30


def test_03_a_union_with_a_cantor_set_changes_the_output():
    x = torch.randn(2, 64, 64)
    assert (layer()(x) - layer("hilbert:window=7|cantor")(x)).abs().max() > 1e-4


def test_03_every_parameter_and_the_input_learn():
    m, x = layer(), torch.randn(2, 64, 64, requires_grad=True)
    m(x).pow(2).sum().backward()
    assert x.grad.abs().sum() > 0
    for parameter in m.parameters():
        assert parameter.grad.abs().sum() > 0


class Copier(torch.nn.Module):
    def __init__(self, pattern):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 64)
        self.attention = FractalAttention(64, 4, pattern)
        self.head = torch.nn.Linear(64, 10)

    def forward(self, tokens):
        return self.head(self.attention(self.embedding(tokens)))


def accuracy(pattern):
    torch.manual_seed(0)
    model = Copier(pattern)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        tokens = torch.randint(0, 10, (16, 64))
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens = torch.randint(0, 10, (32, 64))
    with torch.no_grad():
        return float((model(tokens).argmax(-1) == tokens).float().mean())


def test_03_it_learns_to_copy_as_well_as_dense_attention():
    sparse, dense = accuracy("hilbert:window=3"), accuracy("window:radius=64")
    assert sparse > 0.5
    assert sparse > dense - 0.15


# --- 04: the dragon curve ------------------------------------------------------------------------------------------


def test_04_turns_fold_by_fold():
    turns = fc.curves.dragon_turns(2**8 - 1)
    left, right = 1, -1
    assert turns[:1].tolist() == [left]
    assert turns[:3].tolist() == [left, left, right]
    assert turns[:7].tolist() == [left, left, right, left, left, right, right]
    for n in range(2, 9):
        half = 2 ** (n - 1)
        whole = fc.curves.dragon_turns(2**n - 1)
        assert whole.size == 2**n - 1
        assert set(whole.tolist()) == {left, right}
        assert (whole[: half - 1] == fc.curves.dragon_turns(half - 1)).all()
        assert (whole[half:] == -whole[: half - 1][::-1]).all()


@pytest.mark.parametrize("iterations", [0, 25])
def test_04_a_number_of_iterations_out_of_range_is_refused(iterations):
    with pytest.raises(InvalidArgumentError, match="dragon_iterations"):
        FractalConfig(dragon_iterations=iterations)


@pytest.mark.parametrize("shape", [(2, 16, 64), (4, 64, 64), (2, 128, 64)])
def test_04_shapes_are_kept_and_the_pattern_tells(shape):
    torch.manual_seed(1)
    x = torch.randn(shape)
    out = layer("dragon")(x)
    assert out.shape == shape
    assert (out - layer("window:radius=128")(x)).abs().max() > 1e-4
