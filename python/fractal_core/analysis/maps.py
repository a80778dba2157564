"""The attention of one input: every layer and head, with the cells that each layer has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from fractal_core._arguments import integer, real
from fractal_core.analysis.supports import supported
from fractal_core.dimension import EdgeWeights
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from fractal_core.dimension.given import Support

Weights: TypeAlias = "npt.NDArray[Any] | EdgeWeights"
"""Shape (H, N, M), or edges with values (H, nnz)."""

KINDS = ("causal", "encoder", "decoder", "cross", "vision")
TOLERANCE = 1e-3


@dataclass(frozen=True)
class LayerMaps:
    """The weights of one layer, checked when made.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a row does not sum to 1.
        ShapeError: The weights are not (H, N, M), or the support does not fit them.
        DTypeError: An argument has no fitting type.
    """

    name: str
    """Which layer of which stack, such as "layer 3" or "cross 0"; unique among the layers of an input."""
    kind: str
    """"causal", "encoder", "decoder", "cross" or "vision"."""
    weights: Weights
    """Shape (H, N, M), float32 or float64, not to be written to; or `EdgeWeights` with values (H, nnz)."""
    support: Support = "full"
    """The cells that there are, as `fractal_core.dimension` takes them; edges have their own."""
    tolerance: float = field(default=TOLERANCE, compare=False)
    """How far a row's sum may be from 1; rows without a cell sum to 0."""
    sub_stochastic: bool = field(default=False, compare=False)
    """Whether rows may sum to less than 1, as where a learned sink takes a share that no key has."""

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.name), str) or not self.name:
            raise DTypeError("name", repr(self.name), "a string that is not empty")
        if self.kind not in KINDS:
            raise InvalidArgumentError("kind", repr(self.kind), ", ".join(KINDS))
        if isinstance(self.weights, EdgeWeights):
            object.__setattr__(self, "support", self.weights.index_set)
            _check_rows(self, _edge_sums(self.weights), np.diff(self.weights.index_set.indptr) > 0)
            return
        array = _as_array(cast("object", self.weights))
        if array.dtype == np.float16:
            array = np.asarray(array, dtype=np.float32)
        if array.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
            raise DTypeError(f"weights of {self.name}", array.dtype, "float16, float32 or float64")
        if array.ndim != 3 or 0 in array.shape:
            raise ShapeError(f"weights of {self.name}", array.shape, "(heads, queries, keys), no axis of length 0")
        array = _as_array(np.ascontiguousarray(array)[...])
        array.flags.writeable = False
        object.__setattr__(self, "weights", array)
        cells = supported(self.support, array.shape[-2:])
        _check_weights(self.name, array, cells)
        _check_rows(self, array.sum(axis=-1, dtype=np.float64), np.asarray(cells.any(axis=-1)))

    @property
    def values(self) -> npt.NDArray[Any]:
        """The numbers, (H, N, M), or (H, nnz) of edges."""
        return self.weights.values if isinstance(self.weights, EdgeWeights) else self.weights

    @property
    def heads(self) -> int:
        """Number of heads."""
        return int(self.values.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and keys."""
        if isinstance(self.weights, EdgeWeights):
            return self.weights.index_set.shape
        return int(self.weights.shape[1]), int(self.weights.shape[2])

    @property
    def sparse(self) -> bool:
        """Whether the weights are `EdgeWeights`."""
        return isinstance(self.weights, EdgeWeights)

    def head(self, index: int) -> npt.NDArray[Any]:
        """The matrix of one head, (N, M); negative indices count from the last.

        Raises:
            InvalidArgumentError: There is no such head.
        """
        index = integer("head", index, -self.heads, self.heads - 1)
        if not isinstance(self.weights, EdgeWeights):
            return self.weights[index]
        return EdgeWeights(self.weights.index_set, self.weights.values[index]).to_dense()

    def only(self, head: int) -> LayerMaps:
        """The layer with one of its heads."""
        if isinstance(self.weights, EdgeWeights):
            weights = EdgeWeights(self.weights.index_set, self.weights.values[head : head + 1])
            return replace(self, weights=weights)
        support = self.support
        if isinstance(support, np.ndarray) and support.ndim == 3 and len(support) > 1:
            support = support[head : head + 1]
        return replace(self, weights=self.weights[head : head + 1], support=support)

    def uniform(self) -> Weights:
        """Attention that is even over the keys of every query on the same support, with one head."""
        if isinstance(self.weights, EdgeWeights):
            keys = np.diff(np.asarray(self.weights.index_set.indptr, dtype=np.int64))
            even = np.repeat(1 / np.maximum(keys, 1), keys)
            return EdgeWeights(self.weights.index_set, even[None].astype(self.weights.values.dtype))
        cells = supported(self.support, self.shape)
        keys = np.maximum(cells.sum(axis=-1, keepdims=True), 1)
        return (cells / keys).astype(self.weights.dtype)

    def columns(self, weights: Weights) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """What the keys receive, (H, M), and how many queries can see each, (M,)."""
        if isinstance(weights, EdgeWeights):
            keys, n = np.asarray(weights.index_set.indices, dtype=np.int64), self.shape[1]
            mass = np.zeros((len(weights.values), n))
            for head, values in enumerate(weights.values):
                mass[head] = np.bincount(keys, values, n)
            return mass, np.bincount(keys, minlength=n).astype(np.float64)[None]
        cells = supported(self.support, self.shape)
        return weights.sum(axis=-2, dtype=np.float64), cells.sum(axis=-2, dtype=np.float64)


def _edge_sums(edges: EdgeWeights) -> npt.NDArray[np.float64]:
    values = np.asarray(edges.values, dtype=np.float64)
    if values.ndim != 2:
        raise ShapeError("weights", values.shape, "edge values (heads, nnz)")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InvalidArgumentError("weights", "an edge that is negative or not finite", "finite weights, 0 or more")
    indptr = np.asarray(edges.index_set.indptr, dtype=np.int64)
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    return total[:, indptr[1:]] - total[:, indptr[:-1]]


def _check_weights(name: str, array: npt.NDArray[Any], cells: npt.NDArray[np.bool_]) -> None:
    label = f"weights of {name}"
    if not np.isfinite(array).all():
        head = int(np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))[0])
        raise InvalidArgumentError(label, f"NaN or infinity in head {head}", "finite weights")
    if (array < 0).any():
        raise InvalidArgumentError(label, f"a weight of {array.min()}", "0 or more")
    if not cells.all():
        outside = np.where(cells, 0, array)
        if outside.any():
            head, row, column = (int(i) for i in np.unravel_index(int(outside.argmax()), outside.shape))
            raise InvalidArgumentError(
                label,
                f"{outside.max():.3g} at head {head}, query {row}, key {column}, outside of the support",
                "0 outside of the support; say `support=`",
            )


def _check_rows(layer: LayerMaps, sums: npt.NDArray[np.float64], filled: npt.NDArray[np.bool_]) -> None:
    tolerance = real("tolerance", layer.tolerance)
    if not 0 <= tolerance < 1:
        raise InvalidArgumentError("tolerance", tolerance, "0 or more, below 1")
    away = sums - np.broadcast_to(filled, sums.shape)
    wrong = away > tolerance if layer.sub_stochastic else np.abs(away) > tolerance
    if wrong.any():
        head, row = (int(i[0]) for i in np.nonzero(wrong))
        most = "at most 1" if layer.sub_stochastic else "1"
        raise InvalidArgumentError(
            f"weights of {layer.name}",
            f"a row that sums to {sums[head, row]:.6g} (head {head}, query {row})",
            f"rows that sum to {most} within {tolerance:g}, and 0 for a query without keys",
        )


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of one input, as one forward pass made it.

    Raises:
        InvalidArgumentError: Two layers have one name, or there is none.
        ShapeError: Tokens or identities do not fit the layers.
        DTypeError: An argument has no fitting type.
    """

    layers: tuple[LayerMaps, ...]
    """First layer first; of encoder-decoder models the encoder, then the decoder, then cross-attention."""
    tokens: tuple[str, ...] = ()
    """What stands at each position of the input (the encoder's, where there are two); () where unknown."""
    target_tokens: tuple[str, ...] = ()
    """The decoder's, where there are two stacks."""
    ids: npt.NDArray[np.int64] | None = None
    """The input's tokens as numbers, (N,), for induction."""
    target_ids: npt.NDArray[np.int64] | None = None
    """The decoder's, where there are two stacks."""
    grid: tuple[int, int] | None = None
    """Rows and columns of an image's patches, which are the last tokens."""
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """Model, versions and settings that made this; plain values that JSON can hold."""

    def __post_init__(self) -> None:
        layers = tuple(self.layers)
        if not layers:
            raise InvalidArgumentError("layers", "none", "at least one layer")
        for layer in layers:
            if not isinstance(cast("object", layer), LayerMaps):
                raise DTypeError("layers", type(layer).__name__, "LayerMaps")
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise InvalidArgumentError("layers", names, "names that differ")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "tokens", tuple(str(token) for token in self.tokens))
        object.__setattr__(self, "target_tokens", tuple(str(token) for token in self.target_tokens))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        for name in ("ids", "target_ids"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        for layer in layers:
            for argument, found, sides in (
                ("tokens", self.key_tokens(layer), layer.shape[1]),
                ("tokens", self.query_tokens(layer), layer.shape[0]),
            ):
                if found and len(found) != sides:
                    raise ShapeError(argument, f"{len(found)} tokens", f"the {sides} positions of {layer.name}")
            ids = self.key_ids(layer)
            if ids is not None and ids.shape != (layer.shape[1],):
                raise ShapeError("ids", ids.shape, f"({layer.shape[1]},), the keys of {layer.name}")

    def query_tokens(self, layer: LayerMaps) -> tuple[str, ...]:
        """The tokens of a layer's queries; () where unknown."""
        return self.target_tokens if layer.kind in {"decoder", "cross"} else self.tokens

    def key_tokens(self, layer: LayerMaps) -> tuple[str, ...]:
        """The tokens of a layer's keys; () where unknown."""
        return self.target_tokens if layer.kind == "decoder" else self.tokens

    def key_ids(self, layer: LayerMaps) -> npt.NDArray[np.int64] | None:
        """The numbers of a layer's keys; None where unknown."""
        return self.target_ids if layer.kind == "decoder" else self.ids

    def layer(self, which: int | str) -> LayerMaps:
        """A layer by its place (negative: from the last) or its name.

        Raises:
            InvalidArgumentError: There is no such layer.
        """
        if isinstance(which, str):
            for layer in self.layers:
                if layer.name == which:
                    return layer
            raise InvalidArgumentError("layer", repr(which), ", ".join(layer.name for layer in self.layers))
        return self.layers[integer("layer", which, -len(self.layers), len(self.layers) - 1)]

    def chosen(self, layers: Iterable[int | str] | int | str | None) -> list[int]:
        """Places of the layers asked for, all for None; increasing, each once."""
        if layers is None:
            return list(range(len(self.layers)))
        if isinstance(layers, (int, str)):
            layers = [layers]
        try:
            listed = list(layers)
        except TypeError:
            raise DTypeError("layers", repr(layers), "places or names of layers") from None
        names = [layer.name for layer in self.layers]
        return sorted({names.index(self.layer(which).name) for which in listed})

    @classmethod
    def from_arrays(
        cls,
        weights: npt.ArrayLike | Sequence[npt.NDArray[Any]],
        support: Support = "full",
        *,
        kind: str | None = None,
        tokens: Sequence[str] = (),
        ids: npt.ArrayLike | None = None,
        tolerance: float = TOLERANCE,
        provenance: Mapping[str, Any] | None = None,
    ) -> AttentionMaps:
        """Attention from arrays.

        Args:
            weights: One array (N, M), (H, N, M) or (L, H, N, M), or a sequence of layers (H, N, M) or (1, H, N, M).
            support: The cells that there are, the same for all layers.
            kind: As in `LayerMaps`; by default "causal" for a causal support and "encoder" for others, and "cross"
                for rectangular weights, whose tokens are those of the keys.
            tokens: One string for each key.
            ids: One number for each key, for induction.
            tolerance: How far a row's sum may be from 1.
            provenance: Where this comes from.

        Returns:
            Layers named "layer 0", "layer 1" ...

        Raises:
            InvalidArgumentError: As `LayerMaps`.
            ShapeError: As `LayerMaps`.
            DTypeError: As `LayerMaps`.
        """
        layers = _as_layers(weights)
        causal = support == "causal" if isinstance(support, str) else _is_causal_window(support)
        made: list[LayerMaps] = []
        for place, array in enumerate(layers):
            shape = array.index_set.shape if isinstance(array, EdgeWeights) else array.shape[-2:]
            stack = kind or ("causal" if causal else "encoder" if shape[0] == shape[1] else "cross")
            made.append(LayerMaps(f"layer {place}", stack, array, support, tolerance))
        rectangular = any(layer.shape[0] != layer.shape[1] for layer in made)
        if rectangular and any(layer.kind != "cross" for layer in made):
            raise ShapeError("weights", made[0].shape, "as many queries as keys, or the kind cross")
        words, numbers = tuple(tokens), None if ids is None else np.asarray(ids)
        said = provenance or {"source": "arrays"}
        if kind == "decoder":
            return cls(tuple(made), target_tokens=words, target_ids=numbers, provenance=said)
        return cls(tuple(made), words, ids=numbers, provenance=said)


def _is_causal_window(support: object) -> bool:
    return isinstance(support, tuple) and cast("tuple[Any, ...]", support)[:1] == ("causal_window",)


def _as_array(weights: object) -> npt.NDArray[Any]:
    return np.asarray(weights)


def _as_layers(weights: object) -> list[Any]:
    if isinstance(weights, EdgeWeights):
        return [weights]
    if isinstance(weights, (list, tuple)) and weights:
        given = [*cast("list[Any]", weights)]
        if all(isinstance(w, EdgeWeights) or np.ndim(w) >= 3 for w in given):
            layers: list[Any] = [w if isinstance(w, EdgeWeights) else np.asarray(w) for w in given]
            return [w if isinstance(w, EdgeWeights) or w.ndim != 4 or len(w) != 1 else w[0] for w in layers]
    array = _as_array(cast("object", weights))
    if array.ndim == 2:
        return [array[None]]
    if array.ndim == 3:
        return [array]
    if array.ndim == 4 and 0 not in array.shape:
        return list(array)
    raise ShapeError("weights", array.shape, "(N, M), (H, N, M), (L, H, N, M), or a sequence of (H, N, M)")
