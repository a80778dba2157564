"""A tidy table: one row for each layer, head and measure."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt


@dataclass(frozen=True)
class Table:
    """Columns of one length, as NumPy arrays; not to be written to.

    Raises:
        ShapeError: Columns differ in length.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    """Name to column."""
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """Where the numbers come from; plain values that JSON can hold."""

    def __post_init__(self) -> None:
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.asarray(column).view() for name, column in self.columns.items()
        }
        lengths = {name: column.shape for name, column in columns.items()}
        if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ShapeError("columns", lengths, "columns of one length")
        for column in columns.values():
            column.flags.writeable = False
        object.__setattr__(self, "columns", MappingProxyType(columns))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A column.

        Raises:
            InvalidArgumentError: There is no such column.
        """
        if name not in self.columns:
            raise InvalidArgumentError("column", repr(name), ", ".join(self.columns))
        return self.columns[name]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as a dictionary of Python's own types."""
        names, lists = list(self.columns), [column.tolist() for column in self.columns.values()]
        for values in zip(*lists, strict=True):
            yield dict(zip(names, values, strict=True))

    def where(self, **wanted: object) -> Table:
        """The rows whose columns equal these values, or one of them where a list, tuple or set is given.

        Raises:
            InvalidArgumentError: There is no such column.
        """
        keep = np.ones(len(self), np.bool_)
        for name, value in wanted.items():
            several = cast("list[Any]", [*value] if isinstance(value, (list, tuple, set, frozenset)) else [value])
            keep &= np.isin(self[name], several)
        return Table({name: column[keep] for name, column in self.columns.items()}, self.provenance)

    def grid(self, measure: str, column: str = "value") -> npt.NDArray[np.float64]:
        """One measure as layers by heads, (L, H), float64; NaN where a layer has fewer heads.

        Raises:
            InvalidArgumentError: There is no such measure or column.
        """
        chosen = self.where(measure=measure)
        if not len(chosen):
            raise InvalidArgumentError("measure", repr(measure), ", ".join(np.unique(self["measure"])))
        layers, heads = chosen["layer"], chosen["head"]
        found = np.full((int(layers.max()) + 1, int(heads.max()) + 1), np.nan)
        found[layers, heads] = chosen[column]
        return found

    def to_pandas(self) -> Any:  # noqa: ANN401  # pandas is optional
        """The table as a `pandas.DataFrame`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame({name: column.copy() for name, column in self.columns.items()})
