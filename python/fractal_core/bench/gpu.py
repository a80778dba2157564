"""Each kernel on the GPU: by the device's own clock, on arrays that stay there, and from NumPy to NumPy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fractal_core import _native, curves, fields, gpu
from fractal_core.bench.clock import interleaved
from fractal_core.errors import InvalidArgumentError
from fractal_core.index_sets import IndexSet

__all__ = ["KERNELS", "Timed", "Tried", "copied", "measure", "try_families"]

_SIDES = (512, 1024, 2048)
_HEADS, _LENGTH, _WIDTH, _RADIUS = 4, 4096, 64, 64
_POINTS, _STEPS = 1024, 256
_ORDER = 16
_C = complex(-0.7, 0.27)
_TRIAL = 1 << 14


@dataclass(frozen=True)
class Timed:
    """One kernel at one size; medians in milliseconds.

    Attributes:
        kernel: Its name.
        size: What it was given.
        device_ms: Of the kernels alone, by the device's clock; None where it has none.
        resident_ms: A call on arrays that stay on the GPU, and the wait for it; None where there is no such call.
        end_ms: From NumPy arrays, or torch's, to such arrays.
        cpu_ms: The same on the CPU.
        cpu: By what.
        bytes: What the kernel reads and writes at least.
        flops: Multiplications and additions.
    """

    kernel: str
    size: str
    device_ms: float | None
    resident_ms: float | None
    end_ms: float
    cpu_ms: float
    cpu: str
    bytes: float
    flops: float

    @property
    def gbytes(self) -> float | None:
        """1e9 bytes a second of the device's own time."""
        return self.bytes / self.device_ms / 1e6 if self.device_ms else None

    @property
    def gflops(self) -> float | None:
        """1e9 operations a second of the device's own time; None for what only moves data."""
        return self.flops / self.device_ms / 1e6 if self.device_ms and self.flops else None

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {**asdict(self), "gbytes": self.gbytes, "gflops": self.gflops}


@dataclass(frozen=True)
class Tried:
    """A family of shaders on one problem, whose results agreed with those of its CPU twins.

    Attributes:
        family: Its name.
        size: About how many values, points or pairs the problem has.
        device_ms: Of all its shaders, by the device's clock; the median; None where it has none.
        twins_ms: Of the twins, on one thread of the CPU; the median.
    """

    family: str
    size: int
    device_ms: float | None
    twins_ms: float

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Case:
    kernel: str
    size: str
    resident: Callable[[], object] | None
    end: Callable[[], object]
    on_cpu: Callable[[], object]
    cpu: str
    moved: float
    flops: float = 0.0


def _elementwise(name: str) -> Iterator[_Case]:
    for side in _SIDES:
        inputs = [np.random.default_rng(i).standard_normal((side, side), dtype=np.float32) for i in range(2)]
        inputs = inputs[:1] if name == "relu" else inputs
        op: Callable[..., object] = getattr(gpu, name)
        twin: Callable[..., object] = {"add": np.add, "multiply": np.multiply, "relu": _relu}[name]
        there = [gpu.array(x) for x in inputs]
        moved = (len(inputs) + 1) * inputs[0].nbytes
        yield _Case(name, f"{side}²", _of(op, there), _of(op, inputs), _of(twin, inputs), "NumPy", moved, side**2)


def _relu(x: np.ndarray) -> object:
    return np.maximum(x, 0)


def _of(op: Callable[..., object], arguments: Sequence[object]) -> Callable[[], object]:
    return lambda: op(*arguments)


def _matmul() -> Iterator[_Case]:
    for side in _SIDES:
        inputs = [np.random.default_rng(i).standard_normal((side, side), dtype=np.float32) for i in range(2)]
        there = [gpu.array(x) for x in inputs]
        calls = _of(gpu.matmul, there), _of(gpu.matmul, inputs), _of(np.matmul, inputs)
        yield _Case("matmul", f"{side}²", *calls, "NumPy", 12.0 * side**2, 2.0 * side**3)


def _julia() -> Iterator[_Case]:
    points = fields.grid((_POINTS, _POINTS)).astype(np.complex64)
    there = gpu.array(points.view(np.float32).reshape(-1, 2))

    def resident() -> object:
        return _native.gpu_escape_resident(there.buffer, _C, _STEPS, 16.0, True)

    def run(device: str) -> object:
        return fields.julia_escape(points, _C, _STEPS, device=device)

    size = f"{_POINTS}², {_STEPS} steps"
    yield _Case("Julia", size, resident, lambda: run("gpu"), lambda: run("cpu"), "ours", 12.0 * points.size)


def _hilbert() -> Iterator[_Case]:
    n = 1 << 20
    coords = np.random.default_rng(0).integers(0, 1 << _ORDER, (n, 2), dtype=np.uint32)
    there = gpu.array(coords)

    def resident() -> object:
        return _native.gpu_encode_resident("hilbert", there.buffer, 2, _ORDER)

    def run(device: str) -> object:
        return curves.hilbert_encode(coords, _ORDER, device=device)

    yield _Case("Hilbert encode", "2²⁰ points", resident, lambda: run("gpu"), lambda: run("cpu"), "ours", 16.0 * n)


def _attention() -> Iterator[_Case]:
    import torch

    from fractal_core.bench.case import Case
    from fractal_core.nn import sparse_attention

    index_set = IndexSet.from_offsets(range(-_RADIUS, _RADIUS + 1), _LENGTH, _LENGTH)
    case = Case(index_set, _HEADS, _WIDTH)
    arrays = [x.detach().numpy() for x in (case.q, case.k, case.v)]
    there = [gpu.array(x) for x in arrays]
    moved = 4.0 * arrays[0].nbytes

    def attend(device: str) -> Callable[..., torch.Tensor]:
        def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return sparse_attention(q, k, v, index_set, device=device)

        return call

    def resident() -> object:
        shapes = [list(x.shape) for x in there]
        key = int(index_set.handle[0])
        return _native.gpu_attention_resident([x.buffer for x in there], shapes, key, _WIDTH**-0.5)

    size = f"±{_RADIUS}, n = {_LENGTH}, {_HEADS} × {_WIDTH}"
    ends = [case.forward(attend(device)) for device in ("gpu", "cpu")]
    yield _Case("attention", size, resident, ends[0], ends[1], "ours", moved, float(case.flops))
    ends = [case.backward(attend(device)) for device in ("gpu", "cpu")]
    yield _Case("attention, backward", size, None, ends[0], ends[1], "ours", 2 * moved, 2.5 * case.flops)


KERNELS: dict[str, Callable[[], Iterator[_Case]]] = {
    "add": lambda: _elementwise("add"),
    "multiply": lambda: _elementwise("multiply"),
    "relu": lambda: _elementwise("relu"),
    "matmul": _matmul,
    "attention": _attention,
    "julia": _julia,
    "hilbert": _hilbert,
}
"""The kernels by name; each has one size or more."""


def copied(rounds: int = 5, nbytes: int = 64 << 20) -> float:
    """1e9 bytes a second that the device reads and writes as it copies an array, the best of some."""
    array = gpu.array(np.zeros(nbytes // 4, np.float32))

    def copy() -> None:
        _native.gpu_copy(array.buffer)
        gpu.synchronize()

    copy()
    return 2 * nbytes / min(_seconds(copy) for _ in range(rounds)) / 1e9


def measure(names: Sequence[str] = (), rounds: int = 5) -> Iterator[Timed]:
    """Times kernels, one size after the other, each call in turn with its peer on the CPU.

    Args:
        names: Out of `KERNELS`; all when empty.
        rounds: How often each is timed, at least 1.

    Raises:
        InvalidArgumentError: An unknown name.
        GpuError: No GPU that may be used, or one that failed.
    """
    for name in names:
        if name not in KERNELS:
            raise InvalidArgumentError("kernel", repr(name), f"one of {', '.join(KERNELS)}")
    for name in KERNELS if not names else [name for name in KERNELS if name in names]:
        for case in KERNELS[name]():
            yield _timed(case, rounds)


def try_families(rounds: int = 5, size: int = _TRIAL) -> Iterator[Tried]:
    """Every family that the extension lists, on a problem of a size: each is compared with its twins and timed.

    Raises:
        GpuError: No GPU that may be used, one that failed, or one that computes a family wrong.
    """
    for family in gpu.kernels():
        twins: list[float] = []

        def call(family: str = family, twins: list[float] = twins) -> None:
            twins.append(_native.gpu_try(family, size))

        call()
        twins.clear()
        on_device = _by_the_device(call, rounds)
        if on_device is None:
            for _ in range(rounds):
                call()
        yield Tried(family, size, on_device, 1e3 * statistics.median(twins))


def _timed(case: _Case, rounds: int) -> Timed:
    calls = {"end": case.end, "cpu": case.on_cpu}
    if case.resident is not None:
        resident = case.resident

        def waited() -> None:
            kept = resident()
            gpu.synchronize()
            del kept

        calls["resident"] = waited
    times = interleaved(calls, rounds)
    return Timed(
        case.kernel,
        case.size,
        _by_the_device(calls.get("resident", case.end), rounds),
        times.ms("resident") if "resident" in times else None,
        times.ms("end"),
        times.ms("cpu"),
        case.cpu,
        case.moved,
        case.flops,
    )


def _by_the_device(call: Callable[[], object], rounds: int) -> float | None:
    """Milliseconds of a call by the device's own clock; the median."""
    if not _native.gpu_time(True):
        return None
    try:
        _native.gpu_timed()
        found: list[float] = []
        for _ in range(rounds):
            call()
            found.append(_native.gpu_timed())
    finally:
        _native.gpu_time(False)
    return 1e3 * statistics.median(found)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
