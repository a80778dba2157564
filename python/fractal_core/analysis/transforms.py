"""The seed's transforms of one matrix of attention, with meanings that can be tested."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np

from fractal_core._arguments import integer, real
from fractal_core.analysis import profiles
from fractal_core.analysis.supports import supported
from fractal_core.dimension import Slope, box_dimension
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from fractal_core.dimension.given import Support

BASES = {"1": 1.0, "sqrt2": math.sqrt(2), "e/2": math.e / 2, "phi": (1 + math.sqrt(5)) / 2, "2": 2.0}
"""Bases of the weighting by position, so that whether phi is special can be seen."""


class Partition(NamedTuple):
    """A matrix cut at one place in both axes."""

    top_left: npt.NDArray[Any]
    top_right: npt.NDArray[Any]
    bottom_left: npt.NDArray[Any]
    bottom_right: npt.NDArray[Any]
    shares: npt.NDArray[np.float64]
    """Of the mass, in that order, (4,); they sum to 1."""


class FractalTransforms:
    """Transforms and dimensions of one matrix of attention (N, M), 0 or more, 0 outside of the support.

    Args:
        phi: The ratio of the partition, of the weighting by position and of the scales; the golden one by default.
        support: The cells that matrices have, as `fractal_core.dimension` takes them; say "causal" for a causal model.

    Raises:
        InvalidArgumentError: `phi` is not above 1. Every method: a weight that is negative, not finite or outside of
            the support.
        ShapeError: Every method: a matrix that is not (N, M).
        DTypeError: Every method: an argument has no fitting type.
    """

    PHI = (1 + math.sqrt(5)) / 2
    D_SIERPINSKI = math.log(3) / math.log(2)
    D_KOCH = math.log(4) / math.log(3)
    D_DRAGON = 2.0
    D_NEURAL = PHI**2 / 2
    """The seed's constant, 1.309; it has no derivation, and nothing here takes it for a result."""

    def __init__(self, phi: float | None = None, *, support: Support = "full") -> None:
        self.phi = self.PHI if phi is None else real("phi", phi)
        if not 1 < self.phi < float("inf"):
            raise InvalidArgumentError("phi", phi, "above 1, finite")
        self.support = support

    def golden_ratio_partition(self, attention_matrix: npt.ArrayLike) -> Partition:
        """The four blocks of a matrix cut at 1 / phi of its rows and columns, with the mass of each."""
        array, _ = self._given(attention_matrix)
        row, column = (int(length / self.phi) for length in array.shape)
        blocks = array[:row, :column], array[:row, column:], array[row:, :column], array[row:, column:]
        mass = np.array([block.sum() for block in blocks])
        with np.errstate(invalid="ignore"):
            return Partition(*blocks, mass / mass.sum())

    def fractal_interpolation_function(
        self, attention_matrix: npt.ArrayLike, scale_factor: float = 0.5, *, pieces: SupportsIndex = 4
    ) -> npt.NDArray[np.float64]:
        """Every row drawn anew by a fractal interpolation function through `pieces + 1` points of its profile.

        What a row gives to each of its runs of keys stays; within a run the row is `scale_factor` a small copy of
        itself, and even for the rest. Rows keep their sums, and the support its zeros.

        Args:
            attention_matrix: Shape (N, M).
            scale_factor: How much of a run is a copy of the row, 0 or more, below 1.
            pieces: Runs of a row, 1 or more.

        Returns:
            Shape (N, M), float64.

        The mathematics: M. F. Barnsley, "Fractal functions and interpolation", Constructive Approximation 2 (1986).
        """
        array, cells = self._given(attention_matrix)
        scaling = real("scale_factor", scale_factor)
        if not 0 <= scaling < 1:
            raise InvalidArgumentError("scale_factor", scale_factor, "0 or more, below 1")
        runs = integer("pieces", pieces, 1, array.shape[1])
        return profiles.interpolated_rows(array, cells, runs, scaling)

    def fractal_dimension_fit(
        self,
        attention_matrix: npt.ArrayLike,
        scales: Iterable[int] | None = None,
        *,
        foreground: float | tuple[str, float] = ("mass", 0.9),
        force: bool = False,
    ) -> Slope:
        """`fractal_core.dimension.box_dimension` on the support: value, error, counts and what speaks against it."""
        array, _ = self._given(attention_matrix)
        return box_dimension(array, self.support, foreground=foreground, scales=scales, force=force)

    def compute_fractal_dimension(
        self,
        attention_matrix: npt.ArrayLike,
        scales: Iterable[int] | None = None,
        *,
        foreground: float | tuple[str, float] = ("mass", 0.9),
        force: bool = False,
    ) -> float:
        """Box dimension of the strong weights, relative to the support: 2 for the support itself.

        Args:
            attention_matrix: Shape (N, M).
            scales: Sides of boxes, increasing; by default powers up to a quarter of the shorter side.
            foreground: Which weights count; by default the largest of each row that reach nine tenths of its mass.
            force: Gives a value to sides below 32, too.

        Returns:
            The dimension; NaN for a side below 32, which has too few scales. `fractal_dimension_fit` says more.
        """
        return float(self.fractal_dimension_fit(attention_matrix, scales, foreground=foreground, force=force))

    def multi_scale_analysis(
        self, attention_matrix: npt.ArrayLike, num_scales: SupportsIndex = 5
    ) -> list[tuple[float, npt.NDArray[np.float64]]]:
        """The matrix seen coarser and coarser: its mass in boxes whose sides are the powers of phi, rounded.

        Args:
            attention_matrix: Shape (N, M).
            num_scales: How many, 1 or more; with the golden ratio sides of 1, 2, 3, 4, 7, 11, 18 ...

        Returns:
            Side and matrix of each; all matrices have the same sum.

        Raises:
            InvalidArgumentError: A box would be larger than the matrix, or two sides would be the same.
        """
        array, _ = self._given(attention_matrix)
        count = integer("num_scales", num_scales, 1, 64)
        sides = [round(self.phi**i) for i in range(count)]
        if len(set(sides)) < count or sides[-1] > max(array.shape):
            raise InvalidArgumentError(
                "num_scales", f"{count}, boxes of {sides}", f"sides that differ, at most {max(array.shape)}"
            )
        return [(float(side), profiles.boxed(array, side)) for side in sides]

    def compute_self_similarity(self, attention_matrix: npt.ArrayLike, scale_factor: SupportsIndex = 2) -> float:
        """How much the parts of the matrix look like the whole, shrunk by `scale_factor`, -1 to 1.

        1 for a pattern that repeats itself in its parts, near 0 for noise; NaN for uniform attention, which has no
        pattern. Weights count relative to uniform attention, on the cells that part and whole both have.

        Args:
            attention_matrix: Shape (N, M).
            scale_factor: Parts along each side, from 2 to half of the shorter side.
        """
        array, cells = self._given(attention_matrix)
        factor = integer("scale_factor", scale_factor, 2, max(min(array.shape) // 2, 2))
        if min(array.shape) < 2 * factor:
            raise ShapeError("attention_matrix", array.shape, f"sides of at least {2 * factor}")
        return profiles.self_similarity(array, cells, factor)

    def golden_ratio_scoring(
        self, attention_matrix: npt.ArrayLike, base: float | None = None
    ) -> npt.NDArray[np.float64]:
        """Rows weighted by their position: row i times `base ** (-i / N)`, weights that sum to 1.

        Args:
            attention_matrix: Shape (N, M).
            base: Above 0; phi by default. 1 weights all rows alike.

        Returns:
            Shape (N, M), float64.
        """
        array, _ = self._given(attention_matrix)
        return array * _positions(len(array), self.phi if base is None else base)[:, None]

    def position_scores(
        self, attention_matrix: npt.ArrayLike, bases: Sequence[float] | None = None
    ) -> dict[str, npt.NDArray[np.float64]]:
        """What each key receives under the weighting by position, for several bases.

        Args:
            attention_matrix: Shape (N, M).
            bases: Above 0; by default those of `BASES`, phi among them.

        Returns:
            Name of the base to scores, (M,).
        """
        array, _ = self._given(attention_matrix)
        named = BASES if bases is None else {f"{real('bases', base):g}": base for base in bases}
        return {name: _positions(len(array), base) @ array for name, base in named.items()}

    def _given(self, value: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        array: npt.NDArray[Any] = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise DTypeError("attention_matrix", array.dtype, "a real dtype")
        if array.ndim != 2 or 0 in array.shape:
            raise ShapeError("attention_matrix", array.shape, "(N, M), no axis of length 0")
        array = array.astype(np.float64)
        if not np.isfinite(array).all() or (array < 0).any():
            raise InvalidArgumentError("attention_matrix", "a weight that is negative or not finite", "0 or more")
        cells = supported(self.support, array.shape)[0]
        if array[~cells].any():
            raise InvalidArgumentError("attention_matrix", "a weight outside of the support", "0 there")
        return array, cells


def _positions(n: int, base: object) -> npt.NDArray[np.float64]:
    number = real("base", base)
    if not 0 < number < float("inf"):
        raise InvalidArgumentError("base", base, "above 0, finite")
    weights = number ** (-np.arange(n) / n)
    return weights / weights.sum()
