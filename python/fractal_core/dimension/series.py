"""Series: Higuchi's dimension, and detrended fluctuations with one order or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.dimension.given import floats, orders, sides
from fractal_core.dimension.slope import Slope, fitted, logs
from fractal_core.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

FLAT = "flat: the series does not vary"


def _series(value: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    array = floats("series", value).astype(np.float64, copy=False)
    if array.ndim < 1 or array.shape[-1] < 16 or array.size == 0:
        raise ShapeError("series", array.shape, "(..., n), n at least 16")
    return array.reshape(-1, array.shape[-1]), array.shape[:-1]


def _constant(series: npt.NDArray[np.float64], lead: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.ptp(series, axis=-1) == 0).reshape(lead)


def higuchi_dimension(series: npt.ArrayLike, *, kmax: SupportsIndex = 10, last_step: bool = True) -> Slope:
    """Higuchi's dimension of the graph of a series: how its length grows as steps get shorter.

    Args:
        series: Shape (..., n), finite, n at least 16.
        kmax: Longest step, at most half of the series.
        last_step: Whether the last step of each start counts, as in Higuchi's definition. False is for comparison with
            `antropy`, which leaves it out of the sum `L_m(k) = (n - 1) / (steps k^2) * sum |x[m + i k] - x[m + (i - 1) k]|`,
            with `steps = floor((n - 1 - m) / k)` as before.

    Returns:
        `D` with shape (...): 1 for a straight line, `2 - H` for fractional Brownian motion, 2 for white noise;
        `counts` are mean lengths.

    Raises:
        InvalidArgumentError: A value is not finite, or `kmax` is outside of its range.
        ShapeError: `series` has no axis or is too short.
        DTypeError: An argument has no fitting type.

    The mathematics: T. Higuchi, Physica D 31 (1988).
    """
    rows, lead = _series(series)
    most = integer("kmax", kmax, 2, (rows.shape[1] - 1) // 2)
    lengths = _native.higuchi_lengths(rows, most, flag("last_step", last_step))
    flags = {FLAT: _constant(rows, lead)}
    steps = np.arange(1, most + 1)
    return fitted("Higuchi", "series", steps, logs(lengths), lengths, lead=lead, factor=-1.0, flags=flags)


def _sizes(n: int, order: int, scales: Iterable[int] | None) -> list[int]:
    if scales is not None:
        return sides("scales", scales, n)
    least = max(8, order + 2)
    sizes = np.unique(np.geomspace(least, max(n // 4, least + 1), 16).astype(int))
    return [int(size) for size in sizes]


def dfa(
    series: npt.ArrayLike,
    *,
    order: SupportsIndex = 1,
    scales: Iterable[int] | None = None,
    profile: bool = True,
    both_ends: bool = True,
) -> Slope:
    """Detrended fluctuation analysis: how far the summed series strays from polynomials over windows of each size.

    Args:
        series: Shape (..., n), finite, n at least 16.
        order: Degree of the polynomials, 0 to 8.
        scales: Sizes of windows, increasing, at least `order + 2`; by default 16 from 8 to a quarter of the series,
            spaced evenly in their logarithm.
        profile: Whether the series less its mean is summed up first.
        both_ends: Whether windows are laid from the end as well as from the start, so that no value is left out.

    Returns:
        The exponent with shape (...): 0.5 for white noise, `H` for fractional Gaussian noise, 1.5 for a random walk;
        `counts` are fluctuations.

    Raises:
        InvalidArgumentError: A value is not finite, or a parameter outside of its range.
        ShapeError: `series` has no axis or is too short.
        DTypeError: An argument has no fitting type.

    The mathematics: C.-K. Peng et al., Physical Review E 49 (1994).
    """
    return mfdfa(series, q=2.0, order=order, scales=scales, profile=profile, both_ends=both_ends)


def mfdfa(
    series: npt.ArrayLike,
    *,
    q: float | Sequence[float] | npt.NDArray[Any] = (-4, -2, 0, 2, 4),
    order: SupportsIndex = 1,
    scales: Iterable[int] | None = None,
    profile: bool = True,
    both_ends: bool = True,
) -> Slope:
    """Multifractal detrended fluctuation analysis: generalised Hurst exponents `h(q)`.

    Fluctuations of windows are averaged with order `q`, so that negative orders see the calm ones and positive orders
    the wild ones; `tau(q) = q h(q) - 1`. A finite series shows a range of `h` whatever it is: compare with a shuffled
    and a phase-randomised copy.

    Args:
        series: As in `dfa`.
        q: One order, or several, which become the last axis; -100 to 100. At 0 logarithms are averaged.
        order: As in `dfa`.
        scales: As in `dfa`.
        profile: As in `dfa`.
        both_ends: As in `dfa`.

    Returns:
        `h(q)` with shape (...) or (..., Q); `counts` are fluctuations.

    Raises:
        InvalidArgumentError: As in `dfa`.
        ShapeError: As in `dfa`.
        DTypeError: An argument has no fitting type.

    The mathematics: J. W. Kantelhardt et al., Physica A 316 (2002).
    """
    rows, lead = _series(series)
    degree = integer("order", order, 0, 8)
    chosen = _sizes(rows.shape[1], degree, scales)
    each, single = orders("q", q)
    found = _native.fluctuations(rows, chosen, degree, each, flag("profile", profile), flag("both_ends", both_ends))
    shape = lead if single else (*lead, len(each))
    flat = _constant(rows, lead)
    flags = {FLAT: flat if single else np.broadcast_to(flat[..., None], shape)}
    return fitted(
        f"detrended fluctuations of degree {degree}", "series", chosen, logs(found), found, lead=shape, flags=flags
    )
