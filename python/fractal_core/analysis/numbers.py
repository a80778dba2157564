"""The rows of a table of measures: one number a head, with what speaks for and against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.analysis.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from fractal_core.dimension import Slope
    from fractal_core.dimension.rows import Spread

EMPTY_SET = "empty set"
NO_ROW = "no row with a number"


@dataclass(frozen=True)
class Numbers:
    """One measure of the heads of a layer, each field of shape (H,)."""

    value: npt.NDArray[np.float64]
    stderr: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    r2: npt.NDArray[np.float64]
    reliable: npt.NDArray[np.bool_]
    reasons: list[str]
    baseline: npt.NDArray[np.float64]


COLUMNS: dict[str, Any] = {
    "layer": np.int64,
    "name": np.str_,
    "kind": np.str_,
    "head": np.int64,
    "measure": np.str_,
    "value": np.float64,
    "stderr": np.float64,
    "std": np.float64,
    "r2": np.float64,
    "reliable": np.bool_,
    "reasons": np.str_,
    "baseline": np.float64,
    "n_queries": np.int64,
    "n_keys": np.int64,
}


def reasons_of(slope: Slope) -> str:
    """The reasons against a single slope, in one line."""
    return "; ".join(reason for reason, holds in slope.flags.items() if np.any(holds))


def of_slope(slope: Slope, baseline: npt.NDArray[np.float64] | None = None) -> Numbers:
    """A slope for each head; its own baseline unless one is given."""
    heads = int(slope.value.shape[0])
    nothing = np.full(heads, np.nan)
    own = slope.baseline if baseline is None else baseline
    return Numbers(
        slope.value,
        slope.stderr,
        nothing,
        slope.r2,
        slope.reliable,
        [reasons_of(slope[head]) for head in range(heads)],
        nothing if own is None else own,
    )


def empty() -> Numbers:
    """One head whose set is empty."""
    nothing = np.full(1, np.nan)
    return Numbers(nothing, nothing, nothing, nothing, np.zeros(1, np.bool_), [EMPTY_SET], nothing)


def joined(each: list[Numbers]) -> Numbers:
    """Heads one after the other."""

    def of(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(numbers, name) for numbers in each])

    return Numbers(
        of("value"),
        of("stderr"),
        of("std"),
        of("r2"),
        of("reliable"),
        [reason for numbers in each for reason in numbers.reasons],
        of("baseline"),
    )


def of_spread(spread: Spread, baseline: npt.NDArray[np.float64] | float, reason: str = NO_ROW) -> Numbers:
    """A statistic of rows: its mean, with the error of the mean and the spread over the rows."""
    heads = len(spread.mean)
    good = spread.rows > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        stderr = spread.std / np.sqrt(spread.rows)
    return Numbers(
        spread.mean,
        stderr,
        spread.std,
        np.full(heads, np.nan),
        good,
        ["" if ok else reason for ok in good],
        np.broadcast_to(baseline, heads),
    )


@dataclass(frozen=True)
class Measured:
    """One measure of one layer, and which of its heads go into the table."""

    layer: int
    name: str
    kind: str
    shape: tuple[int, int]
    measure: str
    numbers: Numbers
    heads: Sequence[int]


def table_of(measured: Iterable[Measured], provenance: Mapping[str, Any]) -> Table:
    """The tidy table."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for one in measured:
        found = one.numbers
        for head in one.heads:
            row = (
                one.layer,
                one.name,
                one.kind,
                head,
                one.measure,
                found.value[head],
                found.stderr[head],
                found.std[head],
                found.r2[head],
                found.reliable[head],
                found.reasons[head],
                found.baseline[head],
                *one.shape,
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return Table({name: np.array(column, dtype=COLUMNS[name]) for name, column in columns.items()}, provenance)
