"""Index sets to and from FlexAttention's `BlockMask`, without a dense mask. Imports torch when called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core import _native
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["natives_from_block_mask", "to_block_mask"]

_PAIRS = 2**24
"""Pairs of partial blocks that `mask_mod` is asked about at once."""


def to_block_mask(native: _native.IndexSet, block_size: tuple[int, int], device: str) -> BlockMask:
    """The `BlockMask` of an index set; see `IndexSet.to_block_mask`."""
    from torch.nn.attention.flex_attention import BlockMask

    bits = None
    if native.offsets is None:
        (indptr, columns, full), bits = native.occupied_with_bits(block_size)
    else:
        indptr, columns, full = native.occupied(block_size)
    rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    shape = (indptr.size - 1, -(-native.n_keys // block_size[1]))
    if bits is None:
        inside = _by_distance(native, device)
    else:
        inside = _by_block(native, block_size, shape, (rows, columns, full, bits), device)
    return BlockMask.from_kv_blocks(
        *_listed(rows[~full], columns[~full], shape, device),
        *_listed(rows[full], columns[full], shape, device),
        BLOCK_SIZE=block_size,
        mask_mod=inside,
        seq_lengths=(native.n_queries, native.n_keys),
    )


def _listed(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int32], shape: tuple[int, int], device: str
) -> tuple[Tensor, Tensor]:
    """(1, 1, rows) int32 numbers of blocks and (1, 1, rows, columns) int32 blocks, those that are not in behind."""
    import torch

    counts = np.bincount(rows, minlength=shape[0])
    behind = np.ones(shape, dtype=bool)
    behind[rows, columns] = False
    order = np.argsort(behind, axis=1, kind="stable")
    numbers, blocks = (torch.from_numpy(array.astype(np.int32))[None, None].to(device) for array in (counts, order))
    return numbers, blocks


# torch compiles a look into a table in seconds, and an unrolled search of a row in minutes.


def _by_distance(native: _native.IndexSet, device: str) -> Callable[..., Tensor]:
    """Whether a pair is in a set of offsets: a table over query − key."""
    import torch

    assert native.offsets is not None
    n_queries, n_keys = native.n_queries, native.n_keys
    last_query, last_key = max(n_queries - 1, 0), max(n_keys - 1, 0)
    distances = native.offsets - native.q_offset
    held = np.zeros(last_key + 1 + last_query, dtype=bool)
    held[distances[(-last_key <= distances) & (distances <= last_query)] + last_key] = True
    table = torch.from_numpy(held).to(device)

    def attends(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        inside = (query < n_queries) & (key < n_keys)  # a last block may reach beyond the ends
        return inside & table[query.clamp(max=last_query) - key.clamp(max=last_key) + last_key]

    return attends


def _by_block(
    native: _native.IndexSet,
    block_size: tuple[int, int],
    shape: tuple[int, int],
    blocks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.uint8]],
    device: str,
) -> Callable[..., Tensor]:
    """Whether a pair is in a set of lists or runs: the place of its block, and in a partial block a bit."""
    import torch

    rows, columns, full, packed = blocks
    (queries, keys), width = block_size, -(-block_size[1] // 8)
    none, all_in = -2, -1
    at = np.full(shape, none, dtype=np.int32)
    at[rows[full], columns[full]] = all_in
    at[rows[~full], columns[~full]] = np.arange(np.count_nonzero(~full))
    # A row more, so that there is something to look into in a set without partial blocks, or without any.
    packed = np.append(packed, np.zeros(queries * width, np.uint8))
    places, bits = (torch.from_numpy(a).to(device) for a in (np.pad(at, (0, 1), constant_values=none), packed))
    n_queries, n_keys = native.n_queries, native.n_keys
    last_query, last_key = max(n_queries - 1, 0), max(n_keys - 1, 0)

    def attends(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        inside = (query < n_queries) & (key < n_keys)  # a last block may reach beyond the ends
        query, key = query.clamp(max=last_query), key.clamp(max=last_key)
        place = places[query // queries, key // keys]
        row = place.clamp(min=0).long() * queries + query % queries
        bit = (bits[row * width + key % keys // 8].int() >> (key % 8)) & 1 != 0
        return inside & ((place == all_in) | ((place >= 0) & bit))

    return attends


def natives_from_block_mask(block_mask: BlockMask) -> list[list[_native.IndexSet]]:
    """The index sets of a `BlockMask` by batch entry and head; see `IndexSet.from_block_mask`."""
    from torch.nn.attention.flex_attention import BlockMask

    if not isinstance(block_mask, BlockMask):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("block_mask", type(block_mask).__name__, "a BlockMask of torch's flex_attention")
    batch, heads = (int(size) for size in block_mask.kv_num_blocks.shape[:-1])
    return [[_of_entry(block_mask, b, h) for h in range(heads)] for b in range(batch)]


def _of_entry(block_mask: BlockMask, batch: int, head: int) -> _native.IndexSet:
    size = (int(block_mask.BLOCK_SIZE[0]), int(block_mask.BLOCK_SIZE[1]))
    n_queries, n_keys = (int(length) for length in block_mask.seq_lengths)
    rows, columns = -(-n_queries // size[0]), -(-n_keys // size[1])
    if block_mask.kv_num_blocks.shape[-1] != rows:
        given = f"{block_mask.kv_num_blocks.shape[-1]} rows of blocks"
        raise ShapeError("block_mask", given, f"{rows}, blocks of {size} for {n_queries} queries")
    partial = _pairs(block_mask.kv_num_blocks, block_mask.kv_indices, (batch, head))
    full = _pairs(block_mask.full_kv_num_blocks, block_mask.full_kv_indices, (batch, head))
    blocks = np.concatenate([partial, full])
    is_full = np.repeat([False, True], [len(partial), len(full)])
    order = np.lexsort((blocks[:, 1], blocks[:, 0]))
    blocks, is_full = blocks[order], is_full[order]
    twice = np.flatnonzero((blocks[1:] == blocks[:-1]).all(axis=1))
    if twice.size:
        raise InvalidArgumentError("block_mask", f"block {tuple(blocks[twice[0]].tolist())} twice", "each block once")
    outside = blocks[:, 1][(blocks[:, 1] < 0) | (blocks[:, 1] >= columns)]
    if outside.size:
        raise KeyIndexError("block_mask", f"block {outside[0]} of keys", f"0 <= block < {columns}")
    inside = _evaluated(block_mask, blocks[~is_full], size, (n_queries, n_keys), (batch, head))
    indptr = np.searchsorted(blocks[:, 0], np.arange(rows + 1))
    return _native.IndexSet.from_blocks(
        size, indptr, np.ascontiguousarray(blocks[:, 1]), is_full, inside, (n_queries, n_keys)
    )


def _pairs(counts: Tensor | None, columns: Tensor | None, entry: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(blocks, 2) int64: row and column of each listed block."""
    if counts is None or columns is None:
        return np.zeros((0, 2), dtype=np.int64)
    import torch

    listed = columns[entry].cpu()
    held = torch.arange(listed.shape[1]) < counts[entry][:, None].cpu()
    rows, places = held.nonzero(as_tuple=True)
    return torch.stack([rows, listed[rows, places].long()], dim=1).numpy()


def _evaluated(
    block_mask: BlockMask,
    blocks: npt.NDArray[np.int64],
    size: tuple[int, int],
    shape: tuple[int, int],
    entry: tuple[int, int],
) -> npt.NDArray[np.bool_]:
    """(blocks, queries, keys) bool: what `mask_mod` says inside of partial blocks; beyond the ends it is not asked."""
    import torch

    device = block_mask.kv_num_blocks.device
    asked: Any = block_mask.mask_mod
    for dims in ((None, None, None, 0), (None, None, 0, None), (None, None, 0, 0)):
        asked = torch.vmap(asked, in_dims=dims)
    batch, head = (torch.full((), number, dtype=torch.int64, device=device) for number in entry)
    inside = np.zeros((len(blocks), *size), dtype=bool)
    step = max(1, _PAIRS // (size[0] * size[1]))
    for first in range(0, len(blocks), step):
        part = torch.from_numpy(blocks[first : first + step]).to(device)
        query, key = (
            (part[:, axis, None] * size[axis] + torch.arange(size[axis], device=device)).clamp(max=shape[axis] - 1)
            for axis in (0, 1)
        )
        inside[first : first + step] = asked(batch, head, query, key).cpu().numpy()
    return inside
