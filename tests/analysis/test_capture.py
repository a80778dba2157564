"""The attention of every kind of model, from one forward pass."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import AttentionMaps, capture, capture_batch
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

CAUSAL = {"gpt2": "causal", "llama": "causal", "mistral": ("causal_window", 8)}


def ids(n=40, batch=1):
    return torch.randint(2, 40, (batch, n), generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "bert", "distilbert"])
def test_weights_are_the_models_own(model, name):
    net = model(name)
    assert net.config._attn_implementation == "sdpa"
    maps = capture(net, {"input_ids": ids()})
    assert net.config._attn_implementation == "sdpa"
    net.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = net(input_ids=ids(), output_attentions=True).attentions
    assert [layer.name for layer in maps] == ["layer 0", "layer 1"]
    for layer, weights in zip(maps, wanted, strict=True):
        assert np.array_equal(layer.weights, weights[0].numpy())
        assert layer.support == CAUSAL.get(name, "full")
        assert layer.kind == ("causal" if name in CAUSAL else "encoder")
    assert maps.provenance["attention"] == "sdpa"
    assert maps.provenance["versions"]["transformers"]


def test_a_window_in_some_layers(model):
    maps = capture(model("gemma3"), {"input_ids": ids()})
    assert [layer.support for layer in maps] == [("causal_window", 8)] * 5 + ["causal"]
    short = capture(model("gemma3"), {"input_ids": ids(9)})
    assert {layer.support for layer in short} == {"causal"}


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_encoder_decoder_and_what_lies_between(model, name):
    net = model(name)
    maps = capture(net, {"input_ids": ids(20), "decoder_input_ids": ids(13)})
    kinds = [layer.kind for layer in maps]
    decoders = kinds.count("decoder")
    assert kinds == ["encoder"] * 2 + ["decoder"] * decoders + ["cross"] * decoders
    assert [maps.of(kind).layers[0].shape for kind in ("encoder", "decoder", "cross")] == [(20, 20), (13, 13), (13, 20)]
    assert [maps.of(kind).layers[0].support for kind in ("encoder", "decoder", "cross")] == ["full", "causal", "full"]


def test_an_image(model):
    maps = capture(model("vit"), {"pixel_values": torch.randn(1, 3, 48, 48)})
    assert {layer.kind for layer in maps} == {"vision"}
    assert maps.layers[0].shape == (37, 37)
    assert maps.ids is None


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_padding_is_left_out(model, name, side):
    net, n = model(name), 12
    long, short = ids(n, 2), ids(n - 4)
    padded = long.clone()
    mask = torch.ones(2, n, dtype=torch.long)
    at = slice(0, 4) if side == "left" else slice(n - 4, n)
    kept = slice(4, n) if side == "left" else slice(0, n - 4)
    padded[1, at], padded[1, kept], mask[1, at] = 2, short[0], 0
    inputs = {"input_ids": padded, "attention_mask": mask}
    if side == "left":
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    found = capture_batch(net, inputs)
    assert [maps.layers[0].shape for maps in found] == [(n, n), (n - 4, n - 4)]
    alone = capture(net, {"input_ids": short})
    for a, b in zip(found[1], alone, strict=True):
        assert np.allclose(a.weights, b.weights, rtol=0, atol=1e-5)
        assert a.support == b.support
    assert found[1].ids == tuple(short[0].tolist())


def test_half_precision_and_double(model):
    assert capture(model("llama").double(), {"input_ids": ids()}).layers[0].weights.dtype == np.float64
    assert capture(model("llama").bfloat16(), {"input_ids": ids()}).layers[0].weights.dtype == np.float32


def test_the_mode_and_gradients_are_put_back(model):
    net = model("gpt2").train()
    capture(net, {"input_ids": ids()})
    assert net.training
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_model_without_attention_is_refused_and_stays_as_it_was(model):
    with pytest.raises(InvalidArgumentError, match="MambaForCausalLM, which gives no attention weights"):
        capture(model("mamba"), {"input_ids": ids()})


def test_an_error_of_the_model_is_the_models(model):
    net = model("gpt2")
    with pytest.raises(IndexError):
        capture(net, {"input_ids": torch.full((1, 4), 99)})
    assert net.config._attn_implementation == "sdpa"


class Silent(torch.nn.Module):
    """Says that its attention is fused, and cannot switch."""

    def __init__(self, weights):
        super().__init__()
        self.config = type("Config", (), {"_attn_implementation": weights})()

    def forward(self, **_):
        return {"attentions": (None, torch.ones(1, 1, 2, 2) / 2)}


def test_fused_attention_that_cannot_be_eager_is_refused():
    with pytest.raises(InvalidArgumentError, match="flash_attention_2 attention, which makes no weights"):
        capture(Silent("flash_attention_2"), {"input_ids": ids()})
    with pytest.raises(InvalidArgumentError, match="layer 0 of attentions gives no weights"):
        capture(Silent("eager"), {})


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda m: capture(m, {"input_ids": ids(5, 2)}), InvalidArgumentError, "inputs"),
        (lambda m: capture("gpt2", {}), DTypeError, "model"),
        (lambda m: capture(m, {"input_ids": ids(5)}, tokens=["a"]), ShapeError, "tokens"),
        (lambda m: capture(m, {"input_ids": ids(5)}).layer(2), KeyIndexError, "layer"),
        (lambda m: capture(m, {"input_ids": ids(5)}).layer("layer 9"), KeyIndexError, "layer"),
        (lambda m: capture(m, {"input_ids": ids(5)}).layers[0].head(3), KeyIndexError, "head"),
        (lambda m: capture(m, {"input_ids": ids(5)}).of("cross"), InvalidArgumentError, "kind"),
    ],
)
def test_what_is_refused(model, call, error, argument):
    with pytest.raises(error) as found:
        call(model("gpt2"))
    assert found.value.argument == argument


def test_maps_survive_a_file(model, tmp_path):
    for name in ("mistral", "bart"):
        given = {"input_ids": ids(20)} | ({"decoder_input_ids": ids(13)} if name == "bart" else {})
        maps = capture(model(name), given, tokens=[str(i) for i in range(20 if name == "mistral" else 13)])
        path = tmp_path / f"{name}.npz"
        maps.save(path)
        again = AttentionMaps.load(path)
        assert again.tokens == maps.tokens
        assert again.provenance == dict(maps.provenance)
        for a, b in zip(again, maps, strict=True):
            assert (a.name, a.kind, a.support) == (b.name, b.kind, b.support)
            assert np.array_equal(a.weights, b.weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bart.npz", "mistral.npz"]
