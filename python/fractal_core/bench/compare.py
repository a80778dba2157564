"""Sparse attention against dense, masked and FlexAttention at one size, each pair of calls in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from fractal_core import _native
from fractal_core._torch.threads import reason
from fractal_core.bench.case import HEADS, WIDTH, Case
from fractal_core.bench.clock import SHORT, Spread, interleaved, stays_faster
from fractal_core.bench.peers import Attend, PeerError, causal, dense, flex, masked
from fractal_core.errors import FractalError, InvalidArgumentError, OutOfMemoryError
from fractal_core.index_sets import IndexSet

__all__ = ["DTYPES", "MASKED_UP_TO", "PEERS", "Compared", "Problem", "Scan", "against", "running", "scan"]

PEERS = ("dense", "masked", "flex")
DTYPES = {str(x).removeprefix("torch."): x for x in (torch.float32, torch.float64, torch.bfloat16, torch.float16)}
MASKED_UP_TO = 16_384
"""Tokens above which no dense mask is made: there it takes 256 MiB, and SDPA's copy of it in floats more."""

_LARGEST = 2**31 - 1
_SHORTEST = 64


@dataclass(frozen=True)
class Problem:
    """What is measured, besides the pattern.

    Attributes:
        n: Queries and keys, at least 1.
        heads: H, at least 1.
        dim: D of queries, keys and values, at least 1.
        dtype: A name out of `DTYPES`.
        causal: Leave out the keys after each query, in the pattern and in dense attention.
        backward: The gradients of q, k and v too.
        rounds: Timings of each pair of calls after one that warms up, at least 1.
    """

    n: int = 4096
    heads: int = HEADS
    dim: int = WIDTH
    dtype: str = "float32"
    causal: bool = False
    backward: bool = False
    rounds: int = 9

    def __post_init__(self) -> None:
        for name in ("n", "heads", "dim", "rounds"):
            if not 1 <= getattr(self, name) <= _LARGEST:
                raise InvalidArgumentError(name, getattr(self, name), f"1 ..= {_LARGEST}")
        if self.dtype not in DTYPES:
            raise InvalidArgumentError("dtype", repr(self.dtype), f"one of {', '.join(DTYPES)}")

    @property
    def direction(self) -> str:
        """The passes that are timed."""
        return "forward + backward" if self.backward else "forward"

    def case(self, index_set: IndexSet) -> Case:
        """Inputs for a set.

        Raises:
            OutOfMemoryError: torch has no memory for them.
        """
        try:
            return Case(index_set, self.heads, self.dim, DTYPES[self.dtype])
        except RuntimeError as error:
            size = f"{index_set.n_keys} tokens, {self.heads} heads of {self.dim}"
            raise OutOfMemoryError("n", size, "a size whose q, k and v fit into memory") from error


@dataclass(frozen=True)
class Compared:
    """Ours against one peer.

    Attributes:
        name: One of `PEERS`.
        peer: What it is.
        ratio: How many times as long the peer takes; None where it was not measured.
        ours_ms: Median of ours, milliseconds.
        peer_ms: Median of the peer, milliseconds.
        note: Why it was not measured.
    """

    name: str
    peer: str
    ratio: Spread | None = None
    ours_ms: float | None = None
    peer_ms: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        value, low, high = self.ratio or (None, None, None)
        return {**asdict(self), "ratio": value, "low": low, "high": high}


@dataclass(frozen=True)
class Scan:
    """Ours against dense attention by length.

    Attributes:
        lengths: In increasing order.
        ratios: How many times as long dense attention takes, at each of them.
        without: Lengths that the pattern refuses.
    """

    lengths: tuple[int, ...]
    ratios: tuple[float, ...]
    without: tuple[int, ...] = ()

    @property
    def crossover(self) -> int | None:
        """The first of the lengths from which on ours is faster at all of them; None if there is none."""
        return stays_faster(self.lengths, self.ratios)


def running() -> dict[str, object]:
    """What runs our calls from torch: the SIMD level, the number of threads, and whose they are."""
    return {"simd": _native.thread_info()["simd"], "threads": torch.get_num_threads(), "executor": reason()}


def against(problem: Problem, index_set: IndexSet, name: str) -> Compared:
    """Measures ours and one peer in turn. A peer that cannot run here is a result that says why.

    Args:
        problem: The size.
        index_set: Of n queries and n keys.
        name: One of `PEERS`.

    Raises:
        FractalError: Ours refuses the problem.
    """
    title = {
        "dense": "SDPA, is_causal=True" if problem.causal else "SDPA dense",
        "masked": "SDPA with the mask",
        "flex": "FlexAttention, compiled",
    }[name]
    case = problem.case(index_set)
    make = case.training if problem.backward else case.forward
    ours = make(case.ours)
    ours()
    try:
        theirs = make(_attend(name, problem, index_set))
        times = interleaved({"ours": ours, "theirs": theirs}, problem.rounds, least=SHORT)
    except PeerError as error:
        return Compared(name, title, note=str(error))
    except (RuntimeError, MemoryError) as error:  # torch's own refusals, of a dtype or for want of memory
        first = " ".join(str(error).strip().splitlines()[:1])
        return Compared(name, title, note=f"{type(error).__name__}: {first}")
    return Compared(name, title, times.ratio("ours", "theirs"), times.ms("ours"), times.ms("theirs"))


def _attend(name: str, problem: Problem, index_set: IndexSet) -> Attend:
    if name == "dense":
        return causal if problem.causal else dense
    listed = name == "masked" or index_set.offsets is None
    if listed and problem.n > MASKED_UP_TO:
        raise PeerError(f"a dense mask of {problem.n} × {problem.n} is not made: above {MASKED_UP_TO} tokens")
    return masked(index_set) if name == "masked" else flex(index_set.to_block_mask())


def scan(problem: Problem, make: Callable[[int], IndexSet], last: float) -> Scan:
    """Measures against dense attention at lengths that double from 64 on, up to the problem's own.

    Args:
        problem: The size; its own length is not measured again.
        make: The pattern's set of a length.
        last: The ratio to dense attention at the problem's length.

    Raises:
        FractalError: Ours refuses the problem.
    """
    found: dict[int, float] = {}
    without: list[int] = []
    n = _SHORTEST
    while n < problem.n:
        try:
            index_set = make(n)
        except FractalError:
            without.append(n)
        else:
            ratio = against(replace(problem, n=n), index_set, "dense").ratio
            if ratio is not None:
                found[n] = ratio.value
        n *= 2
    found[problem.n] = last
    return Scan(tuple(found), tuple(found.values()), tuple(without))
