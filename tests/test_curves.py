"""Curves: the definitions H and D, with their numbers."""

import itertools

import numpy as np
import pytest
from fractal_core import curves
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, ShapeError


def plane(order):
    return curves.hilbert_decode(np.arange(4**order), order)


@pytest.mark.parametrize("order", range(1, 8))
def test_h1_bijection(order):
    cells = plane(order)
    assert cells.min() == 0
    assert cells.max() == 2**order - 1
    assert len({tuple(c) for c in cells.tolist()}) == 4**order


@pytest.mark.parametrize("order", range(1, 8))
def test_h2_consecutive_cells_are_neighbours(order):
    assert (np.abs(np.diff(plane(order), axis=0)).sum(axis=1) == 1).all()


@pytest.mark.parametrize("order", range(1, 7))
def test_h3_inverse_for_sides_2_to_64(order):
    np.testing.assert_array_equal(curves.hilbert_encode(plane(order), order), np.arange(4**order))


@pytest.mark.parametrize("order", range(1, 8))
def test_h4_first_quarter_fills_one_quadrant(order):
    assert (plane(order)[: 4 ** (order - 1)] < 2 ** (order - 1)).all()


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_h5_prefix_is_the_lower_order(ndim):
    longest = curves.hilbert_decode(np.arange(2 ** (ndim * 3)), 3, ndim)
    for order in (1, 2, 4, 64 // ndim):
        n = min(2 ** (ndim * order), len(longest))
        np.testing.assert_array_equal(curves.hilbert_decode(np.arange(n), order, ndim), longest[:n])
        np.testing.assert_array_equal(curves.hilbert_encode(longest[:n], order), np.arange(n))


# Exact over all pairs of places; a sample of gaps finds less (2.863 and 5.62 at side 128).
@pytest.mark.parametrize(("order", "most_l1", "most_l2"), [(6, 2.9375, 5.61988), (7, 2.96875, 5.81113)])
def test_h6_locality(order, most_l1, most_l2):
    cells = plane(order).astype(np.int32)
    l1 = l2 = 0.0
    for gap in range(1, len(cells)):
        d = np.abs(cells[gap:] - cells[:-gap])
        l1 = max(l1, d.sum(axis=1).max() / gap**0.5)
        l2 = max(l2, (d * d).sum(axis=1).max() / gap)
    assert l1 == pytest.approx(most_l1, abs=1e-5)
    assert l2 == pytest.approx(most_l2, abs=1e-5)
    assert l1 <= 3
    assert l2 <= 6


def test_h7_grid_neighbours_may_lie_far_apart_on_the_curve():
    y, x = np.mgrid[:128, :128]
    place = curves.hilbert_encode(np.stack([y, x], axis=-1), 7)
    gaps = np.concatenate([np.abs(np.diff(place, axis=axis)).ravel() for axis in (0, 1)])
    assert np.median(gaps) == 1
    assert np.quantile(gaps, 0.95) <= 171
    assert gaps.max() == 13_653


@pytest.mark.parametrize(("ndim", "order"), [(3, 3), (4, 2), (5, 2), (6, 1)])
def test_h8_any_number_of_axes(ndim, order):
    n = 2 ** (ndim * order)
    cells = curves.hilbert_decode(np.arange(n), order, ndim)
    assert (np.abs(np.diff(cells, axis=0)).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(curves.hilbert_encode(cells, order), np.arange(n))


def check_order(shape):
    order = curves.hilbert_order(shape)
    cells = np.stack(np.unravel_index(order, shape), axis=-1)
    np.testing.assert_array_equal(np.sort(order), np.arange(np.prod(shape)))
    assert (np.abs(np.diff(cells, axis=0)).sum(axis=1) == 1).all(), shape
    return cells


def lattice(ndim, order):
    return np.array(list(itertools.product(range(2**order), repeat=ndim)))


def skilling(point, order):
    """The place of a cell by the loops of Skilling's paper, axis 0 first in each level."""
    x = list(point)
    for level in range(order - 1, 0, -1):
        low = 2**level - 1
        for i in range(len(x)):
            if x[i] >> level & 1:
                x[0] ^= low
            else:
                x[0], x[i] = (x[0] & ~low) | (x[i] & low), (x[i] & ~low) | (x[0] & low)
    for i in range(1, len(x)):
        x[i] ^= x[i - 1]
    flip = 0
    for level in range(order - 1, 0, -1):
        flip ^= (2**level - 1) * (x[-1] >> level & 1)
    bits = [(axis ^ flip) >> level & 1 for level in range(order - 1, -1, -1) for axis in x]
    return int("".join(map(str, bits)), 2)


@pytest.mark.parametrize(
    ("ndim", "order"), [(1, 4), (2, 1), (2, 2), (2, 5), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (5, 2)]
)
def test_encode_is_skillings_curve_after_rolling_the_axes(ndim, order):
    cells = lattice(ndim, order)
    expected = [skilling(cell, order) for cell in np.roll(cells, -order, axis=-1).tolist()]
    assert curves.hilbert_encode(cells, order).tolist() == expected


def butz(cell, order):
    """The place of a cell by Butz's algorithm in the form that Hamilton gave it: an entry and a direction a level."""
    n = len(cell)
    whole = 2**n - 1

    def left(bits, places):
        places %= n
        return (bits << places | bits >> (n - places)) & whole

    def ones(number):  # at its end
        return (number ^ (number + 1)).bit_length() - 1

    place, entry, direction = 0, 0, 0
    for level in range(order - 1, -1, -1):
        corner = sum((axis >> level & 1) << i for i, axis in enumerate(cell))
        gray = left(corner ^ entry, -(direction + 1))
        step = 0
        while gray:
            step, gray = step ^ gray, gray >> 1
        start = 2 * ((step - 1) // 2) if step else 0
        entry ^= left(start ^ start >> 1, direction + 1)
        turn = 0 if step == 0 else ones(step - 1 if step % 2 == 0 else step)
        direction = (direction + turn + 1) % n
        place = place << n | step
    return place


def images(path, order):
    """A path under all symmetries of the square or cube, walked either way."""
    for axes in itertools.permutations(range(path.shape[1])):
        for mirrored in itertools.product((False, True), repeat=path.shape[1]):
            image = np.where(mirrored, 2**order - 1 - path[:, axes], path[:, axes])
            yield image
            yield image[::-1]


@pytest.mark.parametrize(
    ("ndim", "order", "same"), [(2, 1, True), (2, 3, True), (3, 1, True), (3, 2, False), (3, 3, False)]
)
def test_in_space_it_is_not_the_curve_of_butz(ndim, order, same):
    cells = lattice(ndim, order)
    path = cells[np.argsort([butz(cell, order) for cell in cells.tolist()])]
    assert (np.abs(np.diff(path, axis=0)).sum(1) == 1).all()
    ours = curves.hilbert_decode(np.arange(2 ** (ndim * order)), order, ndim)
    assert any((image == ours).all() for image in images(path, order)) == same


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_what_the_curve_in_the_plane_is_like(order):
    path = curves.hilbert_decode(np.arange(4**order), order, 2)
    assert path[:2].tolist() == [[0, 0], [1, 0]]
    assert path[-1].tolist() == [(2**order - 1) * (axis == order % 2) for axis in range(2)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_what_the_curve_in_space_is_like(order):
    path = curves.hilbert_decode(np.arange(8**order), order, 3)
    corners = [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]]
    assert curves.hilbert_decode(np.arange(8), order, 3).tolist() == corners
    assert path[-1].tolist() == [(2**order - 1) * (axis == order % 3) for axis in range(3)]
    mirrored = np.where(np.arange(3) == order % 3, 2**order - 1 - path, path)
    assert (path[::-1] == mirrored).all()
    eighth = curves.hilbert_decode(np.arange(8 ** (order - 1)), order - 1, 3)
    for octant in path.reshape(8, -1, 3):
        assert any((image == octant - octant.min(0)).all() for image in list(images(eighth, order - 1))[::2])


def test_h9_every_small_rectangle_in_unit_steps():
    for shape in itertools.product(range(1, 41), repeat=2):
        check_order(shape)


def test_h9_every_small_box_in_unit_steps():
    for shape in itertools.product(range(1, 13), repeat=3):
        check_order(shape)


@pytest.mark.parametrize("shape", [(1, 999), (101, 2), (2, 100), (5, 7, 300), (301, 2, 3)])
def test_h9_long_boxes_in_unit_steps(shape):
    cells = check_order(shape)
    longest = cells[:, np.argmax(shape)]
    # The path goes down the long axis once: it never falls back by more than the box is thick.
    thick = np.prod(shape) / max(shape)
    assert (np.maximum.accumulate(longest) - longest).max() <= thick


@pytest.mark.parametrize(
    ("shape", "bound"),
    [((480, 641), 6), ((100, 37), 6), ((101, 101), 6), ((17, 251, 9), 30), ((30, 30, 30), 30), ((31, 33, 35), 30)],
)
def test_h9_thick_boxes_stay_local(shape, bound):
    cells = check_order(shape).astype(float)
    for gap in (16, 64, 101, 171):
        far = np.sqrt(((cells[gap:] - cells[:-gap]) ** 2).sum(axis=1).max())
        assert far ** len(shape) <= bound * gap


@pytest.mark.parametrize("order", range(8))
def test_h9_squares_and_cubes_of_powers_of_two_are_the_codec(order):
    np.testing.assert_array_equal(check_order((2**order, 2**order)), plane(order))
    if order <= 4:
        cube = curves.hilbert_decode(np.arange(8**order), order, 3)
        np.testing.assert_array_equal(check_order((2**order,) * 3), cube)


def test_orders_of_empty_boxes():
    assert curves.hilbert_order((0, 5)).shape == (0,)
    assert curves.morton_order((3, 0, 2)).shape == (0,)


@pytest.mark.parametrize("shape", [(7,), (8, 8), (5, 9), (3, 1, 6), (2, 3, 4, 5)])
def test_morton_order_sorts_by_code(shape):
    order = curves.morton_order(shape)
    cells = np.stack(np.unravel_index(order, shape), axis=-1)
    np.testing.assert_array_equal(np.sort(order), np.arange(np.prod(shape)))
    assert (np.diff(curves.morton_encode(cells, 4)) > 0).all()


@pytest.mark.parametrize("name", ["hilbert", "morton"])
@pytest.mark.parametrize(("ndim", "order"), [(1, 63), (1, 64), (2, 32), (3, 21), (4, 16), (7, 9), (64, 1)])
def test_codes_at_the_limit(name, ndim, order):
    top = 2**order - 1
    corner = np.full((1, ndim), top, dtype=np.uint64)
    code = getattr(curves, f"{name}_encode")(corner, order)
    back = getattr(curves, f"{name}_decode")(code, order, ndim)
    assert back.tolist() == corner.tolist()
    assert code.dtype == (np.uint64 if ndim * order == 64 else np.int64)
    assert back.dtype == (np.uint64 if order == 64 else np.int64)
    if name == "morton":
        assert code[0] == 2 ** (ndim * order) - 1


def test_morton_interleaves_bits_axis_0_first():
    y, x = np.mgrid[:16, :16]
    code = curves.morton_encode(np.stack([y, x], axis=-1), 4)
    bits = [((y >> b & 1) << (2 * b + 1)) | ((x >> b & 1) << (2 * b)) for b in range(4)]
    np.testing.assert_array_equal(code, sum(bits))
    assert curves.morton_encode([[1, 0], [0, 1]], 1).tolist() == [2, 1]
    assert curves.morton_encode(np.eye(3, dtype=int), 1).tolist() == [4, 2, 1]
    cells = curves.morton_decode(np.arange(4096), 4, 3)
    expected = [sum((np.arange(4096) >> (3 * b + 2 - i) & 1) << b for b in range(4)) for i in range(3)]
    np.testing.assert_array_equal(cells, np.stack(expected, axis=-1))


INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


@pytest.mark.parametrize("dtype", [*INTEGERS, ">i8"])
def test_any_integer_dtype(dtype):
    cells = plane(3)
    np.testing.assert_array_equal(curves.hilbert_encode(cells.astype(dtype), 3), np.arange(64))


@pytest.mark.parametrize(("given", "made"), list(itertools.product(INTEGERS, repeat=2)))
@pytest.mark.parametrize("curve", ["hilbert", "morton"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_pair_of_dtypes(curve, ndim, given, made):
    encode, decode = getattr(curves, f"{curve}_encode"), getattr(curves, f"{curve}_decode")
    codes = np.random.default_rng(0).permutation(2**6)
    cells = decode(codes, 6 // ndim, ndim)
    assert cells.dtype == np.int64
    made_codes = encode(cells.astype(given), 6 // ndim, dtype=made)
    made_cells = decode(codes.astype(given), 6 // ndim, ndim, dtype=made)
    assert made_codes.dtype == made_cells.dtype == np.dtype(made)
    np.testing.assert_array_equal(made_codes, codes)
    np.testing.assert_array_equal(made_cells, cells)


@pytest.mark.parametrize("curve", ["hilbert", "morton"])
def test_out_is_written_and_returned(curve):
    encode, decode = getattr(curves, f"{curve}_encode"), getattr(curves, f"{curve}_decode")
    index = np.arange(4096).reshape(16, 16, 16)
    cells = np.full((16, 16, 16, 2), 77, dtype=np.uint8)
    assert decode(index, 6, out=cells) is cells
    np.testing.assert_array_equal(cells, decode(index, 6))
    codes = np.full(index.shape, -1, dtype=np.int16)
    assert encode(cells, 6, out=codes, dtype="int16") is codes
    np.testing.assert_array_equal(codes, index)


@pytest.mark.parametrize("curve", ["hilbert", "morton"])
@pytest.mark.parametrize(("ndim", "order"), [(2, 13), (2, 20), (3, 13), (4, 13)])
def test_long_strided_arrays_are_read_in_place(curve, ndim, order):
    encode, decode = getattr(curves, f"{curve}_encode"), getattr(curves, f"{curve}_decode")
    table = np.random.default_rng(1).integers(0, 2**order, (ndim + 1, 30_001))
    packed = np.ascontiguousarray(table[1:].T)
    codes = encode(packed, order)
    np.testing.assert_array_equal(encode(table[1:].T, order), codes)
    np.testing.assert_array_equal(encode(table[:0:-1, ::-3].T, order), encode(packed[::-3, ::-1].copy(), order))
    np.testing.assert_array_equal(encode(np.broadcast_to(packed[5], (9, ndim)), order), np.full(9, codes[5]))
    two = np.stack([codes, codes], axis=1)
    np.testing.assert_array_equal(decode(two[::-1, 0], order, ndim), packed[::-1])


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8"])
@pytest.mark.parametrize("order", [7, 8, 16, 31, 32])
def test_negative_numbers_are_refused_whatever_the_order(dtype, order):
    cells = np.zeros((1000, 2), dtype)
    cells[997, 1] = np.iinfo(dtype).min
    with pytest.raises(KeyIndexError, match=f"^coords: got {np.iinfo(dtype).min}; "):
        curves.hilbert_encode(cells, order)
    with pytest.raises(KeyIndexError, match=f"^index: got {np.iinfo(dtype).min}; "):
        curves.hilbert_decode(cells[:, 1], order)


def test_any_strides_and_shapes():
    cells = plane(4)
    wide = np.zeros((512, 4), dtype=np.int64)
    wide[::2, ::-2] = cells
    np.testing.assert_array_equal(curves.hilbert_encode(wide[::2, ::-2], 4), np.arange(256))
    np.testing.assert_array_equal(curves.hilbert_encode(np.asfortranarray(cells), 4), np.arange(256))
    square = curves.hilbert_decode(np.arange(256).reshape(4, 8, 8)[:, ::-1], 4)
    assert square.shape == (4, 8, 8, 2)
    np.testing.assert_array_equal(square, cells.reshape(4, 8, 8, 2)[:, ::-1])
    assert curves.hilbert_decode(5, 4).shape == (2,)
    assert curves.hilbert_encode([1, 2], 4).shape == ()
    assert curves.hilbert_encode(np.zeros((0, 3), dtype=int), 4).shape == (0,)


@pytest.mark.parametrize("order", range(13))
def test_d_endpoint_distance(order):
    end = curves.dragon_vertices(2**order + 1)[-1]
    assert (end**2).sum() == 2**order


def test_d_turns_by_the_fold_rule():
    folded = []
    for _ in range(10):
        folded = [*folded, 1, *(-t for t in reversed(folded))]
    assert curves.dragon_turns(1023).tolist() == folded
    assert curves.dragon_turns(7).tolist() == [1, 1, -1, 1, 1, -1, -1]
    np.testing.assert_array_equal(curves.dragon_turns(500), curves.dragon_turns(1023)[:500])


def test_d_path_follows_its_turns():
    steps = np.diff(curves.dragon_vertices(1026), axis=0)
    assert steps[0].tolist() == [1, 0]
    cross = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    np.testing.assert_array_equal(cross, curves.dragon_turns(1024))


def test_d_edges_once_vertices_at_most_twice():
    path = [tuple(v) for v in curves.dragon_vertices(2**12 + 1).tolist()]
    edges = [frozenset(pair) for pair in itertools.pairwise(path)]
    assert len(set(edges)) == len(edges)
    assert max(np.unique(path, axis=0, return_counts=True)[1]) == 2


def test_d_689_distinct_vertices_among_1024():
    assert len(np.unique(curves.dragon_vertices(1024), axis=0)) == 689


@pytest.mark.parametrize(
    "make",
    [
        lambda: curves.hilbert_order((3, 5)),
        lambda: curves.morton_order((3, 5)),
        lambda: curves.dragon_turns(16),
        lambda: curves.dragon_vertices(16),
    ],
)
def test_results_are_rusts_own_memory(make):
    array = make()
    assert array.flags.owndata is False
    assert array.flags.c_contiguous
    assert array.flags.writeable
    owner = array
    while isinstance(owner, np.ndarray):
        assert owner.ctypes.data == array.ctypes.data
        owner = owner.base
    assert type(owner).__name__ == "PySliceContainer"


def read_only():
    array = np.zeros(1, int)
    array.flags.writeable = False
    return array


def into_itself(encode):
    table = np.zeros(3, int)
    return encode(table[:2].reshape(1, 2), 2, out=table[1:2])


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: curves.hilbert_encode([[0, 0]], 33), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_encode([[0, 0, 0]], 22), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_decode([0], 65, 1), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_decode([0], 2**40, 1), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_decode([0], -1), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_decode([0], 2.0), DTypeError, "order"),
        (lambda: curves.hilbert_decode([0], True), DTypeError, "order"),
        (lambda: curves.hilbert_decode([0], 2, 0), InvalidArgumentError, "ndim"),
        (lambda: curves.hilbert_decode([0], 0, 65), InvalidArgumentError, "ndim"),
        (lambda: curves.hilbert_decode([16], 2), KeyIndexError, "index"),
        (lambda: curves.hilbert_decode([-1], 2), KeyIndexError, "index"),
        (lambda: curves.hilbert_decode([0.0], 2), DTypeError, "index"),
        (lambda: curves.hilbert_encode([[0, 4]], 2), KeyIndexError, "coords"),
        (lambda: curves.hilbert_encode([[-1, 0]], 2), KeyIndexError, "coords"),
        (lambda: curves.hilbert_encode([[0.5, 0]], 2), DTypeError, "coords"),
        (lambda: curves.hilbert_encode([[True, False]], 2), DTypeError, "coords"),
        (lambda: curves.hilbert_encode(3, 2), ShapeError, "coords"),
        (lambda: curves.hilbert_encode(np.zeros((4, 0), dtype=int), 2), InvalidArgumentError, "ndim"),
        (lambda: curves.morton_encode([[0, 4]], 2), KeyIndexError, "coords"),
        (lambda: curves.morton_decode([0], 33), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_encode([[0, 0]], 33, dtype="int8"), InvalidArgumentError, "order"),
        (lambda: curves.hilbert_encode([[0, 0]], 4, dtype="int8"), DTypeError, "dtype"),
        (lambda: curves.hilbert_encode([[0, 0]], 32, dtype="int64"), DTypeError, "dtype"),
        (lambda: curves.hilbert_encode([[0, 0]], 2, dtype="float32"), DTypeError, "dtype"),
        (lambda: curves.hilbert_encode([[0, 0]], 2, dtype=">i4"), DTypeError, "dtype"),
        (lambda: curves.hilbert_encode([[0, 0]], 2, dtype="tree"), DTypeError, "dtype"),
        (lambda: curves.hilbert_encode([[0, 0]], 2, dtype="i2", out=np.zeros(1, int)), DTypeError, "dtype"),
        (lambda: curves.hilbert_decode([0], 9, dtype=np.uint8), DTypeError, "dtype"),
        (lambda: curves.hilbert_decode([0], 9, out=np.zeros((1, 2), np.uint8)), DTypeError, "out"),
        (lambda: curves.hilbert_decode([0], 2, out=np.zeros((1, 2))), DTypeError, "out"),
        (lambda: curves.hilbert_decode([0], 2, out=[[0, 0]]), DTypeError, "out"),
        (lambda: curves.hilbert_decode([0], 2, out=np.zeros(2, int)), ShapeError, "out"),
        (lambda: curves.hilbert_decode([0, 1], 2, out=np.zeros((2, 2), int, order="F")), InvalidArgumentError, "out"),
        (lambda: curves.hilbert_encode([[0, 0]] * 2, 2, out=np.zeros(4, int)[::2]), InvalidArgumentError, "out"),
        (lambda: curves.morton_encode([[0, 0]], 2, out=read_only()), InvalidArgumentError, "out"),
        (lambda: into_itself(curves.morton_encode), InvalidArgumentError, "out"),
        (lambda: curves.hilbert_order((4,)), ShapeError, "shape"),
        (lambda: curves.hilbert_order((2, 2, 2, 2)), ShapeError, "shape"),
        (lambda: curves.hilbert_order((-1, 4)), InvalidArgumentError, "shape"),
        (lambda: curves.hilbert_order((2**20, 2**20)), InvalidArgumentError, "shape"),
        (lambda: curves.hilbert_order((2**31, 2**31, 2**31)), InvalidArgumentError, "shape"),
        (lambda: curves.hilbert_order((2.5, 4)), DTypeError, "shape"),
        (lambda: curves.hilbert_order(4), DTypeError, "shape"),
        (lambda: curves.morton_order(()), ShapeError, "shape"),
        (lambda: curves.morton_order((2,) * 16 + (64,)), InvalidArgumentError, "shape"),
        (lambda: curves.dragon_turns(-1), InvalidArgumentError, "n"),
        (lambda: curves.dragon_turns(2**33), InvalidArgumentError, "n"),
        (lambda: curves.dragon_vertices(1.5), DTypeError, "n"),
        (lambda: curves.dragon_vertices(2**70), InvalidArgumentError, "n"),
    ],
)
def test_wrong_calls_name_the_argument(call, error, argument):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, FractalError)
    assert caught.value.argument == argument
    assert "allowed" in str(caught.value)
