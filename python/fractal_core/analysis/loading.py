"""Models and tokenizers by name or folder, and the device that they run on."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from fractal_core._arguments import flag, integer, real
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceManager", "ModelLoader", "need_transformers"]

_LOG = logging.getLogger("fractal_core.analysis")


def need_transformers() -> Any:  # noqa: ANN401
    """The module, or an ImportError that names the extra."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError('models need transformers: pip install "fractal-attn[hf]"') from error
    return transformers


class DeviceManager:
    """Where a model runs.

    Attributes:
        device: A `torch.device`.
        max_gpu_memory_gb: Most memory of a CUDA device that `get_device_config` lets a model take, in GiB.
    """

    device: torch.device

    def __init__(self, prefer_gpu: bool = True, max_gpu_memory_gb: float = 20, *, device: str | None = None) -> None:
        """Choose.

        Args:
            prefer_gpu: Take CUDA, XPU or MPS where torch has one; False is the CPU, whatever there is.
            max_gpu_memory_gb: Above 0.
            device: A device by name instead, which must be there.

        Raises:
            InvalidArgumentError: A device that is not there.
            DTypeError: An argument has no fitting type.
        """
        import torch

        wanted = flag("prefer_gpu", prefer_gpu)
        self.max_gpu_memory_gb = real("max_gpu_memory_gb", max_gpu_memory_gb)
        if not self.max_gpu_memory_gb > 0:
            raise InvalidArgumentError("max_gpu_memory_gb", max_gpu_memory_gb, "above 0")
        found = [name for name in ("cuda", "xpu", "mps") if _has(name)]
        if device is not None:
            kind = device.split(":", maxsplit=1)[0]
            if kind not in {"cpu", *found}:
                raise InvalidArgumentError("device", repr(device), ", ".join(["cpu", *found]))
            self.device = torch.device(device)
        else:
            self.device = torch.device(found[0] if wanted and found else "cpu")

    def get_device_config(self, model_size_params: SupportsIndex) -> dict[str, Any]:
        """Arguments of `from_pretrained` for a model of this many parameters: half precision on a GPU, none on the CPU.

        Raises:
            InvalidArgumentError: The weights alone take more than `max_gpu_memory_gb`.
        """
        import torch

        if self.device.type == "cpu":
            return {}
        size = 2 * integer("model_size_params", model_size_params, 0, 2**63 - 1)
        if size > self.max_gpu_memory_gb * 2**30:
            allowed = f"at most {self.max_gpu_memory_gb:g} GiB of weights; or DeviceManager(prefer_gpu=False)"
            raise InvalidArgumentError("model_size_params", model_size_params, allowed)
        return {"dtype": torch.float16}

    def log_memory_usage(self, stage: str = "") -> dict[str, int]:
        """Bytes that torch has allocated and reserved on a CUDA device, also to the debug log; nothing elsewhere."""
        import torch

        if self.device.type != "cuda":
            return {}
        found = {
            "allocated": torch.cuda.memory_allocated(self.device),
            "reserved": torch.cuda.memory_reserved(self.device),
        }
        _LOG.debug("%s: %s", stage or "memory", found)
        return found


def _has(kind: str) -> bool:
    import torch

    module = getattr(torch.backends, "mps", None) if kind == "mps" else getattr(torch, kind, None)
    return bool(module is not None and module.is_available())


class ModelLoader:
    """Loads a model in the class that it was saved as: no head is ever made up."""

    def __init__(self, device_manager: DeviceManager | None = None) -> None:
        """Choose where models go; the CPU by default."""
        self.device_manager = DeviceManager(prefer_gpu=False) if device_manager is None else device_manager

    def load_model(
        self, model_name: str | os.PathLike[str], force_eager_attention: bool = True, **model_kwargs: object
    ) -> tuple[Any, Any]:
        """A model and its tokenizer, or image processor.

        Args:
            model_name: A name of the hub, or a folder.
            force_eager_attention: Load it with attention that makes weights.
            model_kwargs: For `from_pretrained`; never left out after an error.

        Returns:
            The model, in evaluation mode and on the device, and what makes its inputs, or None where there is none.

        Raises:
            InvalidArgumentError: It cannot be loaded, or its class is unknown to transformers.
            ImportError: transformers is not installed.
        """
        transformers = need_transformers()
        if not isinstance(cast("object", model_name), (str, os.PathLike)):
            raise DTypeError("model_name", type(model_name).__name__, "a name, a folder, or a live model")
        where = os.fspath(model_name)
        eager = flag("force_eager_attention", force_eager_attention)
        wanted = {**({"attn_implementation": "eager"} if eager else {}), **model_kwargs}
        try:
            config = transformers.AutoConfig.from_pretrained(where)
            named = (getattr(config, "architectures", None) or [None])[0]
            kind = getattr(transformers, named, None) if named else None
            model = (kind or transformers.AutoModel).from_pretrained(where, **wanted)
        except (OSError, ValueError, KeyError) as error:
            raise InvalidArgumentError("model_name", repr(where), f"a model that can be loaded: {error}") from error
        processor: Any = None
        for maker in (transformers.AutoTokenizer, transformers.AutoImageProcessor):
            try:
                processor = maker.from_pretrained(where)
                break
            except (OSError, ValueError, KeyError, ImportError):
                continue
        return model.to(self.device_manager.device).eval(), processor
