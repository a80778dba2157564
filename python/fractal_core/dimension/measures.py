"""Attention as a measure: generalised dimensions, the spectrum of singularities, lacunarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fractal_core import _native
from fractal_core.dimension import edges
from fractal_core.dimension.edges import EdgeWeights
from fractal_core.dimension.given import Given, Support, matrices, orders, powers, sides, too_short
from fractal_core.dimension.slope import Slope, fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

EDGE = "boxes at the edge of the support left out"
EMPTY = "no mass"


class Lacunarity(NamedTuple):
    """Lacunarity of every box size."""

    scales: npt.NDArray[np.int64]
    """Sides of boxes, (K,)."""
    values: npt.NDArray[np.float64]
    """`E[M^2] / E[M]^2`, (..., K), 1 or more; NaN where no box fits into the support, or none has mass."""
    boxes: npt.NDArray[np.float64]
    """Boxes that fit, (..., K)."""


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of singularities, with Q orders as the last axis of both slopes."""

    q: npt.NDArray[np.float64]
    """Orders, (Q,)."""
    alpha: Slope
    """Singularity strength of each order, (..., Q); its baseline is that of uniform attention on the support."""
    f: Slope
    """Dimension of the set of that strength, (..., Q)."""
    tau: npt.NDArray[np.float64]
    """`(q - 1) D_q` by its own slope, (..., Q); `q alpha - f` where the scaling is exact."""

    @property
    def width(self) -> npt.NDArray[np.float64]:
        """Largest less smallest strength, (...); 0 for a measure with one strength."""
        return np.asarray(self.alpha.value.max(axis=-1) - self.alpha.value.min(axis=-1))

    @property
    def baseline_width(self) -> npt.NDArray[np.float64]:
        """The width that uniform attention shows on the same support and scales, (...)."""
        baseline = self.alpha.value if self.alpha.baseline is None else self.alpha.baseline
        return np.asarray(baseline.max(axis=-1) - baseline.min(axis=-1))

    @property
    def asymmetry(self) -> npt.NDArray[np.float64]:
        """Share of the width below the strength of the largest `f` less the share above, (...), in -1 .. 1."""
        top = np.take_along_axis(self.alpha.value, self.f.value.argmax(axis=-1)[..., None], axis=-1)[..., 0]
        low, high = self.alpha.value.min(axis=-1), self.alpha.value.max(axis=-1)
        with np.errstate(invalid="ignore"):
            return np.asarray((2 * top - low - high) / (high - low))


@dataclass(frozen=True)
class _Moments:
    label: str
    q: list[float]
    scales: list[int]
    lead: tuple[int, ...]
    numbers: npt.NDArray[np.float64]
    """(matrices, Q, K, 4)."""
    uniform: npt.NDArray[np.float64]
    """The same of uniform attention on the support, (1 or matrices, Q, K, 4)."""
    small: bool

    def slope(self, name: str, log_y: npt.NDArray[np.float64], base_y: npt.NDArray[np.float64]) -> Slope:
        """A slope over all orders, with its baseline."""
        matrices_, n = len(self.numbers), len(self.q)
        uniform = fitted(name, "", self.scales, base_y, base_y, lead=base_y.shape[:2]).value
        baseline = np.broadcast_to(uniform, (matrices_, n)).reshape(self.lead)
        flags: dict[str, npt.NDArray[np.bool_]] = {
            EDGE: (self.numbers[..., 3] > 0).any(axis=-1).reshape(self.lead),
            EMPTY: ~(self.numbers[..., 2] > 0).any(axis=-1).reshape(self.lead),
        }
        return fitted(
            name,
            self.label,
            self.scales,
            log_y,
            self.numbers[..., 2],
            lead=self.lead,
            flags=flags,
            small=self.small,
            baseline=baseline,
        )


def _per_order(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(np.moveaxis(numbers, 2, 1))


def _moments(
    weights: npt.ArrayLike | EdgeWeights, support: Support, q: object, scales: Iterable[int] | None, *, force: bool
) -> _Moments:
    order, single = orders("q", q)
    if isinstance(weights, EdgeWeights):
        edges.no_other_support(support)
        index_set, lead, label = weights.index_set, weights.lead, "index set"
        shape = index_set.shape
        chosen = _scales(scales, shape)
        numbers = edges.moments(index_set, weights.rows, chosen, order)
        uniform = edges.moments(index_set, edges.uniform(index_set), chosen, order)
    else:
        given = matrices("weights", weights, support)
        shape, lead, label = given.shape, given.lead, given.label
        chosen = _scales(scales, shape)
        numbers = _native.measure_moments(given.values, given.support, chosen, order)
        uniform = _uniform_moments(given, chosen, order)
    small = too_short(shape, force)
    lead = lead if single else (*lead, len(order))
    return _Moments(label, order, chosen, lead, _per_order(numbers), _per_order(uniform), small)


def _scales(scales: Iterable[int] | None, shape: tuple[int, int]) -> list[int]:
    shorter = min(shape)
    return powers(shorter // 4, shorter) if scales is None else sides("scales", scales, max(shape))


def _uniform_moments(given: Given, scales: list[int], order: list[float]) -> npt.NDArray[np.float64]:
    """Of each support that differs, those of attention that is even over the keys of every row."""
    cells = given.cells
    even = cells / np.maximum(cells.sum(axis=-1, keepdims=True), 1)
    on_itself = ("full", 0, None) if given.support[0] == "full" else ("listed", 0, cells)
    return _native.measure_moments(even, on_itself, scales, order)


def renyi_dimension(
    weights: npt.ArrayLike | EdgeWeights,
    support: Support = "full",
    *,
    q: float | Sequence[float] = 1.0,
    scales: Iterable[int] | None = None,
    force: bool = False,
) -> Slope:
    """Generalised dimensions `D_q` of attention as a measure: 0 of its support, 1 information, 2 correlation.

    With `p` the shares of the mass in boxes of side `s`, `D_q` is the slope of `ln sum p^q / (q - 1)` over `ln s`, and
    of `sum p ln p` for `q = 1`. On a causal support even uniform attention, the same weight for every key of a row, is
    not of dimension 2 at finite length: `baseline` has its value, to be compared with. For negative orders only boxes
    within the support count.

    Args:
        weights: Shape (..., N, M), 0 or more; scaled by whatever factor. Or `EdgeWeights`, whose set is the support.
        support: The cells that there are, as the module says.
        q: One order, or several, which become the last axis; -1000 to 1000, for `EdgeWeights` 0 or more.
        scales: Sides of boxes, increasing; by default powers of 3 where the shorter side is one, else of 2, up to a
            quarter of it.
        force: Gives a value to matrices with a side below 32, too.

    Returns:
        `D_q` with shape (...) or (..., Q), NaN for matrices without mass; `counts` are boxes with mass.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a parameter outside of its
            range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: H. G. E. Hentschel and I. Procaccia, Physica D 8 (1983).
    """
    all_ = _moments(weights, support, q, scales, force=force)
    return all_.slope("Renyi", _renyi(all_.numbers, all_.q), _renyi(all_.uniform, all_.q))


def _renyi(numbers: npt.NDArray[np.float64], q: list[float]) -> npt.NDArray[np.float64]:
    found = np.zeros(numbers.shape[:-1], np.float64)
    for i, order in enumerate(q):
        found[:, i] = numbers[:, i, :, 1] if order == 1 else numbers[:, i, :, 0] / (order - 1)
    return found


def singularity_spectrum(
    weights: npt.ArrayLike | EdgeWeights,
    support: Support = "full",
    *,
    q: Sequence[float] | npt.NDArray[Any] = (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5),
    scales: Iterable[int] | None = None,
    force: bool = False,
) -> Spectrum:
    """The multifractal spectrum `f(alpha)`, by the direct estimator, which needs no derivative.

    With `m = p^q / sum p^q`, `alpha` is the slope of `sum m ln p` over `ln s`, and `f` that of `sum m ln m`. A finite
    matrix shows some width whatever it holds: compare with `baseline_width`, and with a null model.

    Args:
        weights: As in `renyi_dimension`.
        support: As in `renyi_dimension`.
        q: Orders, (Q,).
        scales: As in `renyi_dimension`.
        force: As in `renyi_dimension`.

    Returns:
        Both slopes with shape (..., Q).

    Raises:
        InvalidArgumentError: As in `renyi_dimension`.
        ShapeError: An array has the wrong shape, or `q` no axis.
        DTypeError: An argument has no fitting type.

    The mathematics: A. Chhabra and R. V. Jensen, Physical Review Letters 62 (1989).
    """
    all_ = _moments(weights, support, np.atleast_1d(np.asarray(q)), scales, force=force)
    order = np.array(all_.q)

    def f(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return order[:, None] * numbers[..., 1] - numbers[..., 0]

    alpha = all_.slope("alpha", all_.numbers[..., 1], all_.uniform[..., 1])
    tau = all_.slope("tau", all_.numbers[..., 0], all_.uniform[..., 0])
    return Spectrum(order, alpha, all_.slope("f", f(all_.numbers), f(all_.uniform)), tau.value)


def lacunarity(weights: npt.ArrayLike, support: Support = "full", *, scales: Iterable[int] | None = None) -> Lacunarity:
    """Gliding-box lacunarity: how unevenly the mass fills the support, at each size of a box.

    Args:
        weights: Shape (..., N, M), 0 or more; scaled by whatever factor.
        support: The cells that there are; only boxes that lie in it with all their cells count.
        scales: Sides of boxes, at most the shorter side; by default powers up to a quarter of it.

    Returns:
        1 for an even measure; `1 + (1 - p) / (p r^2)` for independent cells that are filled with chance `p`.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a scale outside of its
            range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: C. Allain and M. Cloitre, Physical Review A 44 (1991).
    """
    given = matrices("weights", weights, support, boolean=True)
    chosen = powers(given.shorter // 4, given.shorter) if scales is None else sides("scales", scales, given.shorter)
    found = _native.lacunarity(given.values, given.support, chosen).reshape(*given.lead, len(chosen), 2)
    return Lacunarity(np.array(chosen, np.int64), found[..., 0], found[..., 1])
