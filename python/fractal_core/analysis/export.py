"""Results as files: JSON, CSV, NumPy's archive, Parquet. Numbers stay numbers, and a file is whole or not there."""

from __future__ import annotations

import csv
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.analysis.provenance import SCHEMA, version
from fractal_core.analysis.table import Table
from fractal_core.analysis.writing import replacing, target
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy.typing as npt

FORMATS = ("json", "csv", "npz", "parquet")
_SEPARATE = ("visualizations", "maps")
"""What is no data, or has a file of its own (`save_maps`)."""


def export_results(
    results: object,
    output_path: str | os.PathLike[str],
    format: str = "json",  # the seed's name
    *,
    arrays: bool = False,
) -> None:
    """Writes results of the analyzer, one, several or a table, with schema version and provenance.

    `json` has all but matrices, with null where a number is not finite; `csv` and `parquet` have one row a number:
    those of a table, or of each result its measures and metrics; `npz` has every array under its name, those of several
    results with their place before it, and the rest in `description`, as JSON.

    Args:
        results: What `analyze`, `analyze_all`, `analyze_batch` or `compare_models` gave, or a `Table`.
        output_path: A file in a folder that exists; replaced if it is there. Its name is taken as it is.
        format: "json", "csv", "npz" or "parquet".
        arrays: Whether JSON has the matrices, too.

    Raises:
        InvalidArgumentError: An unknown format, a path that cannot be written, or nothing to write.
        DTypeError: The results are of no such kind.
        ImportError: Parquet without pyarrow.
    """
    if format not in FORMATS:
        raise InvalidArgumentError("format", repr(format), ", ".join(FORMATS))
    several = _several(results)
    if not several and not isinstance(results, (Mapping, Table)):
        raise DTypeError("results", type(results).__name__, "results of the analyzer, a list of them, or a Table")
    if several and not len(cast("Sequence[Any]", results)):
        raise InvalidArgumentError("results", "none", "at least one result")
    path = target("output_path", output_path)
    if format == "parquet":
        _need_pyarrow()
    with replacing(path) as temporary:
        if format == "json":
            temporary.write_text(as_json(cast("object", results), arrays=arrays), encoding="utf-8")
        elif format == "npz":
            _npz(cast("object", results), temporary)
        else:
            table = tidy(cast("object", results))
            (_csv if format == "csv" else _parquet)(table, temporary)


def _several(results: object) -> bool:
    return isinstance(results, Sequence) and not isinstance(results, (str, bytes))


def _head() -> dict[str, Any]:
    return {"schema": SCHEMA, "fractal_attn": version()}


def as_json(results: object, *, arrays: bool = False) -> str:
    """Results as the text of a JSON object, as `export_results` writes it.

    Raises:
        DTypeError: Something in them has no form in JSON.
    """
    body = {"results": plain(results, arrays=arrays)}
    if hasattr(results, "aggregate"):
        body["aggregate"] = plain(cast("Any", results).aggregate, arrays=arrays)
    return json.dumps({**_head(), **body}, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def plain(value: object, *, arrays: bool = False) -> Any:  # noqa: ANN401, PLR0911
    """A value in the types of JSON: numbers that are not finite as None, matrices left out unless asked for.

    Raises:
        DTypeError: It has no form in JSON.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, (float, np.floating)):
        number = float(cast("float", value))
        return number if math.isfinite(number) else None
    if isinstance(value, np.integer):
        return int(cast("int", value))
    if isinstance(value, np.bool_):
        return bool(cast("object", value))
    if isinstance(value, np.ndarray):
        return plain(cast("npt.NDArray[Any]", value).tolist(), arrays=arrays)
    if isinstance(value, Table):
        return {"rows": [plain(row) for row in value.rows()], "provenance": plain(value.provenance)}
    if isinstance(value, Mapping):
        return {
            str(name): plain(inner, arrays=arrays)
            for name, inner in cast("Mapping[Any, Any]", value).items()
            if name not in _SEPARATE and (arrays or not _is_matrix(inner))
        }
    if isinstance(value, (list, tuple)):
        return [plain(inner, arrays=arrays) for inner in cast("list[Any]", value)]
    raise DTypeError("results", type(value).__name__, "numbers, text, arrays, and mappings and lists of them")


def _is_matrix(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim >= 2


TIDY = ("model", "text_index", "n_tokens", "layer", "head", "measure", "value", "stderr", "r2", "reliable", "reasons")


def tidy(results: object) -> Table:
    """Results as a table with one row a number; a table, and the table of `analyze_all`, as they are.

    Raises:
        DTypeError: The results are of no such kind.
    """
    if isinstance(results, Table):
        return results
    if isinstance(results, Mapping):
        table = cast("Mapping[str, object]", results).get("table")
        if isinstance(table, Table):
            return table
    given = cast("object", results)
    listed: list[Any] = list(cast("Sequence[Any]", given)) if _several(given) else _single(given)
    rows: list[tuple[Any, ...]] = []
    for index, result in enumerate(listed):
        if not isinstance(result, Mapping) or "metrics" not in result:
            raise DTypeError("results", type(cast("object", result)).__name__, "results of the analyzer")
        rows += _rows(cast("Mapping[str, Any]", result), index)
    kinds: dict[str, Any] = dict(zip(TIDY, (str, int, int, int, int, str, float, float, float, bool, str), strict=True))
    columns: dict[str, npt.NDArray[Any]] = {
        name: np.array([row[i] for row in rows], dtype=kinds[name]) for i, name in enumerate(TIDY)
    }
    return Table(columns, listed[0].get("provenance", {}))


def _single(results: object) -> list[Any]:
    found = cast("Mapping[str, Any]", results)
    # A comparison is two results; it counts as two texts of two models.
    return [found["model_1"], found["model_2"]] if "model_1" in found else [found]


def _rows(result: Mapping[str, Any], index: int) -> list[tuple[Any, ...]]:
    head = (
        str(result.get("model_name", "")),
        int(result.get("text_index", index)),
        int(result.get("n_tokens", 0)),
        int(result["layer_idx"]),
        int(result["head_idx"]),
    )
    found: list[tuple[Any, ...]] = []
    for name, fit in result.get("dimensions", {}).items():
        reasons = "; ".join(fit["reasons"])
        found.append((*head, name, fit["value"], fit["stderr"], fit["r2"], fit["reliable"], reasons))
    nan = float("nan")
    for name, value in result["metrics"].items():
        good = math.isfinite(value)
        found.append((*head, name, float(value), nan, nan, good, "" if good else "no row with a number"))
    return found


def _csv(table: Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["schema", *table.columns])
        writer.writerows([SCHEMA, *row.values()] for row in table.rows())


def _need_pyarrow() -> Any:  # noqa: ANN401
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError("the format parquet needs pyarrow: pip install pyarrow") from error


def _parquet(table: Table, path: Path) -> None:
    arrow = _need_pyarrow()
    written = arrow.table({name: column.tolist() for name, column in table.columns.items()})
    described = json.dumps({**_head(), "provenance": plain(table.provenance)}, allow_nan=False)
    arrow.parquet.write_table(written.replace_schema_metadata({"fractal_attn": described}), path)


def _npz(results: object, path: Path) -> None:
    found: dict[str, npt.NDArray[Any]] = {}
    if isinstance(results, Table):
        found.update(results.columns)
    elif isinstance(results, Mapping):
        _arrays(cast("Mapping[str, Any]", results), "", found)
    else:
        for index, result in enumerate(cast("Sequence[Any]", results)):
            _arrays(result, f"{index}_", found)
    found["description"] = np.frombuffer(as_json(cast("object", results)).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, **found)  # pyright: ignore[reportArgumentType]


def _arrays(result: Mapping[str, Any], prefix: str, found: dict[str, npt.NDArray[Any]]) -> None:
    for name, value in result.items():
        if name in _SEPARATE:
            continue
        if isinstance(value, np.ndarray):
            found[prefix + name] = cast("npt.NDArray[Any]", value)
        elif isinstance(value, Table):
            found.update({f"{prefix}{name}_{column}": array for column, array in value.columns.items()})
        elif isinstance(value, Mapping):
            _arrays(cast("Mapping[str, Any]", value), f"{prefix}{name}_", found)
        elif isinstance(value, (float, int)) and not isinstance(value, bool):
            found[prefix + name] = np.array(value)
        elif name == "tokens":
            found[prefix + name] = np.array(value, dtype=np.str_)
