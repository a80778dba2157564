"""Roughness of a surface, such as logits or the logarithm of attention, read on its support alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fractal_core import _native
from fractal_core._arguments import flag
from fractal_core.dimension.given import Support, matrices, powers, sides
from fractal_core.dimension.slope import Slope, fitted, logs

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

FLAT = "flat: the surface does not vary"


def variogram(
    values: npt.ArrayLike, support: Support = "full", *, scales: Iterable[int] | None = None, force: bool = False
) -> Slope:
    """Dimension of a surface from squared increments along rows and columns: `D = 3 - slope / 2`.

    The mean square of `z(x + lag) - z(x)` grows as `lag^(2 H)`, and `D = 3 - H`. Of the estimators here this one comes
    closest to the truth on fractional Brownian surfaces.

    Args:
        values: Shape (..., N, M), finite on the support, anything outside.
        support: The cells that there are; a pair counts where it has both.
        scales: Lags, increasing, below the longer side; by default powers of 2 (of 3) up to a quarter of the shorter.
        force: Gives a value to matrices with a side below 32, too.

    Returns:
        `D` with shape (...), 2 for what is smooth, 3 for noise; `counts` are mean squares.

    Raises:
        InvalidArgumentError: A value on the support is not finite, or a lag outside of its range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: B. B. Mandelbrot and J. W. Van Ness, SIAM Review 10 (1968).
    """
    return _increments("variogram", values, support, scales, 2.0, force=force)


def madogram(
    values: npt.ArrayLike, support: Support = "full", *, scales: Iterable[int] | None = None, force: bool = False
) -> Slope:
    """As `variogram` with absolute increments, which outliers move less: `D = 3 - slope`.

    Args:
        values: As in `variogram`.
        support: As in `variogram`.
        scales: As in `variogram`.
        force: As in `variogram`.

    Returns:
        `D` with shape (...); `counts` are mean absolute increments.

    Raises:
        InvalidArgumentError: As in `variogram`.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    return _increments("madogram", values, support, scales, 1.0, force=force)


def _increments(
    name: str, values: npt.ArrayLike, support: Support, scales: Iterable[int] | None, power: float, *, force: bool
) -> Slope:
    given = matrices("values", values, support)
    longest = max(given.shape) - 1
    chosen = powers(given.shorter // 4, given.shorter) if scales is None else sides("scales", scales, longest)
    found = _native.surface_increments(given.values, given.support, chosen, power)[..., 0]
    return fitted(
        name,
        given.label,
        chosen,
        logs(found),
        found,
        lead=given.lead,
        factor=-1 / power,
        offset=3.0,
        flags={FLAT: np.asarray((found == 0).any(axis=-1)).reshape(given.lead)},
        small=given.small(force),
    )


def differential_box_dimension(
    values: npt.ArrayLike,
    support: Support = "full",
    *,
    floored: bool = True,
    scales: Iterable[int] | None = None,
    force: bool = False,
) -> Slope:
    """Differential box counting of a surface: boxes stacked over each square of the plane until they cover it.

    This estimator is biased: on fractional Brownian surfaces of side 512 it gives about 2.4 where 2.8 is true, and 2.2
    for 2.5. `variogram` is nearer. It is here because others report it.

    Args:
        values: Shape (..., N, M), finite on the support, anything outside.
        support: The cells that there are.
        floored: Whole boxes, counted from the lowest value, as published; False counts their parts.
        scales: Sides of boxes, increasing; by default powers of 2 (of 3) from the first above 1 to an eighth of the
            shorter side.
        force: Gives a value to matrices with a side below 32, too.

    Returns:
        `D` with shape (...); `counts` are boxes.

    Raises:
        InvalidArgumentError: A value on the support is not finite, or a scale outside of its range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: N. Sarkar and B. B. Chaudhuri, IEEE Transactions on Systems, Man, and Cybernetics 24 (1994).
    """
    given = matrices("values", values, support)
    chosen = (
        powers(given.shorter // 8, given.shorter, 2) if scales is None else sides("scales", scales, max(given.shape))
    )
    found = _native.surface_cover(given.values, given.support, chosen, flag("floored", floored))
    return fitted(
        "differential box",
        given.label,
        chosen,
        logs(found),
        found,
        lead=given.lead,
        factor=-1.0,
        small=given.small(force),
    )
