"""Attention in a file: NumPy's archive with a description in JSON; nothing in it runs when it is read."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.analysis.maps import AttentionMaps, LayerMaps
from fractal_core.analysis.provenance import SCHEMA
from fractal_core.analysis.writing import replacing, target
from fractal_core.dimension import EdgeWeights
from fractal_core.errors import FractalError, InvalidArgumentError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

_FORMAT = "fractal-attn attention maps"


def save_maps(maps: AttentionMaps, path: str | os.PathLike[str], *, compress: bool = False) -> None:
    """Writes attention to a file, whole or not at all.

    Args:
        maps: What is written.
        path: A file, usually `.npz`, in a folder that exists; replaced if it is there.
        compress: Smaller and slower.

    Raises:
        InvalidArgumentError: The path is a folder, or its folder does not exist.
        DTypeError: The path is none.
    """
    path = target("path", path)
    arrays: dict[str, npt.NDArray[Any]] = {}
    layers: list[dict[str, Any]] = []
    for place, layer in enumerate(maps.layers):
        arrays[f"weights_{place}"] = layer.values
        entry: dict[str, Any] = {"name": layer.name, "kind": layer.kind, "sparse": layer.sparse}
        entry |= {"tolerance": layer.tolerance, "sub_stochastic": layer.sub_stochastic}
        support: Any = layer.support
        if isinstance(support, IndexSet):
            arrays[f"indptr_{place}"], arrays[f"indices_{place}"] = support.indptr, support.indices
            entry["support"] = {"n_keys": support.shape[1]}
        elif isinstance(support, np.ndarray):
            arrays[f"cells_{place}"] = support
            entry["support"] = None
        else:
            entry["support"] = [*support] if isinstance(support, tuple) else support
        layers.append(entry)
    for name in ("ids", "target_ids"):
        if getattr(maps, name) is not None:
            arrays[name] = getattr(maps, name)
    described = {
        "format": _FORMAT,
        "schema": SCHEMA,
        "layers": layers,
        "tokens": maps.tokens,
        "target_tokens": maps.target_tokens,
        "grid": maps.grid,
        "provenance": dict(maps.provenance),
    }
    arrays["description"] = np.frombuffer(json.dumps(described).encode(), np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)  # pyright: ignore[reportArgumentType]


def load_maps(path: str | os.PathLike[str]) -> AttentionMaps:
    """Attention from a file that `save_maps` wrote; no pickle is read.

    Raises:
        InvalidArgumentError: There is no such file, it is broken, or it holds something else.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            described = json.loads(archive["description"].tobytes())
            if described.get("format") != _FORMAT or described.get("schema") != SCHEMA:
                given = f"{described.get('format')}, schema {described.get('schema')}"
                raise InvalidArgumentError("path", given, f"{_FORMAT}, schema {SCHEMA}")
            layers = tuple(_layer(entry, place, archive) for place, entry in enumerate(described["layers"]))
            return AttentionMaps(
                layers,
                tuple(described["tokens"]),
                tuple(described["target_tokens"]),
                *(archive.get(name) for name in ("ids", "target_ids")),
                grid=None if described["grid"] is None else tuple(described["grid"]),
                provenance=described["provenance"],
            )
    except FractalError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError("path", f"{path}: {error}", "a file that save_maps wrote") from error


def _layer(entry: dict[str, Any], place: int, archive: Any) -> LayerMaps:  # noqa: ANN401  # NpzFile
    weights: Any = archive[f"weights_{place}"]
    said: Any = entry["support"]
    support: Any = said
    if isinstance(said, dict):
        n_keys = int(entry["support"]["n_keys"])
        support = IndexSet.from_csr(archive[f"indptr_{place}"], archive[f"indices_{place}"], n_keys)
    elif isinstance(said, list):
        support = (entry["support"][0], int(entry["support"][1]))
    elif said is None:
        support = archive[f"cells_{place}"]
    if entry["sparse"]:
        weights = EdgeWeights(support, weights)
    return LayerMaps(entry["name"], entry["kind"], weights, support, entry["tolerance"], entry["sub_stochastic"])
