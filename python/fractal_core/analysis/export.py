"""Results as files: JSON, CSV, NPZ, and Parquet; whole or not there, with numbers as numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from fractal_core._files import checked_path, written
from fractal_core.analysis.table import Table
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["FORMATS", "SCHEMA", "Format", "plain", "write_results", "write_table"]

Format: TypeAlias = Literal["json", "csv", "npz", "parquet"]

FORMATS = ("json", "csv", "npz", "parquet")

SCHEMA = 1
"""Version of what the files hold; it is in every one."""

_MATRICES = ("attention", "transformed_attention", "golden_ratio_scored")
_LEFT_OUT = ("visualizations",)


def plain(value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    """A value for JSON: arrays as lists, numbers as numbers, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, np.ndarray):
        return plain(cast("Any", value).tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise DTypeError("results", type(value).__name__, "numbers, strings, arrays, lists and dictionaries")


def write_results(
    results: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    format: Format = "json",
) -> None:
    """Writes one result of `FractalAttentionAnalyzer.analyze`, or several.

    JSON holds everything but figures; CSV and Parquet a row for each result: model, layer, head, tokens, dimension with
    its error, baseline and reasons, and every metric; NPZ the matrices, tokens and, as JSON, the rest.

    Args:
        results: One, or several.
        path: Where to; written under a temporary name first. The suffix need not be the format's.
        format: Out of `FORMATS`.

    Raises:
        InvalidArgumentError: An unknown format, or no result.
        DTypeError: A result that holds something that no file can.
        ImportError: Parquet without pyarrow.
        OSError: It cannot be written; nothing is left behind.
    """
    if format not in FORMATS:
        raise InvalidArgumentError("format", repr(format), ", ".join(FORMATS))
    several = [dict(results)] if isinstance(results, Mapping) else [dict(result) for result in results]
    if not several:
        raise InvalidArgumentError("results", "none", "one or more")
    kept = [{key: value for key, value in result.items() if key not in _LEFT_OUT} for result in several]
    if format == "json":
        single = isinstance(results, Mapping)
        body: dict[str, Any] = {"schema": SCHEMA, **(kept[0] if single else {"results": kept})}
        with written(path) as file:
            file.write(json.dumps(plain(body), indent=2, allow_nan=False, ensure_ascii=False).encode())
    elif format == "npz":
        arrays: dict[str, Any] = {}
        for i, result in enumerate(kept):
            prefix = "" if isinstance(results, Mapping) else f"{i}."
            for name in _MATRICES:
                if name in result:
                    arrays[prefix + name] = result.pop(name)
            if "fractal_dimension" in result:
                arrays[f"{prefix}fractal_dimension"] = np.float64(result["fractal_dimension"])
            arrays[f"{prefix}tokens"] = np.array(result.get("tokens", []), dtype=np.str_)
        rest = kept[0] if isinstance(results, Mapping) else {"results": kept}
        arrays["about"] = np.array(json.dumps(plain({"schema": SCHEMA, **rest}), allow_nan=False))
        with written(path) as file:
            np.savez_compressed(file, **arrays)
    else:
        write_table(_rows(kept), path, format)


def _rows(results: list[dict[str, Any]]) -> Table:
    rows: list[dict[str, Any]] = []
    for result in results:
        fit, provenance = result.get("fit", {}), result.get("provenance", {})
        rows.append({
            "schema": SCHEMA,
            "model": result.get("model_name", ""),
            "layer": result.get("layer_idx", -1),
            "head": result.get("head_idx", -1),
            "input": provenance.get("input", ""),
            "tokens": len(result.get("tokens", ())),
            "fractal_dimension": result.get("fractal_dimension", np.nan),
            **{name: np.nan if fit.get(name) is None else fit[name] for name in ("stderr", "r2", "baseline")},
            "reliable": bool(fit.get("reliable", False)),
            "reasons": "; ".join(fit.get("reasons", ())),
            "analysis_time": result.get("analysis_time", np.nan),
            **{name: value for name, value in result.get("metrics", {}).items() if name != "fractal_dimension"},
        })  # fmt: skip
    return Table(
        {name: [row.get(name, np.nan) for row in rows] for name in dict.fromkeys(k for row in rows for k in row)}
    )


def write_table(table: Table, path: str | os.PathLike[str], format: Format = "csv") -> None:
    """Writes a tidy table; NaN is an empty field, null in JSON.

    Args:
        table: Of `fractal_core.analysis.measure`, or any.
        path: Where to; written under a temporary name first.
        format: Out of `FORMATS`.

    Raises:
        InvalidArgumentError: An unknown format.
        ImportError: Parquet without pyarrow.
        OSError: It cannot be written; nothing is left behind.
    """
    checked_path(path)
    if format == "csv":
        with written(path) as file:
            file.write(csv_text(table).encode())
    elif format == "json":
        body = {"schema": SCHEMA, "columns": list(table.columns), "rows": [list(row.values()) for row in table.rows()]}
        with written(path) as file:
            file.write(json.dumps(plain(body), allow_nan=False, ensure_ascii=False).encode())
    elif format == "npz":
        with written(path) as file:
            np.savez_compressed(file, schema=np.int64(SCHEMA), **cast("Any", dict(table.columns)))
    elif format == "parquet":
        try:
            from importlib import import_module

            pa: Any = import_module("pyarrow")
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError as error:
            raise ImportError("Parquet files need pyarrow: pip install pyarrow") from error
        arrow = pa.table({name: pa.array(column.tolist(), from_pandas=True) for name, column in table.columns.items()})
        with written(path) as file:
            parquet.write_table(arrow.replace_schema_metadata({"schema": str(SCHEMA)}), file)
    else:
        raise InvalidArgumentError("format", repr(format), ", ".join(FORMATS))


def csv_text(table: Table) -> str:
    """A table as CSV with a line of names; NaN as an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if x is None else x for x in row.values()] for row in table.rows())
    return text.getvalue()
