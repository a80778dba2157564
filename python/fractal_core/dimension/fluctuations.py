"""Detrended fluctuations of surfaces: how rough a matrix is, and whether all of it is equally so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core._arguments import integer
from fractal_core.dimension.given import Support, matrices, orders, sides
from fractal_core.dimension.slope import Slope, fitted, logs
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FLAT = "flat: a segment does not vary"
BARE = "no segment lies in the support"
_AT_ONCE = 1 << 22


def surface_mfdfa(
    values: npt.ArrayLike,
    support: Support = "full",
    *,
    q: float | Sequence[float] | npt.NDArray[Any] = (-4, -2, 0, 2, 4),
    order: SupportsIndex = 1,
    scales: Iterable[int] | None = None,
    force: bool = False,
) -> Slope:
    """Generalised exponents `h(q)` of a surface: how the roughness of square segments grows with their side.

    Each segment is summed up from its corner, and a polynomial taken off. Segments are laid from all four corners, so
    that no cell is left out; those that lie in the support with all their cells count. `tau(q) = q h(q) - 2`. A finite
    surface shows a range of `h` whatever it is: compare with a shuffled copy.

    Args:
        values: Shape (..., N, M), finite on the support, anything outside of it.
        support: The cells that there are, as the module says.
        q: One order, or several, which become the last axis; -100 to 100. At 0 logarithms are averaged.
        order: Degree of the polynomials in either coordinate, 0 to 4. From 1 on, `a i j + b i + c j + d` and more: the
            profile of a level is a product, so that a level does not count.
        scales: Sides of segments, increasing, at least `order + 2`; by default up to 12 from 6 to a quarter of the
            shorter side, spaced evenly in their logarithm.
        force: Gives a value to matrices with a side below 32, too.

    Returns:
        `h(q)` with shape (...) or (..., Q): 1 for white noise. `counts` are fluctuations.

    Raises:
        InvalidArgumentError: A value on the support is not finite, or a parameter outside of its range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: G.-F. Gu and W.-X. Zhou, Physical Review E 74 (2006).
    """
    given = matrices("values", values, support)
    degree = integer("order", order, 0, 4)
    each, single = orders("q", q)
    if any(not abs(x) <= 100 for x in each):
        raise InvalidArgumentError("q", each, "-100 ..= 100")
    if scales is None:
        least = min(max(6, degree + 2), given.shorter)
        spaced: Floats = np.geomspace(least, max(given.shorter // 4, least + 1), 12)
        chosen = [int(side) for side in np.unique(spaced.astype(np.int64)) if side <= given.shorter]
    else:
        chosen = sides("scales", scales, given.shorter)
    if len(chosen) < 2 or chosen[0] < degree + 2:
        raise InvalidArgumentError("scales", chosen, f"two or more sides, the smallest at least {degree + 2}")
    cells = np.broadcast_to(given.cells, given.values.shape)
    wide = np.where(cells, given.values.astype(np.float64), 0.0)
    if not np.isfinite(wide).all():
        raise InvalidArgumentError("values", "NaN or infinity on the support", "finite numbers on the support")
    found = np.stack([_of_side(wide, cells, side, degree, each) for side in chosen], axis=-1)
    lead = given.lead if single else (*given.lead, len(each))
    flags = {
        FLAT: np.asarray((found == 0).any(axis=-1)).reshape(lead),
        BARE: np.asarray(np.isnan(found).any(axis=-1)).reshape(lead),
    }
    name = f"detrended fluctuations of degree {degree}"
    return fitted(name, given.label, chosen, logs(found), found, lead=lead, flags=flags, small=given.small(force))


def _of_side(wide: Floats, cells: npt.NDArray[np.bool_], side: int, degree: int, q: list[float]) -> Floats:
    """Fluctuations of every matrix and order, (matrices, Q); NaN where no segment lies in the support."""
    taken = _polynomials(side, degree)
    found = np.full((len(wide), len(q)), np.nan)
    for matrix, (surface, inside) in enumerate(zip(wide, cells, strict=True)):
        squares: list[Floats] = []
        for part, whole in zip(_segments(surface, side), _segments(inside, side), strict=True):
            kept = part[whole.all(axis=(1, 2))]
            step = max(1, _AT_ONCE // side**2)
            for first in range(0, len(kept), step):
                profile = kept[first : first + step].cumsum(axis=1).cumsum(axis=2).reshape(-1, side * side)
                # Against its first value, so that a high level costs no digits.
                profile = profile - profile[:, :1]
                rest = np.asarray(profile - (profile @ taken) @ taken.T, np.float64)
                square = (rest**2).mean(axis=1)
                # What is left by rounding alone is nothing.
                squares.append(np.where(square > (1e-12 * np.abs(profile).max(axis=1)) ** 2, square, 0.0))
        if squares:
            found[matrix] = [_mean(np.concatenate(squares), order) for order in q]
    return found


def _segments(surface: npt.NDArray[Any], side: int) -> Iterator[npt.NDArray[Any]]:
    """Squares from each corner, (squares, side, side); from one where they are the same."""
    rows, columns = (n // side * side for n in surface.shape)
    down, across = (n - used for n, used in zip(surface.shape, (rows, columns), strict=True))
    for top in {0, down}:
        for left in {0, across}:
            part = surface[top : top + rows, left : left + columns]
            yield part.reshape(rows // side, side, columns // side, side).swapaxes(1, 2).reshape(-1, side, side)


def _polynomials(side: int, degree: int) -> Floats:
    """Orthonormal polynomials on a square, as columns."""
    at = np.linspace(-1.0, 1.0, side)
    terms = [np.outer(at**i, at**j).reshape(-1) for i in range(degree + 1) for j in range(degree + 1)]
    return np.linalg.qr(np.stack(terms, axis=1))[0]


def _mean(squares: Floats, q: float) -> float:
    """Mean of order q of the roots; segments that do not vary have no part in orders of 0 and below."""
    kept = squares if q > 0 else squares[squares > 0]
    if not len(kept):
        return 0.0
    if q == 0:
        return float(np.exp(np.log(kept).mean() / 2))
    largest = kept.max() if q > 0 else kept.min()
    if not largest > 0:
        return 0.0
    return float(np.sqrt(largest) * ((kept / largest) ** (q / 2)).mean() ** (1 / q))
