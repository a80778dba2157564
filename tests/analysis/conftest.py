"""Tiny models with random weights, and a tokenizer trained on text that Python ships: nothing is loaded from afar."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

WITH_MODELS = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "tokenizers"))
NEED_MODELS = [
    f"test_{name}.py"
    for name in ("analyzer", "capture", "faithfulness", "generation", "interop", "loading", "page", "wrong_models")
]
collect_ignore = [] if WITH_MODELS else NEED_MODELS


@pytest.fixture(scope="session", autouse=WITH_MODELS)
def _quiet():
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def tokenizer():
    import pydoc_data.topics

    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["\n".join(pydoc_data.topics.topics.values())[:150_000]], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")


SMALL = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GQA = {**SMALL, "intermediate_size": 32, "num_key_value_heads": 2}


def _gpt2(**changed):
    import transformers as t

    given = {"vocab_size": 600, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, **changed}
    return t.GPT2LMHeadModel(t.GPT2Config(**given, bos_token_id=0, eos_token_id=0))


def _makers():
    import transformers as t

    seq = {"vocab_size": 600, "d_model": 32, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    bart = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    return {
        "gpt2": _gpt2,
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GQA)),
        "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**GQA)),
        "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**GQA, sliding_window=8)),
        "gemma3": lambda: t.Gemma3ForCausalLM(
            t.Gemma3TextConfig(
                **{**GQA, "num_hidden_layers": 3},
                head_dim=8,
                sliding_window=8,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            )
        ),
        "gptneo": lambda: t.GPTNeoForCausalLM(
            t.GPTNeoConfig(
                vocab_size=600,
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                window_size=8,
                attention_types=[[["global", "local"], 1]],
            )
        ),
        "bert": lambda: t.BertModel(t.BertConfig(**SMALL, intermediate_size=32)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**SMALL, intermediate_size=32, max_position_embeddings=66)),
        "modernbert": lambda: t.ModernBertModel(
            t.ModernBertConfig(
                **{**SMALL, "num_hidden_layers": 3},
                intermediate_size=32,
                local_attention=8,
                **ends,
                cls_token_id=3,
                sep_token_id=4,
            )
        ),
        "classifier": lambda: t.BertForSequenceClassification(t.BertConfig(**SMALL, intermediate_size=32)),
        "bart": lambda: t.BartForConditionalGeneration(
            t.BartConfig(**seq, **bart, encoder_ffn_dim=32, decoder_ffn_dim=32)
        ),
        "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(**seq, d_kv=8, d_ff=32, num_layers=2, num_heads=4)),
        "vit": lambda: t.ViTModel(
            t.ViTConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=32,
                image_size=32,
                patch_size=4,
            )
        ),
        "whisper": lambda: t.WhisperForConditionalGeneration(
            t.WhisperConfig(
                vocab_size=600,
                d_model=32,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_source_positions=50,
                num_mel_bins=8,
                **ends,
                decoder_start_token_id=3,
                suppress_tokens=None,
                begin_suppress_tokens=None,
            )
        ),
        "mamba": lambda: t.MambaModel(t.MambaConfig(vocab_size=600, hidden_size=16, num_hidden_layers=1)),
    }


@pytest.fixture(scope="session")
def make():
    """A new tiny model by its kind, the same weights every time."""
    import torch

    makers = _makers()

    def made(kind: str, **changed):
        torch.manual_seed(7)
        return makers[kind](**changed).eval()

    return made


@pytest.fixture(scope="session")
def ids():
    return np.random.default_rng(3).integers(5, 595, 40)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, make, tokenizer):
    """A folder with the models that the seed's README names."""
    found = tmp_path_factory.mktemp("models")
    for name, layers in (("gpt2", 2), ("distilgpt2", 1), ("meta-llama/Llama-3.2-1B", 2)):
        model = make("gpt2", n_layer=layers) if "gpt2" in name else make("llama")
        model.save_pretrained(found / name)
        tokenizer.save_pretrained(found / name)
    return found
