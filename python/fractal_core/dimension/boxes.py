"""Box-counting dimension of the set of strong weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core import _native
from fractal_core._arguments import integer, real
from fractal_core.dimension.given import Given, Support, is_power, matrices, powers, sides
from fractal_core.dimension.slope import Slope, fitted, logs
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

MODES = ("relative", "exact", "raw")
_RULES = ("above", "uniform", "mass", "quantile")
_FOREGROUND = 'a number, or ("above" | "uniform" | "mass" | "quantile", number)'


def box_dimension(
    weights: npt.ArrayLike,
    support: Support = "full",
    *,
    foreground: float | tuple[str, float] | None = None,
    mode: str = "relative",
    scales: Iterable[int] | None = None,
    origins: Sequence[tuple[int, int]] = ((0, 0),),
    force: bool = False,
) -> Slope:
    """Dimension `D` of the set of cells whose weight counts, from the boxes of side `s` that hold one.

    Neither whole boxes nor boxes that reach over the edge give 2 for a filled square of awkward length. So by default
    the boxes of the set are compared with those of the support on the same grid: `D = 2 - slope of
    ln(N_set(s) / N_support(s)) over ln s`, exactly 2 for the support itself at every length.

    Args:
        weights: Shape (..., N, M), floats or booleans.
        support: The cells that there are, as the module says.
        foreground: Which weights count; None for booleans. A number or `("above", t)`: those above `t`.
            `("uniform", c)`: above `c` times the row's mass spread evenly over its keys. `("mass", p)`: the largest of
            the row that reach the share `p` of its mass. `("quantile", p)`: above this quantile of the matrix's weights
            on the support.
        mode: "relative" as above; "exact" counts in windows whose side is the largest power of 2 or 3 that fits, in the
            corners and the middle, and averages the counts; "raw" counts boxes as they come, and its value depends on
            N.
        scales: Sides of boxes, increasing, at most the longer side; by default powers of 3 where the shorter side is
            one, else of 2, up to a quarter of it.
        origins: Cells before the first at which the grid begins, (rows, columns); of several the smallest count is
            taken.
        force: Gives a value to matrices with a side below 32, too.

    Returns:
        `D` with shape (...), in 0 .. 2 on nested scales; `counts` are boxes of the set.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support; a set is empty; a parameter
            is outside of its range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: B. Mandelbrot, "The Fractal Geometry of Nature" (1982); counts relative to the support are this
    package's.
    """
    if mode not in MODES:
        raise InvalidArgumentError("mode", repr(mode), "relative, exact or raw")
    boolean = bool(np.asarray(weights).dtype == np.bool_)
    given = matrices("weights", weights, support, boolean=True, sets=True)
    rule, number = _rule(foreground, boolean=boolean)
    whole = given.values.dtype == np.bool_
    cells = given.values if whole else _native.foreground(given.values, given.support, rule, number)
    empty = np.flatnonzero(~cells.any(axis=(1, 2)))
    if empty.size:
        which = np.unravel_index(int(empty[0]), given.lead) if given.lead else ()
        raise InvalidArgumentError(
            "foreground", f"an empty set in matrix {tuple(map(int, which))}", "at least one cell"
        )
    if mode == "exact":
        return _exact(given, cells, scales, small=given.small(force))
    chosen = powers(given.shorter // 4, given.shorter) if scales is None else sides("scales", scales, max(given.shape))
    starts = _origins(origins, chosen)
    counted = _counts(cells, chosen, starts)
    if mode == "raw":
        uneven = np.full(given.lead, any(side % s for side in given.shape for s in chosen))
        flags = {"raw: boxes reach over the edge, so the value depends on the length": uneven}
        name, log_y, offset = "box, raw", -logs(counted), 0.0
    else:
        flags = {}
        name, log_y, offset = "box, relative to the support", -logs(counted / _counts(given.cells, chosen, starts)), 2.0
    return fitted(
        name,
        given.label,
        chosen,
        log_y,
        counted,
        lead=given.lead,
        offset=offset,
        flags=flags,
        small=given.small(force),
    )


def _counts(cells: npt.NDArray[np.bool_], chosen: list[int], starts: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
    counted = [_native.box_counts(cells, chosen, origin) for origin in starts]
    return np.min(counted, axis=0).astype(np.float64)


def _rule(foreground: object, *, boolean: bool) -> tuple[str, float]:
    if boolean:
        if foreground is not None:
            raise InvalidArgumentError("foreground", foreground, "None, for weights that are booleans")
        return "above", 0.0
    if foreground is None:
        raise InvalidArgumentError("foreground", None, _FOREGROUND)
    if isinstance(foreground, tuple):
        pair = cast("tuple[Any, ...]", foreground)
        if len(pair) != 2 or pair[0] not in _RULES:
            raise InvalidArgumentError("foreground", repr(pair), _FOREGROUND)
        return pair[0], real("foreground", pair[1])
    if isinstance(foreground, str):
        raise DTypeError("foreground", repr(foreground), _FOREGROUND)
    return "above", real("foreground", foreground)


def _origins(origins: object, chosen: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for origin in cast("Sequence[Any]", origins):
        if not isinstance(origin, (tuple, list)) or len(cast("list[Any]", origin)) != 2:
            raise ShapeError("origins", repr(cast("object", origin)), "pairs (rows, columns)")
        row, column = (integer("origins", o, 0, chosen[-1] - 1) for o in cast("list[Any]", origin))
        found.append((row, column))
    if not found:
        raise InvalidArgumentError("origins", found, "at least one pair")
    return found


def _exact(given: Given, cells: npt.NDArray[np.bool_], scales: Iterable[int] | None, *, small: bool) -> Slope:
    base = 3 if is_power(given.shorter, 3) else 2
    chosen = None if scales is None else sides("scales", scales, given.shorter)
    if chosen is not None:
        base = next((b for b in (2, 3) if all(is_power(s, b) for s in chosen)), 0)
        if not base:
            raise InvalidArgumentError("scales", chosen, "powers of 2, or powers of 3, in the mode exact")
    side = 1
    while side * base <= given.shorter:
        side *= base
    if chosen is None:
        chosen = powers(side // 4, side)
    if chosen[-1] > side:
        raise InvalidArgumentError("scales", chosen, f"at most the side of the window, {side}")
    rows, columns = given.shape
    found: list[npt.NDArray[np.float64]] = []
    down, across = rows - side, columns - side
    for top, left in {(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)}:
        window = np.ascontiguousarray(cells[:, top : top + side, left : left + side])
        found.append(_native.box_counts(window, chosen, (0, 0)).astype(np.float64))
    counted = np.mean(found, axis=0)
    name = f"box, exact in windows of {side}"
    return fitted(name, given.label, chosen, -logs(counted), counted, lead=given.lead, small=small)
