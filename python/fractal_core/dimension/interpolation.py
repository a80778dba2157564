"""Fractal interpolation: functions and surfaces through given points whose graph has a dimension of one's choice."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np

from fractal_core._arguments import integer, real
from fractal_core.dimension.given import Support, finite, on_support
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_MOST_STEPS = 4096
_MOST_POINTS = 1 << 26


def _finite(argument: str, value: npt.ArrayLike, ndim: int) -> Floats:
    array = finite(argument, value)
    if array.ndim != ndim:
        raise ShapeError(argument, array.shape, f"{ndim} axes")
    return array


@dataclass(frozen=True, eq=False)
class FractalInterpolation:
    """The function whose graph is the attractor of maps `(x, y) -> (a x + e, c x + d y + f)` through given points.

    Map `i` takes the whole graph to the piece between points `i` and `i + 1`; the endpoints fix everything but the
    vertical factor `d`, which says how much of the whole shape each piece repeats.

    The mathematics: M. F. Barnsley, "Fractal functions and interpolation", Constructive Approximation 2 (1986).

    Attributes:
        x: Where the points are, (n + 1,), increasing.
        y: Their values, (n + 1,).
        factors: Vertical factors, (n,), each in -1 < d < 1.
    """

    x: Floats
    y: Floats
    factors: Floats

    def __init__(self, x: npt.ArrayLike, y: npt.ArrayLike, factors: npt.ArrayLike = 0.0) -> None:
        """Interpolate.

        Args:
            x: Shape (n + 1,), increasing, n at least 1.
            y: Shape (n + 1,), finite.
            factors: Shape (n,), or one number for all; 0 gives straight lines.

        Raises:
            InvalidArgumentError: `x` does not increase, a factor is not in -1 < d < 1, or a number is not finite.
            ShapeError: The shapes do not fit.
            DTypeError: An argument has no fitting type.
        """
        places, values = _finite("x", x, 1), _finite("y", y, 1)
        if len(places) < 2 or len(values) != len(places):
            raise ShapeError("x, y", (places.shape, values.shape), "two or more points, as many values as places")
        if not (np.diff(places) > 0).all():
            raise InvalidArgumentError("x", places.tolist(), "increasing numbers")
        given = finite("factors", factors)
        if given.shape not in {(), (len(places) - 1,)}:
            raise ShapeError("factors", given.shape, f"() or ({len(places) - 1},)")
        if not (np.abs(given) < 1).all():
            raise InvalidArgumentError("factors", given.tolist(), "-1 < d < 1")
        object.__setattr__(self, "x", places)
        object.__setattr__(self, "y", values)
        object.__setattr__(self, "factors", np.broadcast_to(given, len(places) - 1).copy())

    @property
    def dimension(self) -> float:
        """Box dimension of the graph: `D` with `sum |d| a^(D - 1) = 1`, or 1.

        `a` are the shares of the pieces; for equal ones `D = 1 + ln(sum |d|) / ln n`. It is 1 where `sum |d|` is at
        most 1, and where the points lie on one line.

        The mathematics: M. F. Barnsley, J. Elton, D. Hardin and P. Massopust, SIAM J. Math. Anal. 20 (1989).
        """
        steep = np.abs(self.factors)
        off_line = np.abs(self.y - _line(self.x, self.x[[0, -1]], self.y[[0, -1]])).max()
        if steep.sum() <= 1 or off_line <= 1e-12 * max(float(np.abs(self.y).max()), 1e-300):
            return 1.0
        share = np.diff(self.x) / (self.x[-1] - self.x[0])
        low, high = 1.0, 2.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if (steep * share ** (middle - 1)).sum() > 1 else (low, middle)
        return (low + high) / 2

    def __call__(self, points: npt.ArrayLike, *, steps: SupportsIndex | None = None) -> Floats:
        """Values at some points.

        Each step of the Read-Bajraktarevic operator brings the line between the ends closer by the largest factor.

        Args:
            points: Any shape, within the first and the last `x`.
            steps: Steps of the operator, 0 or more; by default until what is left is below rounding.

        Returns:
            The shape of `points`, float64.

        Raises:
            InvalidArgumentError: A point lies outside.
            DTypeError: An argument has no fitting type.
        """
        at = finite("points", points)
        first, last = self.x[0], self.x[-1]
        if not ((at >= first) & (at <= last)).all():
            raise InvalidArgumentError("points", "a point outside", f"{first} ..= {last}")
        count = _steps(float(np.abs(self.factors).max())) if steps is None else integer("steps", steps, 0, _MOST_STEPS)
        return _values(self.x, self.y, self.factors, at.reshape(-1), count).reshape(at.shape)

    def graph(self, levels: SupportsIndex) -> tuple[Floats, Floats]:
        """Points of the graph that the maps reach from the given ones, each exact.

        Args:
            levels: How often all maps are applied, 0 or more: `n^(levels + 1) + 1` points.

        Returns:
            Places, increasing, and values.

        Raises:
            InvalidArgumentError: More than 2^26 points.
        """
        depth = integer("levels", levels, 0, 64)
        n = len(self.factors)
        if n > 1 and (depth + 1) * math.log2(n) > 26:
            raise InvalidArgumentError("levels", depth, f"at most {_MOST_POINTS} points")
        x, y = np.array(self.x, np.float64), np.array(self.y, np.float64)
        span, ends = self.x[-1] - self.x[0], (self.x[[0, -1]], self.y[[0, -1]])
        for _ in range(depth if n > 1 else 0):
            share = (x - self.x[0]) / span
            rest = y - _line(x, *ends)
            rest[[0, -1]] = 0.0
            pieces = [
                (self.x[i] + share * (self.x[i + 1] - self.x[i]),
                 self.y[i] + share * (self.y[i + 1] - self.y[i]) + self.factors[i] * rest)
                for i in range(n)
            ]  # fmt: skip
            x = np.concatenate([*(px[:-1] for px, _ in pieces), self.x[-1:]])
            y = np.concatenate([*(py[:-1] for _, py in pieces), self.y[-1:]])
        return x, y


def _steps(steepest: float) -> int:
    """Steps of the operator until what is left is below rounding."""
    if steepest == 0:
        return 1
    return min(max(1, math.ceil(math.log(1e-17) / math.log(steepest))), _MOST_STEPS)


def _values(x: Floats, y: Floats, factors: Floats, at: Floats, steps: int) -> Floats:
    """Values of functions through y, (..., n + 1), over the same x and with the same factors, at points (P,)."""
    first, last, ends = x[0], x[-1], (x[[0, -1]], y[..., [0, -1]])
    weight, value, rise = np.ones(at.size), np.zeros((*y.shape[:-1], at.size)), np.diff(y)
    where = at
    for _ in range(steps):
        piece = np.clip(np.searchsorted(x, where, side="left") - 1, 0, len(factors) - 1)
        left, right = np.take(x, piece), np.take(x, piece + 1)
        share = np.asarray((where - left) / (right - left), np.float64)
        # Both ends of a piece come from the ends of the whole, exactly.
        where = np.asarray(np.where(share == 1, last, first + share * (last - first)), np.float64)
        straight = np.where(share == 1, y[..., piece + 1], y[..., piece] + share * rise[..., piece])
        value += weight * (straight - factors[piece] * _line(where, *ends))
        weight = weight * factors[piece]
    return value + weight * _line(where, *ends)


def _line(at: Floats, x: Floats, y: Floats) -> Floats:
    share = (at - x[0]) / (x[1] - x[0])
    return y[..., :1] * (1 - share) + y[..., 1:] * share


class CollageFit(NamedTuple):
    """An interpolation that was fitted to a curve."""

    function: FractalInterpolation
    """Through the chosen points, with the fitted factors."""
    collage: float
    """Largest distance between the curve and its own image under the maps."""
    bound: float
    """Largest distance between the curve and the function, by the collage theorem: `collage / (1 - max |d|)`."""
    residual: float
    """Root of the mean square of the actual distance, at the samples."""


def fit_interpolation(x: npt.ArrayLike, y: npt.ArrayLike, knots: npt.ArrayLike, *, largest: float = 0.99) -> CollageFit:
    """The inverse problem: vertical factors for which the maps send a curve closest to itself.

    Each factor is the least-squares solution for its own piece, among those of size at most `largest`.

    Args:
        x: Places of samples, (m,), increasing.
        y: Their values, (m,).
        knots: Indices of the samples to interpolate, increasing, the first 0 and the last m - 1.
        largest: Bound of the factors, 0 to less than 1.

    Returns:
        The function and how far it is from the curve.

    Raises:
        InvalidArgumentError: Knots that do not increase from the first sample to the last, or a bad number.
        ShapeError: The shapes do not fit.
        DTypeError: An argument has no fitting type.

    The mathematics: M. F. Barnsley, V. Ervin, D. Hardin and J. Lancaster, PNAS 83 (1986); D. S. Mazel and
    M. H. Hayes, IEEE Trans. Signal Processing 40 (1992).
    """
    places, values = _finite("x", x, 1), _finite("y", y, 1)
    if len(places) < 2 or len(values) != len(places):
        raise ShapeError("x, y", (places.shape, values.shape), "two or more samples, as many values as places")
    if not (np.diff(places) > 0).all():
        raise InvalidArgumentError("x", "numbers that do not increase", "increasing numbers")
    most = real("largest", largest)
    if not 0 <= most < 1:
        raise InvalidArgumentError("largest", most, "0 <= largest < 1")
    at = np.asarray(knots)
    if at.ndim != 1 or at.dtype.kind not in "iu" or len(at) < 2:
        raise InvalidArgumentError("knots", repr(knots), "two or more integers")
    if at[0] != 0 or at[-1] != len(places) - 1 or not (np.diff(at) > 0).all():
        raise InvalidArgumentError("knots", at.tolist(), f"increasing from 0 to {len(places) - 1}")
    ends = (places[[0, -1]], values[[0, -1]])
    rest = values - _line(places, *ends)
    factors, collage = np.zeros(len(at) - 1), 0.0
    for i, (left, right) in enumerate(itertools.pairwise(at)):
        # The samples of the piece, and where in the whole they come from: on equal steps those are samples, too.
        piece = slice(left, right + 1)
        share = (places[piece] - places[left]) / (places[right] - places[left])
        shape = np.asarray(np.interp(places[0] + share * (places[-1] - places[0]), places, rest), np.float64)
        wanted = values[piece] - (values[left] * (1 - share) + values[right] * share)
        square = shape @ shape
        factors[i] = np.clip(wanted @ shape / square, -most, most) if square > 0 else 0.0
        collage = max(collage, float(np.abs(wanted - factors[i] * shape).max()))
    function = FractalInterpolation(places[at], values[at], factors)
    distance = function(places) - values
    bound = collage / (1 - float(np.abs(factors).max()))
    return CollageFit(function, collage, bound, float(np.sqrt(np.mean(distance**2))))


@dataclass(frozen=True, eq=False)
class FractalSurface:
    """A surface through the heights of a square grid that repeats its own shape in every cell.

    Cells that share an edge are mirror images, so the surface is continuous for any heights.

    The mathematics: P. Massopust, "Fractal surfaces", J. Math. Anal. Appl. 151 (1990), with bilinear maps as in
    M. F. Barnsley and P. Massopust, "Bilinear fractal interpolation and box dimension" (2015).

    Attributes:
        heights: Shape (n + 1, n + 1), on a grid over the unit square.
        factor: The vertical factor of all maps, in -1 < d < 1.
    """

    heights: Floats
    factor: float

    def __init__(self, heights: npt.ArrayLike, factor: float = 0.0) -> None:
        """Interpolate.

        Args:
            heights: Shape (n + 1, n + 1), finite, n at least 1.
            factor: In -1 < d < 1; 0 gives the bilinear interpolation of every cell.

        Raises:
            InvalidArgumentError: A number is not finite, or the factor is outside of its range.
            ShapeError: `heights` is not square, or too small.
            DTypeError: An argument has no fitting type.
        """
        grid, d = _finite("heights", heights, 2), real("factor", factor)
        if grid.shape[0] != grid.shape[1] or len(grid) < 2:
            raise ShapeError("heights", grid.shape, "(n + 1, n + 1), n at least 1")
        if not -1 < d < 1:
            raise InvalidArgumentError("factor", d, "-1 < d < 1")
        object.__setattr__(self, "heights", grid)
        object.__setattr__(self, "factor", d)

    @property
    def dimension(self) -> float:
        """Box dimension: `3 + ln |d| / ln n` where that is above 2 and the heights are not bilinear, or 2."""
        n = len(self.heights) - 1
        side = np.linspace(0.0, 1.0, n + 1)
        off = np.abs(self.heights - self._whole(side[:, None], side[None, :])).max()
        if abs(self.factor) * n <= 1 or off <= 1e-12 * max(float(np.abs(self.heights).max()), 1e-300):
            return 2.0
        return 3 + math.log(abs(self.factor)) / math.log(n)

    def __call__(self, u: npt.ArrayLike, v: npt.ArrayLike) -> Floats:
        """Heights at points of the unit square, of the shape that `u` and `v` broadcast to.

        Raises:
            InvalidArgumentError: A point lies outside.
            DTypeError: An argument has no fitting type.
        """
        rows, columns = np.broadcast_arrays(finite("u", u), finite("v", v))
        for name, at in (("u", rows), ("v", columns)):
            if not ((at >= 0) & (at <= 1)).all():
                raise InvalidArgumentError(name, "a point outside", "0 ..= 1")
        value, weight = np.zeros(rows.shape), 1.0
        n = len(self.heights) - 1
        for _ in range(_steps(abs(self.factor))):
            (i, s, rows), (j, t, columns) = _folded(rows, n), _folded(columns, n)
            h = self.heights
            low = h[i, j] * (1 - t) + h[i, j + 1] * t
            high = h[i + 1, j] * (1 - t) + h[i + 1, j + 1] * t
            value += weight * (low * (1 - s) + high * s - self.factor * self._whole(rows, columns))
            weight *= self.factor
        return value + weight * self._whole(rows, columns)

    def _whole(self, u: Floats, v: Floats) -> Floats:
        h = self.heights
        return (h[0, 0] * (1 - v) + h[0, -1] * v) * (1 - u) + (h[-1, 0] * (1 - v) + h[-1, -1] * v) * u


def _folded(at: Floats, n: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """The cell of each place, the place within, and that in the whole of which it is the image.

    Every second cell is mirrored.
    """
    scaled = at * n
    # What rounding took off an edge would grow at every step.
    edge = np.rint(scaled)
    scaled = np.where(np.abs(scaled - edge) <= 4e-16 * n, edge, scaled)
    cell = np.clip(np.floor(scaled).astype(np.int64), 0, n - 1)
    within = np.clip(np.asarray(scaled - cell, np.float64), 0.0, 1.0)
    return cell, within, np.where(cell % 2 == 1, 1 - within, within)


def interpolated_rows(
    weights: npt.ArrayLike, support: Support = "full", *, every: SupportsIndex = 4, factor: float = 0.5
) -> npt.NDArray[np.float64]:
    """Attention whose cumulative rows are fractal interpolations of the given ones at every few keys.

    The mass up to each key is a curve from 0 to the row's mass. It is interpolated through every `every`-th key of the
    row's support; differences that the repeated shape makes negative count as 0, and the row is scaled to its mass.

    Args:
        weights: Shape (..., N, M), 0 or more.
        support: The cells that there are, as the module says.
        every: Keys between interpolated points, 1 or more; 1 gives the weights back.
        factor: Vertical factor of every map, in -1 < d < 1; 0 spreads the mass evenly between the points.

    Returns:
        The shape of `weights`, float64: 0 or more, 0 outside of the support, each row with the mass it had.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a parameter outside of its
            range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    d, step = real("factor", factor), integer("every", every, 1, 2**31 - 1)
    if not -1 < d < 1:
        raise InvalidArgumentError("factor", d, "-1 < d < 1")
    given, cells, values = on_support("weights", weights, support)
    # All rows with as many keys are interpolated together.
    keys = cells.sum(-1)
    rows: dict[int, list[tuple[int, int]]] = {}
    for matrix, row in np.argwhere(values.sum(-1) > 0).tolist():
        rows.setdefault(int(keys[matrix, row]), []).append((matrix, row))
    found = np.zeros(values.shape)
    for count, places in rows.items():
        which: npt.NDArray[np.int64] = np.array(places, np.int64)
        at = which[:, 0], which[:, 1]
        inside = cells[at]
        mass = values[at][inside].reshape(-1, count)
        spread = np.maximum(_spread_between(mass, step, d), 0.0)
        taken = np.zeros(inside.shape)
        taken[inside] = (spread * (mass.sum(-1, keepdims=True) / spread.sum(-1, keepdims=True))).ravel()
        found[at] = taken
    return found.reshape(*given.lead, *given.shape)


def _spread_between(mass: Floats, step: int, factor: float) -> Floats:
    """Differences of the interpolated sums of rows, (R, n)."""
    n = mass.shape[1]
    knots = np.unique(np.append(np.arange(0.0, n, step), n))
    if len(knots) - 1 == n:
        return mass
    sums = np.concatenate([np.zeros((len(mass), 1)), np.cumsum(mass, axis=-1)], axis=-1)[:, knots.astype(np.int64)]
    # It is linear in the sums: of many rows, the image of a basis costs less than that of each.
    basis = len(mass) > len(knots)
    given = np.eye(len(knots)) if basis else sums
    factors = np.full(len(knots) - 1, factor)
    spread = np.diff(_values(knots, given, factors, np.arange(n + 1, dtype=np.float64), _steps(abs(factor))))
    return sums @ spread if basis else spread
