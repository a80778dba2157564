"""Models with their tokenizers or processors, from a name or a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fractal_core._arguments import flag
from fractal_core.analysis.eager import EAGER
from fractal_core.errors import DTypeError, ModelError

try:
    import torch
    import transformers
except ImportError as error:
    raise ImportError(
        'loading a model needs torch and transformers, which are optional: pip install "fractal-attn[torch,hf]"'
    ) from error

from fractal_core.analysis.devices import DeviceManager

if TYPE_CHECKING:
    from collections.abc import Iterable

_OF_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
)
_OF_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_HUB = ("revision", "token", "cache_dir", "local_files_only", "trust_remote_code", "subfolder", "gguf_file")
_HEADS = ("pooler", "lm_head", "classifier", "score", "cls", "qa_outputs", "pre_classifier", "proj_out", "head")


class ModelLoader:
    """Loads models as they are: causal, encoder, encoder-decoder, vision or speech.

    Args:
        device_manager: Where they go; a `DeviceManager()` by default.
    """

    def __init__(self, device_manager: DeviceManager | None = None) -> None:
        self.device_manager = DeviceManager() if device_manager is None else device_manager

    def load_model(
        self,
        model_name: str | os.PathLike[str],
        force_eager_attention: bool = True,
        **model_kwargs: Any,  # noqa: ANN401
    ) -> tuple[Any, Any]:
        """A model in evaluation mode on its device, and its tokenizer or processor.

        Args:
            model_name: A name on the hub, a folder, or a `.gguf` file. Without a network, set `local_files_only=True`
                or the environment's `HF_HUB_OFFLINE`.
            force_eager_attention: Whether it is loaded with the attention that gives weights.
            **model_kwargs: For `from_pretrained`, as they are.

        Returns:
            The model, and a tokenizer; of images and sounds a processor; None where a folder has neither.

        Raises:
            ModelError: It does not load, or its file lacks weights that attention depends on.
            DTypeError: An argument has no fitting type.
        """
        flag("force_eager_attention", force_eager_attention)
        if not isinstance(model_name, (str, os.PathLike)) or not str(model_name):  # pyright: ignore
            raise DTypeError("model_name", repr(model_name), "a name, a folder or a .gguf file")
        name, settings = str(model_name), dict(model_kwargs)
        if name.endswith(".gguf") and Path(name).is_file():
            settings.setdefault("gguf_file", Path(name).name)
            name = str(Path(name).parent)
        hub = {key: value for key, value in settings.items() if key in _HUB}
        config = settings.pop("config", None) or _tried(name, transformers.AutoConfig.from_pretrained, name, **hub)
        if force_eager_attention:
            settings.setdefault("attn_implementation", EAGER)
        settings = {**self._sized(config), **settings}
        class_ = model_class(config)
        model, report = _tried(name, class_.from_pretrained, name, config=config, output_loading_info=True, **settings)
        _complete(name, report)
        model = model.to(self.device_manager.device) if "device_map" not in settings else model
        return model.eval(), _reader(name, model, hub)

    def _sized(self, config: Any) -> dict[str, Any]:  # noqa: ANN401
        if self.device_manager.device.type == "cpu":
            return {}
        return self.device_manager.get_device_config(estimate_model_size(config))


def estimate_model_size(config: Any) -> int:  # noqa: ANN401
    """Parameters of the model that a configuration describes, counted without making their memory.

    Raises:
        ModelError: The configuration describes no model.
    """
    with torch.device("meta"):
        model = _tried(type(config).__name__, transformers.AutoModel.from_config, config)
    return sum(int(parameter.numel()) for parameter in model.parameters())


def model_class(config: Any) -> Any:  # noqa: ANN401
    """The automatic class that a configuration asks for: with its head where the head is causal."""
    architectures: Iterable[str] = getattr(config, "architectures", None) or ()
    if getattr(config, "is_encoder_decoder", False):
        return transformers.AutoModel
    if any("CausalLM" in name or name.endswith("LMHeadModel") for name in architectures):
        return transformers.AutoModelForCausalLM
    if any("SequenceClassification" in name for name in architectures):
        return transformers.AutoModelForSequenceClassification
    return transformers.AutoModel


def _tried(name: str, call: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    try:
        return call(*args, **kwargs)
    except TypeError:
        raise
    except Exception as error:  # transformers, safetensors and the hub have errors of many kinds
        raise ModelError(f"{name} does not load: {type(error).__name__}: {error}") from error


def _complete(name: str, report: Any) -> None:  # noqa: ANN401
    missing = [key for key in report["missing_keys"] if not any(part in _HEADS for part in key.split("."))]
    wrong = [str(key) for key in report.get("mismatched_keys", ())]
    if missing or wrong:
        listed = ", ".join(sorted([*missing, *wrong])[:3])
        raise ModelError(
            f"{name} lacks {len(missing)} weights and has {len(wrong)} of another shape, such as {listed}; allowed: a "
            "complete model, since attention of random weights is none"
        )


def _reader(name: str, model: Any, hub: dict[str, Any]) -> Any:  # noqa: ANN401
    """The tokenizer or processor of a model; None where its folder has none."""
    hub = {key: value for key, value in hub.items() if key != "subfolder" or value}
    main = str(getattr(model, "main_input_name", "input_ids"))
    auto = {
        "input_ids": (transformers.AutoTokenizer, _OF_TOKENIZERS),
        "pixel_values": (transformers.AutoImageProcessor, _OF_PROCESSORS),
    }.get(main, (transformers.AutoProcessor, _OF_PROCESSORS))
    folder = Path(name)
    if folder.is_dir() and "gguf_file" not in hub and not any((folder / file).is_file() for file in auto[1]):
        return None
    return _tried(name, auto[0].from_pretrained, name, **hub)
