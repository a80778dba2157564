"""Fields, codecs and array kernels on the GPU against the CPU's, or NumPy's."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.gpu import probes
from hypothesis import given, settings
from hypothesis import strategies as st

GRID = fc.fields.grid((37, 53)).astype(np.complex64)
C = complex(-0.7, 0.27)
FEW = settings(max_examples=15)


def assert_alike(got, wanted, share=1e-3):
    """Equal but for points that rounding moves over the edge of an escape."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    assert np.sum(~np.isclose(got, wanted, rtol=1e-4, atol=1e-4)) <= share * wanted.size


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("points", [GRID, GRID[::2, ::-3], GRID[:0], GRID[3, 4]])
def test_escape_fields(points, smooth):
    got = fc.fields.julia_escape(points, C, 48, smooth=smooth, device="gpu")
    assert_alike(got, fc.fields.julia_escape(points, C, 48, smooth=smooth), 4e-3)
    assert fc.gpu.last_route() == fc.gpu.Route("julia_escape", "gpu", "asked for")
    got = fc.fields.mandelbrot_escape(points, 48, smooth=smooth, device="gpu")
    assert_alike(got, fc.fields.mandelbrot_escape(points, 48, smooth=smooth), 4e-3)


def test_soft_fields_and_their_gradients():
    got = fc.fields.julia_soft_escape(GRID, C, 9, device="gpu")
    np.testing.assert_allclose(got, fc.fields.julia_soft_escape(GRID, C, 9), rtol=1e-4, atol=1e-4)
    grad = np.random.default_rng(0).standard_normal(GRID.shape).astype(np.float32)
    got = fc.fields.julia_soft_escape_vjp(grad, GRID, C, 6, device="gpu")
    wanted = fc.fields.julia_soft_escape_vjp(grad, GRID, C, 6)
    scale = np.abs(wanted.points).max()
    np.testing.assert_allclose(got.points, wanted.points, rtol=1e-3, atol=1e-4 * scale)
    np.testing.assert_allclose(np.array(got[1:]), np.array(wanted[1:]), rtol=2e-3)


def test_points_of_double_precision_are_the_cpus():
    wide = GRID.astype(np.complex128)
    with pytest.raises(DTypeError, match="complex64"):
        fc.fields.julia_escape(wide, C, device="gpu")
    np.testing.assert_array_equal(fc.fields.julia_escape(wide, C, device="auto"), fc.fields.julia_escape(wide, C))
    assert fc.gpu.last_route().reason.startswith("complex128")
    with pytest.raises(InvalidArgumentError, match="device"):
        fc.fields.julia_potential(GRID, C, device="gpu")
    with pytest.raises(InvalidArgumentError, match="max_iter"):
        fc.fields.julia_escape(GRID, C, 0, device="gpu")
    with pytest.raises(InvalidArgumentError, match="device"):
        fc.fields.julia_escape(GRID, C, device="tpu")


@FEW
@given(st.sampled_from(["hilbert", "morton"]), st.sampled_from([2, 3]), st.data())
def test_codecs(curve, ndim, data):
    order = data.draw(st.integers(0, 32 if ndim == 2 else 21))
    n = data.draw(st.integers(0, 300))
    seed = data.draw(st.integers(0, 2**32 - 1))
    coords = np.random.default_rng(seed).integers(0, 2**order, (n, ndim), dtype=np.uint64)
    encode, decode = getattr(fc.curves, f"{curve}_encode"), getattr(fc.curves, f"{curve}_decode")
    codes = encode(coords, order, device="gpu")
    wanted = encode(coords, order)
    np.testing.assert_array_equal(codes, wanted)
    assert codes.dtype == wanted.dtype
    back = decode(codes, order, ndim, device="gpu")
    np.testing.assert_array_equal(back, coords)
    assert back.dtype == decode(codes, order, ndim).dtype


def test_codecs_write_where_they_are_told_and_refuse_as_the_cpu_does():
    coords = np.array([[1, 2], [3, 0]])
    out = np.empty(2, np.uint8)
    assert fc.curves.hilbert_encode(coords, 2, out=out, device="gpu") is out
    np.testing.assert_array_equal(out, fc.curves.hilbert_encode(coords, 2))
    for bad in ([[4, 0]], [[-1, 0]]):
        with pytest.raises(KeyIndexError, match="coords"):
            fc.curves.hilbert_encode(bad, 2, device="gpu")
    with pytest.raises(KeyIndexError, match="index"):
        fc.curves.morton_decode([16], 2, device="gpu")
    with pytest.raises(InvalidArgumentError, match="4 axes"):
        fc.curves.hilbert_encode(np.zeros((1, 4), int), 2, device="gpu")
    np.testing.assert_array_equal(fc.curves.hilbert_encode(np.zeros((1, 4), int), 2, device="auto"), [0])


def both_kinds(op, *arrays, **rest):
    """The result for NumPy arrays, after a look at the one for arrays on the GPU."""
    host = op(*arrays, **rest)
    resident = op(*map(fc.gpu.array, arrays), **rest)
    assert isinstance(resident, fc.gpu.GpuArray)
    np.testing.assert_array_equal(host, resident.numpy())
    return host


@FEW
@given(st.lists(st.integers(0, 70), min_size=1, max_size=3), st.integers(0, 9))
def test_softmax(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    x[x > 1.5] = -np.inf
    top = np.max(x, axis=-1, keepdims=True, initial=-1e30)
    powers = np.exp(x.astype(float) - top)
    total = powers.sum(-1, keepdims=True)
    wanted = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
    np.testing.assert_allclose(both_kinds(fc.gpu.softmax, x), wanted, rtol=5e-6, atol=1e-6)


@FEW
@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 70))
def test_matmul(m, k, n):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    np.testing.assert_allclose(both_kinds(fc.gpu.matmul, a, b), a.astype(float) @ b, rtol=1e-5, atol=1e-4)


def test_distances():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((31, 5)).astype(np.float32), rng.standard_normal((18, 5)).astype(np.float32)
    x, y = a.astype(float)[:, None], b.astype(float)[None]
    wanted = np.linalg.norm(x - y, axis=-1)
    np.testing.assert_allclose(both_kinds(fc.gpu.pairwise_distance, a, b), wanted, rtol=1e-5, atol=1e-5)
    c = 0.5
    times = [np.sqrt(1 / c + (p**2).sum(-1)) for p in (x, y)]
    wanted = np.arccosh(np.maximum(c * (times[0] * times[1] - (x * y).sum(-1)), 1)) / np.sqrt(c)
    got = both_kinds(fc.gpu.pairwise_distance, a, b, geometry="hyperbolic", curvature=c)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_densities():
    tokens = np.random.default_rng(0).integers(0, 3, (3, 40), dtype=np.int32)
    got = both_kinds(lambda t: fc.gpu.token_density(t, 4), tokens)
    for row, densities in zip(tokens, got, strict=True):
        for i, density in enumerate(densities):
            near = range(max(0, i - 4), min(len(row), i + 5))
            changes = [j + 1 < len(row) and row[j] != row[j + 1] for j in near]
            assert density == pytest.approx(np.mean(changes), abs=1e-6)


@FEW
@given(st.integers(0, 70), st.integers(0, 70))
def test_boxes(rows, columns):
    rng = np.random.default_rng(rows * 71 + columns)
    cells = rng.random((rows, columns)) < 0.1
    found = fc.gpu.box_counts(cells)
    for side, count in zip(found.sides, found.counts, strict=True):
        grown = np.zeros((-(-rows // side) * side, -(-columns // side) * side), bool)
        grown[:rows, :columns] = cells
        boxes = grown.reshape(grown.shape[0] // side, side, grown.shape[1] // side, side).any((1, 3))
        assert count == boxes.sum()
    values = rng.standard_normal((rows, columns)).astype(np.float32)
    for level, sums in enumerate(fc.gpu.box_sums(values), 1):
        side = 2**level
        grown = np.zeros((-(-rows // side) * side, -(-columns // side) * side))
        grown[:rows, :columns] = values
        wanted = grown.reshape(grown.shape[0] // side, side, grown.shape[1] // side, side).sum((1, 3))
        np.testing.assert_allclose(sums, wanted, rtol=1e-4, atol=1e-4)


def test_what_is_refused():
    x = np.ones((3, 4), np.float32)
    with pytest.raises(DTypeError, match="left"):
        fc.gpu.matmul(x.astype(float), x)
    with pytest.raises(ShapeError, match="right"):
        fc.gpu.matmul(x, x)
    with pytest.raises(DTypeError, match="one kind"):
        fc.gpu.matmul(x, fc.gpu.array(x.T))
    with pytest.raises(ShapeError, match="values"):
        fc.gpu.softmax(np.float32(1))
    with pytest.raises(ShapeError, match="right"):
        fc.gpu.pairwise_distance(x, x[:, :2])
    with pytest.raises(InvalidArgumentError, match="geometry"):
        fc.gpu.pairwise_distance(x, x, "spherical")
    with pytest.raises(InvalidArgumentError, match="c:"):
        fc.gpu.pairwise_distance(x, x, "hyperbolic", curvature=0.0)
    with pytest.raises(InvalidArgumentError, match="radius"):
        fc.gpu.token_density(np.zeros((1, 2), np.int32), -1)
    with pytest.raises(DTypeError, match="cells"):
        fc.gpu.box_counts(x)
    with pytest.raises(ShapeError, match="cells"):
        fc.gpu.box_sums(x[0])


@pytest.mark.parametrize("op", probes.OPS)
def test_probes_run_on_the_gpu(op):
    assert 0 < probes.measure(op, "gpu", probes.OPS[op].sizes[0], seconds=0.0) < 60
