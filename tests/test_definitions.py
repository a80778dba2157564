"""Numbered facts about patterns: counts, reach and layers that the mathematics fixes."""

import itertools

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import curves

N = 2048


def causal(spec, n=N):
    return fc.pattern(spec).index_set(n, causal=True)


class TestCantor:
    @pytest.mark.parametrize("base", [3, 4, 5, 7])
    def test_exactly_base_minus_one_layers_reach_every_earlier_token(self, base):
        reach = causal(f"cantor:base={base}").reach()
        assert reach.causal
        assert reach.layers == base - 1
        assert reach.shares[base - 3] < 1

    @pytest.mark.parametrize(("base", "layers"), [(9, 8), (13, 12)])
    def test_and_for_larger_bases(self, base, layers):
        assert causal(f"cantor:base={base}").reach().layers == layers

    def test_the_same_at_65536(self):
        for base in (3, 4, 5, 7):
            assert causal(f"cantor:base={base}", 65536).reach().layers == base - 1

    @pytest.mark.parametrize(("base", "keys"), [(3, 128), (4, 64), (5, 32), (7, 16)])
    def test_keys_of_the_last_token(self, base, keys):
        assert fc.pattern("cantor", base=base).index_set(1, N, causal=True).nnz == keys

    def test_classical_digits_reach_half_for_ever(self):
        made = causal("cantor:digits=(0,2)")
        assert (made.offsets % 2 == 0).all()
        reach = made.reach()
        assert reach.layers is None
        assert reach.share == pytest.approx(0.5, abs=5e-4)
        with_one = made | fc.IndexSet.from_offsets([1], N)
        assert with_one.reach().layers == 3

    def test_classical_digits_are_twice_zero_and_one(self):
        assert (causal("cantor:digits=(0,2)").offsets == 2 * causal("cantor", N // 2).offsets).all()

    def test_moser_de_bruijn_and_its_double(self):
        single = causal("cantor:base=4").offsets
        double = causal("cantor:base=4,digits=(0,2)").offsets
        made = fc.IndexSet.from_offsets(np.union1d(single, double), N)
        assert made.offsets.size == 95
        assert made.reach().layers == 2
        sums = [a + b for a, b in itertools.product(single, double) if a + b < N]
        assert sorted(sums) == list(range(N)), "every number is one sum, in one way"

    def test_koch(self):
        made = causal("cantor:base=4,digits=(0,1,3)")
        assert made.reach().layers == 2
        assert made.offsets.size == 486
        for k in range(1, 7):
            assert (made.offsets < 4**k).sum() == min(3**k, 486)

    @pytest.mark.parametrize(("base", "digits"), [(3, (0, 1)), (3, (0, 2)), (5, (0, 1, 4))])
    def test_count_below_a_power(self, base, digits):
        for k in range(1, 5):
            assert causal(f"cantor:base={base},digits={digits}", base**k).offsets.size == len(digits) ** k


class TestSierpinski:
    def test_edges_and_rows(self):
        for k in range(12):
            assert causal("sierpinski", 2**k).nnz == 3**k
        rows = np.diff(causal("sierpinski").indptr)
        assert (rows == [2 ** i.bit_count() for i in range(N)]).all()
        assert rows.max() == N

    @pytest.mark.parametrize(("n", "percent"), [(256, 19.9), (1024, 11.3), (2048, 8.4)])
    def test_stacking_adds_nothing(self, n, percent):
        reach = causal("sierpinski", n).reach()
        assert reach.layers is None
        assert len(reach.shares) == 1
        assert 100 * reach.share == pytest.approx(percent, abs=0.06)

    def test_with_a_window_everything_in_three_layers(self):
        assert causal("window:radius=16|sierpinski").reach().layers == 3


class TestDragon:
    @pytest.mark.parametrize(("radius", "mean"), [(1, 14.3), (2, 36.4)])
    def test_mean_keys(self, radius, mean):
        n = 4096
        assert fc.pattern("dragon", radius=radius).index_set(n).nnz / n == pytest.approx(mean, abs=0.05)

    @pytest.mark.parametrize(("radius", "layers"), [(1, 56), (2, 26)])
    def test_alone_it_reaches_slowly(self, radius, layers):
        assert causal(f"dragon:radius={radius}", 1024).reach().layers == layers

    def test_a_vertex_is_visited_at_most_twice(self):
        rows = np.diff(fc.pattern("dragon", radius=0).index_set(1024).indptr)
        assert rows.max() == 2
        assert (1 / rows).sum() == pytest.approx(689), "distinct vertices of 1024 points"


class TestHilbert:
    def test_near_on_the_curve_is_near_in_the_plane(self):
        cells = curves.hilbert_decode(np.arange(128 * 128), 7).astype(float)
        for gap in (1, 2, 3, 10, 100, 1000, 5000):
            apart = abs(cells[gap:] - cells[:-gap])
            assert (apart.sum(1) <= 3 * gap**0.5).all()
            assert ((apart**2).sum(1) <= 6 * gap).all()

    def test_the_converse_is_false(self):
        places = curves.hilbert_encode(np.stack(np.indices((128, 128)), -1), 7).astype(int)
        gaps = np.concatenate([abs(np.diff(places, axis=axis)).ravel() for axis in (0, 1)])
        assert np.median(gaps) == 1
        assert np.percentile(gaps, 95) == pytest.approx(171, abs=1)
        assert gaps.max() == 13653

    def test_the_pattern_joins_cells_far_apart_on_the_curve(self):
        made = fc.pattern("hilbert", window=3).index_set(128 * 128)
        rows = np.repeat(np.arange(128 * 128), np.diff(made.indptr))
        assert abs(made.indices - rows).max() >= 13653


class TestReachTable:
    """Layers until every earlier token is reachable, at 2048 tokens."""

    def test_log_ladder(self):
        powers = [0, *(2**k for k in range(11))]
        ladder = fc.IndexSet.from_offsets(powers, N)
        assert ladder.nnz < 12 * N
        assert ladder.reach().layers == 11

    def test_window_of_16(self):
        assert causal("window:radius=15").reach(63).layers is None
        assert causal("window:radius=16").reach(128).layers == 128

    def test_window_and_ladders(self):
        window = fc.IndexSet.from_offsets(range(16), N)
        twos = window | fc.IndexSet.from_offsets([2**k for k in range(11)], N)
        threes = window | fc.IndexSet.from_offsets([d * 3**k for k in range(7) for d in (1, 2) if d * 3**k < N], N)
        assert twos.reach().layers == 8
        assert threes.reach().layers == 6

    def test_cantor_at_65536_keeps_its_counts(self):
        for base, keys in ((3, 1280), (4, 256), (5, 128), (7, 64), (9, 48), (13, 32)):
            assert fc.pattern("cantor", base=base).index_set(1, 65536, causal=True).nnz == keys


class TestCommon:
    """What `check_pattern` keeps at small sizes, once at a size that cuts rows into many tasks."""

    @pytest.mark.parametrize("spec", fc.patterns.names())
    def test_prefix_and_decode_at_length(self, spec):
        pattern = fc.pattern(spec)
        n = pattern.length or 3000
        for is_causal in (False, True):
            whole = pattern.index_set(n, causal=is_causal)
            assert pattern.index_set(n // 4, n, causal=is_causal) == whole.rows(n - n // 4, n)
            if not pattern.length_dependent:
                assert pattern.index_set(1111, causal=is_causal) == whole.prefix(1111)
            if pattern.symmetric and not is_causal:
                assert whole.transpose() == whole
            assert (np.diff(whole.indptr) > 0).all()
