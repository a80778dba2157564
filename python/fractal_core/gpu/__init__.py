"""Any GPU through Vulkan, Metal or Direct3D 12: what there is, its memory, and arrays that stay on it.

Nothing here, and nothing else in the package, opens a device until a call needs one. An adapter that computes on the
CPU (Mesa's llvmpipe, Windows' WARP) is slower than the package's own CPU kernels and is used only where that is
allowed, by `set_options(allow_software=True)` or `FRACTAL_CORE_ALLOW_SOFTWARE=1`, and never by `device="auto"`. Before
a family of kernels is first used, it is held against its CPU twins; an adapter that computes wrong is refused.

Results are read-only NumPy arrays over the GPU's own memory: where CPU and GPU share memory nothing is copied, and
elsewhere the GPU copies once. `x.copy()` is an array to write to.

Functions that take `device=` (fields, codecs, attention) run on the GPU with `device="gpu"`, and with "auto" where
they are expected to take less time; `last_route()` and `explain_route()` say where that is, and why.
"""

from __future__ import annotations

from fractal_core.gpu.array import GpuArray, array
from fractal_core.gpu.device import (
    Adapter,
    Counts,
    Device,
    Memory,
    adapters,
    counts,
    device,
    kernels,
    memory,
    reset,
    synchronize,
    trim,
    warmup,
)
from fractal_core.gpu.elementwise import add, gelu, multiply, relu
from fractal_core.gpu.extension import built
from fractal_core.gpu.ops import BoxCounts, box_counts, box_sums, matmul, pairwise_distance, softmax, token_density
from fractal_core.gpu.options import Options, options, set_options
from fractal_core.gpu.route import Route, explain_route, last_route

__all__ = [
    "Adapter",
    "BoxCounts",
    "Counts",
    "Device",
    "GpuArray",
    "Memory",
    "Options",
    "Route",
    "adapters",
    "add",
    "array",
    "box_counts",
    "box_sums",
    "built",
    "counts",
    "device",
    "explain_route",
    "gelu",
    "kernels",
    "last_route",
    "matmul",
    "memory",
    "multiply",
    "options",
    "pairwise_distance",
    "relu",
    "reset",
    "set_options",
    "softmax",
    "synchronize",
    "token_density",
    "trim",
    "warmup",
]
