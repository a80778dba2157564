"""Cantor sets: the definition C, with its numbers."""

import itertools

import numpy as np
import pytest
from fractal_core import sets
from fractal_core.errors import DTypeError, InvalidArgumentError


@pytest.mark.parametrize("depth", range(11))
def test_c_two_to_the_depth_points_with_digits_0_and_2(depth):
    points = sets.cantor_points(depth)
    assert points.shape == (2**depth,)
    assert (np.diff(points) > 0).all()
    expected = [
        sum(d * 3 ** (depth - 1 - i) for i, d in enumerate(ds)) / 3**depth
        for ds in itertools.product((0, 2), repeat=depth)
    ]
    assert points.tolist() == expected


@pytest.mark.parametrize("depth", range(1, 13))
def test_c_symmetry_and_self_similarity(depth):
    points = sets.cantor_points(depth)
    np.testing.assert_allclose(np.sort(1 - points - 3.0**-depth), points, rtol=0, atol=1e-15)
    smaller = sets.cantor_points(depth - 1)
    np.testing.assert_allclose(points, np.concatenate([smaller / 3, 2 / 3 + smaller / 3]), rtol=0, atol=1e-15)
    assert np.isin(smaller, points).all()


def test_c_box_dimension():
    points = sets.cantor_points(12)
    levels = np.arange(1, 9)
    # Half a smallest interval inwards, so that no left end sits on a box's edge.
    boxes = [len(np.unique(np.floor((points + 3.0**-12 / 2) * 3.0**k))) for k in levels]
    assert boxes == [2**k for k in levels]
    slope = np.polyfit(levels * np.log(3), np.log(boxes), 1)[0]
    assert slope == pytest.approx(np.log(2) / np.log(3), abs=1e-12)


@pytest.mark.parametrize(
    ("base", "digits"), [(3, (0, 1)), (3, (0, 2)), (4, (0, 1)), (4, (0, 1, 3)), (7, (0, 3, 5)), (2, (0, 1))]
)
def test_c_members_below_a_power_of_the_base(base, digits):
    for k in range(1, 6):
        members = sets.digit_offsets(base**k, base, digits)
        assert len(members) == len(digits) ** k
        assert members.tolist() == [n for n in range(base**k) if all((n // base**i) % base in digits for i in range(k))]


def test_c_classical_set_is_twice_the_01_set_so_even():
    classical = sets.digit_offsets(3**9, 3, (0, 2))
    np.testing.assert_array_equal(classical, 2 * sets.digit_offsets(3**9, 3, (0, 1)))
    assert (classical % 2 == 0).all()


def sums(members, n, times):
    reach = np.zeros(n, dtype=bool)
    reach[0] = True
    for _ in range(times):
        reach = np.logical_or.reduce([np.concatenate([np.zeros(m, dtype=bool), reach[: n - m]]) for m in members])
    return reach


@pytest.mark.parametrize("base", [3, 4, 5, 7])
def test_c_every_integer_is_a_sum_of_exactly_base_minus_one_members(base):
    members = sets.digit_offsets(2048, base)
    assert sums(members, 2048, base - 1).all()
    assert not sums(members, 2048, base - 2).all()


def test_c_classical_set_never_reaches_more_than_half():
    assert sums(sets.digit_offsets(2048, 3, (0, 2)), 2048, 12).mean() == 0.5


def test_c_moser_de_bruijn_sums_are_unique():
    moser = sets.digit_offsets(4**5, 4)
    total = (moser[:, None] + 2 * moser[None, :]).ravel()
    np.testing.assert_array_equal(np.sort(total), np.arange(4**5))


def test_members_without_a_zero_digit():
    assert sets.digit_offsets(30, 3, (1, 2)).tolist() == [1, 2, 4, 5, 7, 8, 13, 14, 16, 17, 22, 23, 25, 26]
    assert sets.digit_offsets(1000, 10, (7,)).tolist() == [7, 77, 777]


def test_bounds_that_cut():
    assert sets.digit_offsets(0).tolist() == []
    assert sets.digit_offsets(1).tolist() == [0]
    assert sets.digit_offsets(5, 3, (1, 0)).tolist() == [0, 1, 3, 4]
    everything = sets.digit_offsets(1000)
    for n in (9, 10, 11, 27, 500):
        assert sets.digit_offsets(n).tolist() == everything[everything < n].tolist()
    assert sets.digit_offsets(2**63 - 1, 2**62, (0, 1)).tolist() == [0, 1, 2**62, 2**62 + 1]


@pytest.mark.parametrize("make", [lambda: sets.cantor_points(4), lambda: sets.digit_offsets(100)])
def test_results_are_rusts_own_memory(make):
    array = make()
    assert array.flags.owndata is False
    assert type(array.base).__name__ == "PySliceContainer"


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: sets.cantor_points(-1), InvalidArgumentError, "depth"),
        (lambda: sets.cantor_points(27), InvalidArgumentError, "depth"),
        (lambda: sets.cantor_points(3.0), DTypeError, "depth"),
        (lambda: sets.digit_offsets(-1), InvalidArgumentError, "n"),
        (lambda: sets.digit_offsets(10, 1), InvalidArgumentError, "base"),
        (lambda: sets.digit_offsets(10, 3, ()), InvalidArgumentError, "digits"),
        (lambda: sets.digit_offsets(10, 3, (0, 3)), InvalidArgumentError, "digits"),
        (lambda: sets.digit_offsets(10, 3, (0, -1)), InvalidArgumentError, "digits"),
        (lambda: sets.digit_offsets(10, 3, (1, 1)), InvalidArgumentError, "digits"),
        (lambda: sets.digit_offsets(10, 3, (0.5,)), DTypeError, "digits"),
    ],
)
def test_wrong_calls_name_the_argument(call, error, argument):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument
