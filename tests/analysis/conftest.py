"""Small models with random weights, and a tokenizer of a few words: made here, so that nothing is downloaded."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SENTENCE = (
    "the golden ratio appears in nature and mathematics . a quick brown fox jumps over lazy dogs while rivers run"
)
WORDS = SENTENCE.split()


def _causal(**more):
    return {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 40, "max_position_embeddings": 128, "bos_token_id": 0,
            "eos_token_id": 1, **more}  # fmt: skip


def _encoder(**more):
    return {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "vocab_size": 40, "max_position_embeddings": 128, **more}  # fmt: skip


def build(name: str):
    """A model with random weights, the same at every call."""
    torch, t = pytest.importorskip("torch"), pytest.importorskip("transformers")
    t.logging.set_verbosity_error()
    torch.manual_seed(0)
    made = {
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(n_layer=2, n_head=3, n_embd=48, vocab_size=40, n_positions=128,
                                                      bos_token_id=0, eos_token_id=1)),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**_causal())),
        "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**_causal(sliding_window=9))),
        "gemma3": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(**_causal(num_hidden_layers=6, head_dim=8,
                                                                          sliding_window=9))),
        "bert": lambda: t.BertModel(t.BertConfig(**_encoder())),
        "distilbert": lambda: t.DistilBertModel(t.DistilBertConfig(n_layers=2, n_heads=2, dim=16, hidden_dim=16,
                                                                  vocab_size=40, max_position_embeddings=128)),
        "bart": lambda: t.BartModel(t.BartConfig(encoder_layers=2, decoder_layers=3, encoder_attention_heads=2,
                                                 decoder_attention_heads=2, d_model=16, encoder_ffn_dim=16,
                                                 decoder_ffn_dim=16, vocab_size=40, max_position_embeddings=128)),
        "t5": lambda: t.T5Model(t.T5Config(num_layers=2, num_heads=2, d_model=16, d_kv=8, d_ff=16, vocab_size=40)),
        "vit": lambda: t.ViTModel(t.ViTConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                                              num_attention_heads=2, image_size=48, patch_size=8)),
        "mamba": lambda: t.MambaForCausalLM(t.MambaConfig(num_hidden_layers=1, hidden_size=16, vocab_size=40)),
    }  # fmt: skip
    return made[name]().eval()


@pytest.fixture(scope="session")
def model():
    """Builds models by name."""
    return build


@pytest.fixture(scope="session")
def tokenizer():
    """One token a word."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", "<pad>", "<unk>", *dict.fromkeys(WORDS)])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>",
                                                bos_token="<s>", eos_token="</s>")  # fmt: skip


@pytest.fixture(scope="session")
def text():
    """Eighty words."""
    return " ".join((WORDS * 5)[:80])


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tokenizer):
    """A causal model and its tokenizer in a folder."""
    path = tmp_path_factory.mktemp("models") / "gpt2"
    build("gpt2").save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def packaged():
    """Folders of real models that come in packages, by name, each made once by a process of its own."""
    kept = Path(__file__).parents[2] / "out" / "models"

    @cache
    def folder_of(name: str) -> str:
        command = [sys.executable, str(Path(__file__).with_name("packaged.py")), str(kept), name]
        made = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        if "make test-models installs it" in made.stderr:
            pytest.skip(f"the package of {name} is not installed: `make test-models` installs it")
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    return folder_of
