"""Tidy tables: one row a measurement, columns as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

__all__ = ["Table"]


class Table:
    """Columns of one length, by name.

    Attributes:
        columns: Arrays of shape (rows,), in order.
    """

    columns: Mapping[str, npt.NDArray[Any]]

    def __init__(self, columns: Mapping[str, npt.ArrayLike]) -> None:
        """Keep columns.

        Raises:
            ShapeError: Columns of different lengths, or with more than one axis.
        """
        arrays: dict[str, npt.NDArray[Any]] = {name: np.asarray(column) for name, column in columns.items()}
        lengths = {array.shape for array in arrays.values()}
        if len(lengths) > 1 or any(len(shape) != 1 for shape in lengths):
            raise ShapeError("columns", sorted(lengths), "one length, one axis")
        self.columns = arrays

    def __len__(self) -> int:
        """How many rows."""
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A column.

        Raises:
            InvalidArgumentError: There is none of that name.
        """
        if name not in self.columns:
            raise InvalidArgumentError("column", repr(name), ", ".join(self.columns))
        return self.columns[name]

    def where(self, **wanted: object) -> Table:
        """The rows whose columns have these values.

        Raises:
            InvalidArgumentError: There is no column of that name.
        """
        keep = np.ones(len(self), bool)
        for name, value in wanted.items():
            keep &= self[name] == value
        return Table({name: column[keep] for name, column in self.columns.items()})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as plain Python values; NaN as None."""
        for i in range(len(self)):
            row = {name: column[i].item() for name, column in self.columns.items()}
            yield {name: None if isinstance(x, float) and not np.isfinite(x) else x for name, x in row.items()}

    def to_pandas(self) -> Any:  # noqa: ANN401  # pandas is optional
        """A pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        from importlib import import_module

        pandas: Any = import_module("pandas")
        return pandas.DataFrame(dict(self.columns))

    def grid(self, measure: str, rows: str = "layer", columns: str = "head") -> npt.NDArray[np.float64]:
        """The values of a measure as a matrix, by default layers by heads; NaN where there is no row.

        Raises:
            InvalidArgumentError: An unknown measure or column.
        """
        kept = self.where(measure=measure)
        if not len(kept):
            raise InvalidArgumentError("measure", repr(measure), ", ".join(dict.fromkeys(self["measure"].tolist())))
        down, row = np.unique(kept[rows], return_inverse=True)
        across, column = np.unique(kept[columns], return_inverse=True)
        found = np.full((len(down), len(across)), np.nan)
        found[row, column] = kept["value"]
        return found

    def __repr__(self) -> str:
        """Its size and columns."""
        return f"Table({len(self)} rows: {', '.join(self.columns)})"
