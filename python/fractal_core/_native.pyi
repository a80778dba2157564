# The compiled extension. `make lint` holds this stub to the binary; docstrings live with the public wrappers.
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "IndexSet",
    "attention_backward",
    "attention_forward",
    "cantor_points",
    "digit_offsets",
    "dragon_turns",
    "dragon_vertices",
    "hilbert_decode",
    "hilbert_encode",
    "morton_decode",
    "morton_encode",
]

@final
class IndexSet:
    @staticmethod
    def from_csr(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_keys: int) -> IndexSet: ...
    @staticmethod
    def from_offsets(offsets: NDArray[np.int64], n_queries: int, n_keys: int, q_offset: int) -> IndexSet: ...
    @property
    def handle(self) -> NDArray[np.int64]: ...
    @property
    def n_keys(self) -> int: ...
    @property
    def n_queries(self) -> int: ...
    @property
    def nnz(self) -> int: ...

def attention_forward(
    q: NDArray[np.generic],
    k: NDArray[np.generic],
    v: NDArray[np.generic],
    key: int,
    dtype: str,
    scale: float,
    key_bias: NDArray[np.floating] | None = None,
    edge_bias: NDArray[np.floating] | None = None,
    key_padding: NDArray[np.bool_] | None = None,
    dropout_p: float = 0.0,
    seed: int = 0,
    executor: str = "rayon",
) -> tuple[NDArray[np.generic], NDArray[np.floating]]: ...
def attention_backward(
    dout: NDArray[np.generic],
    q: NDArray[np.generic],
    k: NDArray[np.generic],
    v: NDArray[np.generic],
    out: NDArray[np.generic],
    lse: NDArray[np.floating],
    key: int,
    dtype: str,
    scale: float,
    key_bias: NDArray[np.floating] | None = None,
    edge_bias: NDArray[np.floating] | None = None,
    key_padding: NDArray[np.bool_] | None = None,
    dropout_p: float = 0.0,
    seed: int = 0,
    executor: str = "rayon",
    dlse: NDArray[np.floating] | None = None,
) -> tuple[
    NDArray[np.generic],
    NDArray[np.generic],
    NDArray[np.generic],
    NDArray[np.floating] | None,
    NDArray[np.floating] | None,
]: ...
def hilbert_encode(coords: NDArray[np.int64] | NDArray[np.uint64], order: int) -> NDArray[np.uint64]: ...
def hilbert_decode(index: NDArray[np.int64] | NDArray[np.uint64], order: int, ndim: int) -> NDArray[np.uint64]: ...
def morton_encode(coords: NDArray[np.int64] | NDArray[np.uint64], order: int) -> NDArray[np.uint64]: ...
def morton_decode(index: NDArray[np.int64] | NDArray[np.uint64], order: int, ndim: int) -> NDArray[np.uint64]: ...
def dragon_turns(n: int) -> NDArray[np.int8]: ...
def dragon_vertices(n: int) -> NDArray[np.int64]: ...
def cantor_points(depth: int) -> NDArray[np.float64]: ...
def digit_offsets(n: int, base: int, digits: list[int]) -> NDArray[np.int64]: ...
