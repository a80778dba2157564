"""Where a model runs, and with how much memory."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from fractal_core._arguments import INT64_MAX, flag, integer, real
from fractal_core.errors import InvalidArgumentError

try:
    import torch
except ImportError as error:
    raise ImportError(
        'DeviceManager needs torch, which is an optional dependency: pip install "fractal-attn[torch]"'
    ) from error

_LOG = logging.getLogger("fractal_core.analysis")
_GB = 1 << 30


class DeviceManager:
    """The device of a model.

    Args:
        prefer_gpu: Whether an accelerator (CUDA, XPU, MPS) is taken where there is one.
        max_gpu_memory_gb: Most memory for the weights on it, in GiB, above 0.
        device: A device by name, such as "cpu" or "cuda:0", in place of the choice; "auto" chooses.

    Raises:
        InvalidArgumentError: A device that is not there, or memory outside of its range.
        DTypeError: An argument has no fitting type.
    """

    def __init__(self, prefer_gpu: bool = True, max_gpu_memory_gb: float = 20, *, device: str = "auto") -> None:
        self.prefer_gpu = flag("prefer_gpu", prefer_gpu)
        self.max_gpu_memory_gb = real("max_gpu_memory_gb", max_gpu_memory_gb)
        if not 0 < self.max_gpu_memory_gb < float("inf"):
            raise InvalidArgumentError("max_gpu_memory_gb", max_gpu_memory_gb, "above 0, finite")
        self.device = _chosen(device, prefer_gpu=self.prefer_gpu)

    def get_device_config(self, model_size_params: int) -> dict[str, Any]:
        """What `from_pretrained` is to be told for a model of this many parameters.

        Args:
            model_size_params: Parameters, 1 or more.

        Returns:
            `{}` on the CPU and where float32 fits; `{"dtype": torch.float16}` where only half the width does.

        Raises:
            InvalidArgumentError: The weights do not fit at half the width, either.
        """
        size = integer("model_size_params", model_size_params, 1, INT64_MAX)
        if self.device.type == "cpu" or 4 * size <= self.max_gpu_memory_gb * _GB:
            return {}
        if 2 * size > self.max_gpu_memory_gb * _GB:
            most = int(self.max_gpu_memory_gb * _GB) // 2
            raise InvalidArgumentError("model_size_params", size, f"at most {most} in {self.max_gpu_memory_gb:g} GiB")
        return {"dtype": torch.float16}

    @staticmethod
    def log_memory_usage(stage: str = "") -> dict[str, Any]:
        """Logs, and returns, the memory in use: of the process and of each CUDA device, in bytes.

        The logger is "fractal_core.analysis", the level INFO.
        """
        found: dict[str, Any] = {"stage": stage, "process_bytes": _resident(), "cuda_bytes": []}
        if torch.cuda.is_available():
            found["cuda_bytes"] = [torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count())]
        _LOG.info("memory %s: process %s bytes, CUDA %s", stage, found["process_bytes"], found["cuda_bytes"])
        return found


def _chosen(device: object, *, prefer_gpu: bool) -> torch.device:
    there = _there()
    if device == "auto":
        return torch.device(next(iter(there), "cpu") if prefer_gpu else "cpu")
    allowed = f"auto, cpu{''.join(f', {name}' for name in there)}"
    try:
        found = torch.device(str(device))
    except RuntimeError:
        raise InvalidArgumentError("device", repr(device), allowed) from None
    if found.type != "cpu" and (found.type not in there or (found.index or 0) >= there[found.type]):
        raise InvalidArgumentError("device", repr(device), f"{allowed}: what this machine has")
    return found


def _there() -> dict[str, int]:
    """Accelerators that torch can use here, with how many there are of each."""
    found: dict[str, int] = {}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.device_count()
    if torch.xpu.is_available():
        found["xpu"] = torch.xpu.device_count()
    if torch.backends.mps.is_available():
        found["mps"] = 1
    return found


def _resident() -> int | None:
    """Bytes of the process in memory; None where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return None
    import resource

    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
