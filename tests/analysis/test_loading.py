"""Models from folders: each as it is, and refused where it is not whole."""

from __future__ import annotations

import json
import shutil

import pytest
from fractal_core.analysis import DeviceManager, FractalAttentionAnalyzer, ModelLoader
from fractal_core.analysis.loading import estimate_model_size
from fractal_core.errors import DTypeError, InvalidArgumentError, ModelError

torch = pytest.importorskip("torch")

LOADER = ModelLoader(DeviceManager(prefer_gpu=False))


@pytest.mark.parametrize(
    ("kind", "loaded"),
    [
        ("gpt2", "GPT2LMHeadModel"),
        ("llama", "LlamaForCausalLM"),
        ("bert", "BertModel"),
        ("classifier", "BertForSequenceClassification"),
        ("t5", "T5Model"),
        ("vit", "ViTModel"),
        ("whisper", "WhisperModel"),
    ],
)
def test_each_kind_loads_as_it_is(kind, loaded, make, tmp_path):
    model = make(kind).train()
    model.save_pretrained(tmp_path)
    found, reader = LOADER.load_model(tmp_path)
    assert type(found).__name__ == loaded
    assert reader is None
    assert not found.training
    assert found.config._attn_implementation == "eager"
    name, value = next((n, p) for n, p in found.named_parameters() if "attention" in n.lower() or "attn" in n)
    own = dict(model.named_parameters())
    torch.testing.assert_close(value, own.get(name, own.get(f"model.{name}")))


def test_tokenizers_come_along(folder):
    model, tokenizer = LOADER.load_model(str(folder / "gpt2"))
    assert tokenizer.decode(tokenizer("The golden ratio")["input_ids"]) == "The golden ratio"
    assert model.device.type == "cpu"


def test_settings_go_to_the_model_as_they_are(folder):
    model, _ = LOADER.load_model(str(folder / "gpt2"), dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    fused, _ = LOADER.load_model(str(folder / "gpt2"), force_eager_attention=False)
    assert fused.config._attn_implementation == "sdpa"
    with pytest.raises(TypeError):
        LOADER.load_model(str(folder / "gpt2"), no_such_setting=1)


def test_sizes_are_counted_not_guessed(make):
    model = make("llama")
    config = model.config
    assert estimate_model_size(config) == sum(p.numel() for p in model.model.parameters())


def broken(folder, tmp_path, change):
    copy = tmp_path / "model"
    shutil.copytree(folder / "gpt2", copy)
    change(copy)
    return copy


def without(*keys):
    def change(copy):
        from safetensors.torch import load_file, save_file

        tensors = load_file(copy / "model.safetensors")
        kept = {name: t for name, t in tensors.items() if not any(key in name for key in keys)}
        save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})

    return change


def another_shape(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "n_embd": 64}))


CASES = {
    "no weights": lambda copy: (copy / "model.safetensors").unlink(),
    "cut weights": lambda copy: (copy / "model.safetensors").write_bytes(
        (copy / "model.safetensors").read_bytes()[:999]
    ),
    "noise": lambda copy: (copy / "model.safetensors").write_bytes(b"\0" * 512),
    "lost layer": without("h.1.attn"),
    "another shape": another_shape,
    "no configuration": lambda copy: (copy / "config.json").unlink(),
    "broken configuration": lambda copy: (copy / "config.json").write_text("{"),
    "unknown kind": lambda copy: (copy / "config.json").write_text('{"model_type": "abacus"}'),
    "broken tokenizer": lambda copy: (copy / "tokenizer.json").write_text("{"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_what_is_not_whole_is_refused(case, folder, tmp_path):
    with pytest.raises(ModelError, match="model"):
        FractalAttentionAnalyzer(broken(folder, tmp_path, CASES[case]))


def test_names_that_are_nowhere():
    with pytest.raises(ModelError, match="no-such-model"):
        FractalAttentionAnalyzer("no-such-model-anywhere")
    for wrong in (7, "", None):
        with pytest.raises(DTypeError, match="model_name"):
            FractalAttentionAnalyzer(wrong)


def test_settings_beside_a_live_model(make):
    with pytest.raises(InvalidArgumentError, match="model_kwargs"):
        FractalAttentionAnalyzer(make("gpt2"), dtype="float16")
