"""Attention of live models: the weights that the model itself gives, on the cells that it has, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import capture, capture_batch
from fractal_core.errors import InvalidArgumentError, ModelError, ShapeError

torch = pytest.importorskip("torch")

LAYERS = {
    "gpt2": [("layer 0", "causal", "causal"), ("layer 1", "causal", "causal")],
    "llama": [("layer 0", "causal", "causal"), ("layer 1", "causal", "causal")],
    "qwen2": [("layer 0", "causal", "causal"), ("layer 1", "causal", "causal")],
    "mistral": [("layer 0", "causal", ("causal_window", 7)), ("layer 1", "causal", ("causal_window", 7))],
    "gemma3": [
        ("layer 0", "causal", ("causal_window", 7)),
        ("layer 1", "causal", "causal"),
        ("layer 2", "causal", ("causal_window", 7)),
    ],
    "gptneo": [("layer 0", "causal", "causal"), ("layer 1", "causal", ("causal_window", 7))],
    "bert": [("layer 0", "encoder", "full"), ("layer 1", "encoder", "full")],
    "roberta": [("layer 0", "encoder", "full"), ("layer 1", "encoder", "full")],
    "modernbert": [
        ("layer 0", "encoder", "full"),
        ("layer 1", "encoder", ("window", 4)),
        ("layer 2", "encoder", ("window", 4)),
    ],
    "bart": [
        ("encoder 0", "encoder", "full"),
        ("encoder 1", "encoder", "full"),
        ("decoder 0", "decoder", "causal"),
        ("cross 0", "cross", "full"),
    ],
    "t5": [
        ("encoder 0", "encoder", "full"),
        ("encoder 1", "encoder", "full"),
        ("decoder 0", "decoder", "causal"),
        ("decoder 1", "decoder", "causal"),
        ("cross 0", "cross", "full"),
        ("cross 1", "cross", "full"),
    ],
}
SEQ = ("bart", "t5")


def own_weights(model, ids, **more):
    """What the model says with eager attention, layer after layer as LAYERS has them."""
    model.set_attn_implementation("eager")
    tensors = {"input_ids": torch.as_tensor(ids)[None], **more}
    with torch.no_grad():
        found = model(**tensors, output_attentions=True)
    names = ("encoder_attentions", "decoder_attentions", "attentions", "cross_attentions")
    return [w[0].numpy() for name in names for w in getattr(found, name, None) or ()]


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_weights_are_the_models_own_on_its_cells(kind, make, ids):
    maps = capture(make(kind), ids)
    assert [(layer.name, layer.kind, layer.support) for layer in maps.layers] == LAYERS[kind]
    more = {"decoder_input_ids": torch.as_tensor(maps.target_ids)[None]} if kind in SEQ else {}
    own = own_weights(make(kind), ids, **more)
    for layer, weights in zip(maps.layers, own, strict=True):
        np.testing.assert_array_equal(layer.weights, weights)
        assert layer.weights.dtype == np.float32
    np.testing.assert_array_equal(maps.ids, ids)


@pytest.mark.parametrize("kind", ["mistral", "gemma3", "gptneo", "modernbert"])
def test_windows_are_as_wide_as_said(kind, make, ids):
    """Weights reach the end of the window, so a narrower one would be wrong, too."""
    away = np.abs(np.arange(40) - np.arange(40)[:, None])
    for layer in capture(make(kind), ids).layers:
        if isinstance(layer.support, tuple):
            assert away[(layer.weights > 0).any(axis=0)].max() == layer.support[1]


def test_fused_models_are_switched_and_put_back(make, ids):
    for kind in ("llama", "gemma3", "bert", "bart"):
        model = make(kind)
        model.set_attn_implementation("sdpa")
        before = [(m, m.config._attn_implementation) for m in model.modules() if hasattr(m, "config")]
        maps = capture(model, ids)
        assert maps.provenance["attention_implementation"] == "sdpa"
        assert maps.provenance["read_with"] == "eager"
        assert {was for _, was in before} == {"sdpa"}
        assert [m.config._attn_implementation for m, _ in before] == [was for _, was in before]


def test_fused_models_are_refused_where_switching_is_not_allowed(make, ids):
    model = make("llama")
    model.set_attn_implementation("sdpa")
    with pytest.raises(ModelError, match="sdpa, which gives no weights"):
        capture(model, ids, switch=False)
    assert model.config._attn_implementation == "sdpa"


def test_a_pass_that_fails_leaves_the_model_as_it_was(make, ids):
    model = make("llama").train()
    model.set_attn_implementation("sdpa")
    model.model.layers[1].mlp.forward = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        capture(model, ids)
    assert model.config._attn_implementation == "sdpa"
    assert all(module.training for module in model.modules())


def test_dropout_of_a_model_in_training_does_not_show(make, ids):
    model = make("gpt2", attn_pdrop=0.5)
    calm = capture(model, ids)
    model.train()
    model.transformer.h[0].eval()
    again = capture(model, ids)
    for a, b in zip(calm.layers, again.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
    assert model.training
    assert not model.transformer.h[0].training


def test_one_forward_pass_for_all_layers_and_heads(make, ids):
    model = make("gpt2")
    calls = []
    model.transformer.register_forward_hook(lambda *_: calls.append(1))
    capture_batch(model, [ids, ids[:9]])
    assert calls == [1]


def test_no_gradient_is_kept(make, ids):
    model = make("gpt2")
    capture(model, ids)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", ["gpt2", "gemma3", "bert", "modernbert", "bart", "t5"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_cut_away(kind, side, make, ids):
    model = make(kind)
    short = ids[:17]
    pad = np.zeros(23, np.int64)
    row, mask = (
        (np.r_[short, pad], np.r_[np.ones(17), pad])
        if side == "right"
        else (np.r_[pad, short], np.r_[pad, np.ones(17)])
    )
    batch = {"input_ids": np.stack([ids, row]), "attention_mask": np.stack([np.ones(40), mask]).astype(np.int64)}
    if side == "left":
        if kind in {"bert", "gpt2", "bart"}:  # positions count from the left, padding or not
            batch["position_ids"] = np.stack([np.arange(40), np.maximum(np.arange(40) - 23, 0)])
        if kind == "bart":
            pytest.skip("takes no positions")
    alone = capture(model, short)
    whole, padded = capture_batch(model, batch)
    assert [layer.support for layer in padded.layers] == [layer.support for layer in alone.layers]
    for a, b in zip(padded.layers, alone.layers, strict=True):
        np.testing.assert_allclose(a.weights, b.weights, atol=2e-6)
    np.testing.assert_array_equal(padded.ids, short)
    assert whole.layers[0].shape == (40, 40)


def test_texts_of_several_lengths_are_padded_here(make, ids):
    maps = capture_batch(make("bert"), [ids, ids[:9], ids[:23]])
    assert [m.layers[0].shape for m in maps] == [(40, 40), (9, 9), (23, 23)]
    np.testing.assert_allclose(maps[1].layers[0].weights, capture(make("bert"), ids[:9]).layers[0].weights, atol=2e-6)


def test_a_hole_in_the_mask_keeps_distances(make, ids):
    mask = np.ones((1, 40), np.int64)
    mask[0, 10:14] = 0
    maps = capture(make("gemma3"), {"input_ids": ids[None], "attention_mask": mask})
    window, full = maps.layers[0].support, maps.layers[1].support
    assert full == "causal"
    assert maps.layers[0].shape == (36, 36)
    kept = np.r_[0:10, 14:40]
    away = kept[:, None] - kept
    np.testing.assert_array_equal(window, (away >= 0) & (away <= 7))


def test_targets_of_a_decoder(make, ids):
    model = make("t5")
    maps = capture(model, ids, target=ids[:7])
    assert [layer.shape for layer in maps.layers if layer.kind == "cross"] == [(7, 40)] * 2
    np.testing.assert_array_equal(maps.target_ids, np.r_[0, ids[:6]])
    own = own_weights(make("t5"), ids, decoder_input_ids=torch.as_tensor(maps.target_ids)[None])
    np.testing.assert_array_equal(maps.layer("cross 1").weights, own[-1])


def test_images_have_a_grid(make):
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = capture_batch(make("vit"), {"pixel_values": pixels})[1]
    assert maps.grid == (8, 8)
    assert maps.tokens[:2] == ("[CLS]", "0,0")
    assert maps.tokens[-1] == "7,7"
    assert [(layer.kind, layer.shape) for layer in maps.layers] == [("vision", (65, 65))] * 2


def test_sound(make):
    features = np.random.default_rng(0).normal(size=(1, 8, 100)).astype(np.float32)
    maps = capture(make("whisper"), {"input_features": features, "decoder_input_ids": [[3, 7, 9]]})
    assert [(layer.name, layer.shape) for layer in maps.layers] == [
        ("encoder 0", (50, 50)),
        ("decoder 0", (3, 3)),
        ("cross 0", (3, 50)),
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_widths(dtype, make, ids):
    maps = capture(make("llama").to(dtype), ids)
    assert maps.layers[0].weights.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert maps.provenance["dtype"] == str(dtype).removeprefix("torch.")


def test_learned_sinks_take_their_share(ids):
    transformers = pytest.importorskip("transformers")
    config = transformers.GptOssConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    )
    torch.manual_seed(0)
    maps = capture(transformers.GptOssForCausalLM(config).eval(), ids)
    sums = maps.layers[1].weights.sum(axis=-1)
    assert sums.max() <= 1 + 1e-3
    assert sums.min() < 0.99
    assert [layer.support for layer in maps.layers] == [("causal_window", 7), "causal"]


def test_words_of_byte_level_tokens(make, tokenizer):
    text = "naïve 🙂 text\n"
    maps = capture(make("gpt2"), text, tokenizer)
    joined = "".join(maps.tokens)
    assert "<f0>" in joined or "<f0><9f>" in joined
    assert joined.startswith("na")
    assert "Ġ" not in joined
    assert maps.tokens == tuple(maps.tokens)


def test_a_model_without_attention_is_refused(make, ids):
    with pytest.raises(ModelError):
        capture(make("mamba"), ids)


def test_a_layer_without_weights_is_refused(make, ids):
    model = make("gpt2")
    model.transformer.h[1].attn.register_forward_hook(lambda module, args, output: (output[0], None))
    with pytest.raises(ModelError, match=r"no weights|all 2"):
        capture(model, ids)


def test_a_wrong_account_of_the_cells_is_refused(make, ids):
    with pytest.raises(InvalidArgumentError, match="outside of the support"):
        capture(make("gpt2"), ids, support=("causal_window", 3))
    with pytest.raises(InvalidArgumentError, match="outside of the support"):
        capture(make("bert"), ids, support={"layer 1": "causal"})
    assert capture(make("gpt2"), ids, support="full").layers[0].support == "full"


def test_batches_of_the_wrong_size(make, ids):
    with pytest.raises(InvalidArgumentError, match="capture_batch"):
        capture(make("gpt2"), [ids, ids])
    with pytest.raises(ShapeError, match="attention_mask"):
        capture(make("gpt2"), {"input_ids": ids[None], "attention_mask": np.ones((1, 9), np.int64)})
