"""What adapters there are, the device that is used, and its memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, SupportsIndex

from fractal_core import _native
from fractal_core._arguments import integer
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.gpu.extension import built, need

__all__ = [
    "Adapter",
    "Counts",
    "Device",
    "Memory",
    "adapters",
    "counts",
    "device",
    "device_info",
    "devices",
    "kernels",
    "memory",
    "reset",
    "synchronize",
    "trim",
    "warmup",
]


class Adapter(NamedTuple):
    """A GPU, or what passes for one, as its driver describes it."""

    number: int
    """Its place in the list, the best first."""
    name: str
    kind: str
    """"discrete", "integrated", "virtual", "other" or "software"."""
    api: str
    """"vulkan", "metal" or "dx12"."""
    driver: str
    rejected: str | None
    """Why it is not used; None where it may be."""


class Device(NamedTuple):
    """The device that is used."""

    number: int
    name: str
    kind: str
    api: str
    driver: str
    generation: int
    """How many devices this process had before."""
    unified_memory: bool
    """Whether the CPU reads results where the GPU wrote them."""
    subgroup_size: tuple[int, int] | None
    """Fewest and most invocations that run in lockstep, where kernels can use that."""
    float16: bool
    timestamps: bool
    buffer_bytes: int
    """The largest array."""
    binding_bytes: int
    """The largest part of an array that a kernel sees at once."""


class Memory(NamedTuple):
    """What the memory pool has counted; sizes are bytes."""

    allocated: int
    """Blocks in use."""
    requested: int
    """What was asked for when they were taken."""
    cached: int
    """Blocks that are kept for later."""
    mapped: int
    """Results that somebody holds and that lie in the GPU's memory."""
    peak: int
    """The most that blocks in use and kept ones ever were together."""
    hits: int
    """Requests that a kept block served."""
    misses: int
    """Requests that a new block served."""
    freed: int
    """Blocks that were freed."""
    internal_fragmentation: float
    """Share of the blocks in use that nobody asked for, 0 to 1."""
    external_fragmentation: float
    """Share of all blocks that nobody uses, 0 to 1."""


class Counts(NamedTuple):
    """What the device has done so far."""

    submissions: int
    dispatches: int
    pipelines: int
    uploaded: int
    """Bytes that the CPU copied to it."""
    staged: int
    """Bytes that it copied to be read, where a result could not be read in place."""


def adapters() -> tuple[Adapter, ...]:
    """Every adapter, best first, with why it is not used. Opens no device.

    Raises:
        GpuUnavailableError: A build without the GPU.
        GpuError: The driver layer failed.
    """
    need()
    return tuple(Adapter(**found) for found in _native.gpu_adapters())


def device() -> Device:
    """The device that is used, opened if none is.

    Raises:
        GpuUnavailableError: There is none that may be used; the message says why.
        GpuError: Opening it failed.
    """
    need()
    return Device(**_native.gpu_device())


def memory() -> Memory:
    """What the memory pool has counted; zeros where no device is open, which this does not change."""
    need()
    return Memory(**_native.gpu_memory())


def counts() -> Counts:
    """What the device has done so far; zeros where none is open, which this does not change."""
    need()
    return Counts(**_native.gpu_counts())


def trim(keep: SupportsIndex = 0) -> None:
    """Frees memory that is kept for later, what was used longest ago first.

    Args:
        keep: Bytes that may stay.

    Raises:
        GpuDeviceLostError: The device is gone.
    """
    need()
    _native.gpu_trim(integer("keep", keep, 0, 2**63))


def synchronize() -> None:
    """Waits until the GPU has done everything that was asked of it; calls on arrays that stay there do not wait.

    Raises:
        GpuTimeoutError: It does not finish in time.
        GpuDeviceLostError: The device is gone.
    """
    need()
    _native.gpu_wait()


def reset() -> None:
    """Gives the device up and frees its memory; arrays that lie there are lost. The next call opens it anew.

    Results that were handed out as NumPy arrays stay readable.
    """
    need()
    _native.gpu_destroy()


def warmup(kernels: Iterable[str] | None = None) -> tuple[str, ...]:
    """Compiles kernels and holds each against its CPU twin, which its first use would do.

    Args:
        kernels: Names of families, such as "elementwise"; all when None.

    Returns:
        The names.

    Raises:
        InvalidArgumentError: An unknown name.
        GpuUnavailableError: No adapter, or one that computes wrong; the message says what differed.
    """
    need()
    if isinstance(kernels, str):
        raise DTypeError("kernels", repr(kernels), "an iterable of names")
    return tuple(_native.gpu_warmup(None if kernels is None else list(kernels)))


def kernels() -> tuple[str, ...]:
    """Names of the families of kernels, as `warmup` takes them."""
    need()
    return tuple(_native.gpu_families())


def devices() -> tuple[str, ...]:
    """What `device=` can be on this machine: "cpu", and "gpu" where an adapter may be used. Opens no device."""
    usable = built() and any(found.rejected is None for found in adapters())
    return ("cpu", "gpu") if usable else ("cpu",)


def device_info(device: str = "gpu") -> dict[str, object]:
    """What a device is, by name: the processor, or the GPU, which is opened.

    Args:
        device: "cpu" or "gpu".

    Returns:
        For "cpu" `device`, `name`, `threads` and `simd`; for "gpu" `device` and the fields of `fc.gpu.Device`.

    Raises:
        InvalidArgumentError: Another name.
        GpuUnavailableError: There is no GPU that may be used; the message says why.
    """
    if device == "cpu":
        import platform

        native = _native.thread_info()
        return {"device": "cpu", "name": platform.machine(), "threads": native["threads"], "simd": native["simd"]}
    if device == "gpu":
        need()
        return {"device": "gpu", **_native.gpu_device()}
    raise InvalidArgumentError("device", repr(device), '"cpu" or "gpu"')
