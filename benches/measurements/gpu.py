"""What one dispatch costs, against wgpu-py, on the same adapter; software adapters count, as nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from fractal_core import gpu
from fractal_core.bench.clock import SHORT, interleaved
from fractal_core.errors import GpuError

from benches.report.results import Row
from benches.settings import Settings

__all__ = ["dispatch"]

_VALUES = 64
_NAME, _WHAT, _PEER = "gpu-dispatch/wgpu-py", "a sum of 64 values that lie on the GPU, and the wait for it", "wgpu-py"
_BAR = 1 / 1.2
_WGSL = """
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@compute @workgroup_size(256) fn add(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < 64u { c[at.x] = a[at.x] + b[at.x]; }
}
"""


def dispatch(settings: Settings) -> Iterator[Row]:
    """Ours, with memory from the pool and every check, against a prepared pipeline and bind group of wgpu-py."""
    before = gpu.set_options(allow_software=True)
    try:
        yield _row(settings)
    except (ImportError, GpuError, IndexError) as error:
        yield Row(_NAME, _WHAT, _PEER, "x", bar=_BAR, note=f"{type(error).__name__}: {error}")
    finally:
        gpu.set_options(**before._asdict())


def _row(settings: Settings) -> Row:
    values = np.ones(_VALUES, np.float32)
    left, right = gpu.array(values), gpu.array(values)

    def ours() -> None:
        kept = gpu.add(left, right)
        gpu.synchronize()
        del kept

    times = interleaved({"ours": ours, "theirs": _theirs(values)}, settings.count(25), least=SHORT)
    note = f"on {gpu.device().name}; ours takes memory and checks its arguments, theirs has everything prepared"
    return Row.faster(_NAME, _WHAT, _PEER, times, theirs="theirs", bar=_BAR, note=note)


def _theirs(values: np.ndarray[Any, Any]) -> Callable[[], None]:
    """The same dispatch by wgpu-py."""
    wgpu: Any = import_module("wgpu")
    adapters: list[Any] = wgpu.gpu.enumerate_adapters_sync()
    name = gpu.device().name
    device = next(a for a in adapters if a.info["backend_type"] == "Vulkan" and a.info["device"] == name)
    device = device.request_device_sync()
    usage = wgpu.BufferUsage
    buffers = [device.create_buffer_with_data(data=values, usage=usage.STORAGE) for _ in range(3)]
    kinds = ("read-only-storage", "read-only-storage", "storage")
    visible = wgpu.ShaderStage.COMPUTE
    entries = [{"binding": i, "visibility": visible, "buffer": {"type": kind}} for i, kind in enumerate(kinds)]
    layout = device.create_bind_group_layout(entries=entries)
    module = device.create_shader_module(code=_WGSL)
    pipeline = device.create_compute_pipeline(
        layout=device.create_pipeline_layout(bind_group_layouts=[layout]),
        compute={"module": module, "entry_point": "add"},
    )
    bound = [{"binding": i, "resource": {"buffer": x, "offset": 0, "size": x.size}} for i, x in enumerate(buffers)]
    group = device.create_bind_group(layout=layout, entries=bound)

    def call() -> None:
        encoder = device.create_command_encoder()
        work = encoder.begin_compute_pass()
        work.set_pipeline(pipeline)
        work.set_bind_group(0, group)
        work.dispatch_workgroups(1)
        work.end()
        device.queue.submit([encoder.finish()])
        # Its public waits fail in 0.32.0: a callback of another type.
        device._poll_wait()

    return call
