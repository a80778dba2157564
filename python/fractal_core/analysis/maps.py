"""The attention of one input to a model: every layer's heads on their support, with tokens and provenance."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, cast

import numpy as np

from fractal_core._arguments import integer
from fractal_core._files import written
from fractal_core.dimension import EdgeWeights
from fractal_core.dimension.given import Support, on_support
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

__all__ = ["AttentionMaps", "Kind", "LayerMaps"]

Kind: TypeAlias = Literal["causal", "encoder", "decoder", "cross", "vision"]
"""What a layer is: of a causal model, an encoder, a decoder's own or towards its encoder, an encoder of images."""

KINDS = ("causal", "encoder", "decoder", "cross", "vision")

_SLACK = 5e-3
"""How far the sum of a row may be from 1: bfloat16 rounds each weight by up to 4e-3 of it."""

_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """One layer's attention.

    Attributes:
        name: Its name, unique among the layers.
        kind: What it is.
        weights: Shape (H, N, M), float32 or float64, or `EdgeWeights` with values of shape (H, nnz); rows of sum 1, or
            0 where a query sees no key.
        support: The keys that each query may see, as `fractal_core.dimension` takes it; of `EdgeWeights`, "full".
    """

    name: str
    kind: Kind
    weights: npt.NDArray[Any] | EdgeWeights
    support: Support = "full"

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InvalidArgumentError: Weights that are no attention, or an unknown kind.
            ShapeError: Not three axes.
            DTypeError: No real dtype.
        """
        if self.kind not in KINDS:
            raise InvalidArgumentError("kind", repr(self.kind), ", ".join(KINDS))
        argument = f"weights of {self.name}"
        if isinstance(self.weights, EdgeWeights):
            if len(self.weights.lead) != 1:
                raise ShapeError(argument, self.weights.values.shape, "values of shape (H, nnz)")
            rows = np.diff(self.weights.index_set.indptr) > 0
            starts = self.weights.index_set.indptr[:-1][rows]
            sums = np.add.reduceat(self.weights.values, starts, axis=-1, dtype=np.float64)
        else:
            if np.ndim(self.weights) != 3:
                raise ShapeError(argument, np.shape(self.weights), "(H, N, M)")
            given, _, _ = on_support(argument, self.weights, self.support)
            object.__setattr__(self, "weights", given.values)
            sums = given.values.sum(-1, dtype=np.float64)
        off = np.minimum(np.abs(sums - 1), np.abs(sums)).max()
        if off > _SLACK:
            raise InvalidArgumentError(argument, f"a row that is {off:.2g} off a sum of 1 or 0", "rows of sum 1, or 0")

    @property
    def heads(self) -> int:
        """H."""
        return self.weights.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and keys."""
        return self.weights.shape[-2], self.weights.shape[-1]

    def head(self, index: SupportsIndex) -> npt.NDArray[Any] | EdgeWeights:
        """One head, (N, M) or its edges; negative numbers count from the end.

        Raises:
            KeyIndexError: There is no such head.
        """
        return self.weights[place("head", index, self.heads)]

    def matrices(self, argument: str) -> npt.NDArray[Any]:
        """The weights as matrices, (H, N, M).

        Raises:
            DTypeError: They are sparse, and none are made; it names `argument`.
        """
        if isinstance(self.weights, EdgeWeights):
            raise DTypeError(
                argument,
                f"sparse weights of {self.name}",
                "matrices; EdgeWeights.to_dense() makes them, measure() takes both",
            )
        return self.weights


def place(argument: str, index: SupportsIndex, n: int) -> int:
    """`index` counted from 0, of `n`; a negative one counts from the end. Nothing is clamped."""
    number = integer(argument, index, -(2**63), 2**63 - 1)
    if not -n <= number < n:
        raise KeyIndexError(argument, number, f"{-n} ..= {n - 1}")
    return number % n


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The attention of one input, layer by layer.

    Attributes:
        layers: In the order of the model; encoders before decoders.
        tokens: Of the queries, one for each, where they are known.
        sources: Of the keys of cross-attention, where there are any.
        ids: Token ids of the queries, where they are known.
        provenance: Where it comes from: model, settings, versions; whatever JSON holds.
    """

    layers: tuple[LayerMaps, ...]
    tokens: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InvalidArgumentError: No layer, or a name twice.
            ShapeError: Another number of tokens than of queries.
        """
        if not self.layers:
            raise InvalidArgumentError("layers", (), "one layer or more")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise InvalidArgumentError("layers", names, "names that differ")
        decodes = any(layer.kind == "decoder" for layer in self.layers)
        for layer in self.layers:
            own = self.sources if layer.kind == "encoder" and decodes else self.tokens
            if own is not None and len(own) != layer.shape[0]:
                raise ShapeError("tokens", f"{len(own)} tokens", f"{layer.shape[0]}, the queries of {layer.name}")

    @classmethod
    def from_arrays(
        cls,
        weights: npt.ArrayLike | EdgeWeights | Sequence[npt.ArrayLike | EdgeWeights],
        support: Support = "full",
        *,
        kind: Kind | None = None,
        tokens: Iterable[str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> AttentionMaps:
        """From attention that one already has.

        Args:
            weights: Shape (L, H, N, M), (H, N, M) or (N, M), or a sequence of layers, each (H, N, M) or `EdgeWeights`.
            support: Of all layers.
            kind: Of all layers; by default "causal" on a causal support, else "encoder".
            tokens: One for each query.
            provenance: Whatever is to be kept with it.

        Raises:
            InvalidArgumentError: Weights that are no attention.
            ShapeError: The shapes do not fit.
            DTypeError: No real dtype.
        """
        if isinstance(weights, EdgeWeights):
            layers: list[Any] = [weights]
        elif isinstance(weights, (list, tuple)):
            layers = list(cast("Sequence[Any]", weights))
        else:
            array = np.asarray(weights)
            if array.ndim not in {2, 3, 4}:
                raise ShapeError("weights", array.shape, "(L, H, N, M), (H, N, M) or (N, M)")
            layers = list(array.reshape((1,) * (4 - array.ndim) + array.shape))
        named = support[0] if isinstance(support, tuple) else support
        causal = isinstance(named, str) and named in {"causal", "causal_window"}
        which: Kind = kind if kind is not None else "causal" if causal else "encoder"
        made = tuple(LayerMaps(f"layer {i}", which, layer, support) for i, layer in enumerate(layers))
        return cls(made, None if tokens is None else tuple(tokens), provenance=provenance or {})

    def __len__(self) -> int:
        """How many layers."""
        return len(self.layers)

    def __iter__(self) -> Iterator[LayerMaps]:
        """The layers."""
        return iter(self.layers)

    def layer(self, which: SupportsIndex | str) -> LayerMaps:
        """A layer by its number, negative ones from the end, or by its name.

        Raises:
            KeyIndexError: There is no such layer.
        """
        if isinstance(which, str):
            for layer in self.layers:
                if layer.name == which:
                    return layer
            raise KeyIndexError("layer", repr(which), ", ".join(layer.name for layer in self.layers))
        return self.layers[place("layer", which, len(self.layers))]

    def side(self, argument: str) -> int:
        """N, where every layer has as many queries and keys.

        Raises:
            ShapeError: Layers of different sizes, or with other keys than queries; it names `argument`.
        """
        sizes = {layer.shape for layer in self.layers}
        if len(sizes) > 1 or any(n != m for n, m in sizes):
            raise ShapeError(argument, sorted(sizes), "layers of one kind, each (H, N, N); maps.of(kind) has them")
        return self.layers[0].shape[0]

    def of(self, kind: Kind) -> AttentionMaps:
        """The layers of one kind.

        Raises:
            InvalidArgumentError: There is none.
        """
        kept = tuple(layer for layer in self.layers if layer.kind == kind)
        if not kept:
            raise InvalidArgumentError("kind", repr(kind), ", ".join(sorted({layer.kind for layer in self.layers})))
        decodes = any(layer.kind == "decoder" for layer in self.layers)
        tokens = self.sources if kind == "encoder" and decodes else self.tokens
        return AttentionMaps(kept, tokens, self.sources if kind == "cross" else None, None, self.provenance)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to an NPZ file, by a temporary name beside it.

        Raises:
            InvalidArgumentError: A name that does not end in ".npz".
            DTypeError: The provenance holds what JSON does not.
            OSError: It cannot be written; nothing is left behind.
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        layers: list[dict[str, Any]] = []
        for i, layer in enumerate(self.layers):
            about: dict[str, Any] = {"name": layer.name, "kind": layer.kind}
            if isinstance(layer.weights, EdgeWeights):
                about["edges"] = list(layer.weights.index_set.shape)
                arrays[f"{i}.indptr"] = layer.weights.index_set.indptr
                arrays[f"{i}.indices"] = layer.weights.index_set.indices
                arrays[f"{i}.values"] = layer.weights.values
            else:
                arrays[f"{i}.weights"] = layer.weights
                about["support"] = _support_out(f"{i}.support", layer.support, arrays)
            layers.append(about)
        about_all = {
            "schema": _SCHEMA,
            "layers": layers,
            "tokens": self.tokens,
            "sources": self.sources,
            "ids": self.ids,
            "provenance": dict(self.provenance),
        }
        try:
            arrays["about"] = np.array(json.dumps(about_all))
        except TypeError as error:
            raise DTypeError("provenance", str(error), "what JSON holds") from None
        with written(path, "npz") as file:
            np.savez_compressed(file, **cast("Any", arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttentionMaps:
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            InvalidArgumentError: No file of this kind, or a broken one.
            OSError: It cannot be read.
        """
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(str(arrays["about"]))
            if about["schema"] != _SCHEMA:
                raise InvalidArgumentError("path", f"schema {about['schema']} in {path}", f"schema {_SCHEMA}")
            layers = tuple(_layer_in(i, of, arrays) for i, of in enumerate(about["layers"]))
            names = {name: None if about[name] is None else tuple(about[name]) for name in ("tokens", "sources", "ids")}
            return cls(layers, **names, provenance=about["provenance"])
        except OSError:
            raise
        except InvalidArgumentError:
            raise
        except Exception as error:
            raise InvalidArgumentError(
                "path", f"{path}, which is broken: {error}", "a file that save() wrote"
            ) from error


def _support_out(name: str, support: Support, arrays: dict[str, npt.NDArray[Any]]) -> object:
    if isinstance(support, IndexSet):
        arrays[f"{name}.indptr"], arrays[f"{name}.indices"] = support.indptr, support.indices
        return {"set": list(support.shape)}
    if isinstance(support, np.ndarray):
        arrays[name] = support
        return {"array": True}
    return list(support) if isinstance(support, tuple) else support


def _layer_in(i: int, about: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> LayerMaps:
    if "edges" in about:
        index_set = IndexSet.from_csr(arrays[f"{i}.indptr"], arrays[f"{i}.indices"], about["edges"][1])
        return LayerMaps(about["name"], about["kind"], EdgeWeights(index_set, arrays[f"{i}.values"]))
    support: Any = about["support"]
    if isinstance(support, list):
        support = tuple(cast("list[Any]", support))
    elif isinstance(support, dict):
        of = cast("dict[str, Any]", support)
        name = f"{i}.support"
        support = (
            IndexSet.from_csr(arrays[f"{name}.indptr"], arrays[f"{name}.indices"], of["set"][1])
            if "set" in of
            else arrays[name]
        )
    return LayerMaps(about["name"], about["kind"], arrays[f"{i}.weights"], support)


def need_maps(maps: object) -> AttentionMaps:
    """`maps`, if it is."""
    if not isinstance(maps, AttentionMaps):
        raise DTypeError("maps", type(maps).__name__, "AttentionMaps")
    return maps
