"""The tools themselves: what they hold becomes our maps with the numbers they have, and what we give them they show."""

from __future__ import annotations

import json
import re
from importlib import import_module

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import capture, faithfulness, from_bertviz, from_cache, measure, to_bertviz, token_scores
from fractal_core.analysis.adapters import view

torch = pytest.importorskip("torch")

# What other packages warn of is theirs.
pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore")]

IDS = torch.arange(2, 26)[None]


def tool(name):
    """The package, or a test that is skipped."""
    return pytest.importorskip(name, reason=f"{name} is not installed: `make test-models` installs it")


@pytest.fixture
def offline(monkeypatch):
    """Nothing may be asked of a hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(import_module("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)


def loaded(folder, kind="AutoModelForCausalLM"):
    """A real model with eager attention, and its tokenizer."""
    transformers = tool("transformers")
    return (
        getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


def same(maps, others, atol=0.0):
    assert len(maps) == len(others) > 0
    for one, other in zip(maps, others, strict=True):
        assert one.support == other.support
        np.testing.assert_allclose(one.weights, other.weights, rtol=0, atol=atol)


def shown(page):
    """What a page of BertViz draws: the parameters of its script."""
    found = re.search(r"const params = (\{.*?\}); *(?://.*)?$", page, re.MULTILINE)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("which", ["head", "model"])
def test_bertviz_draws_the_weights(model, which, kind):
    tool("bertviz")
    words = [f"w{i}" for i in range(24)]
    maps = capture(model(kind), {"input_ids": IDS}, tokens=words)
    params = shown(view(maps, which, html_action="return").data)
    (drawn,) = params["attention"]
    assert drawn["left_text"] == drawn["right_text"] == words
    assert params["include_layers"] == [0, 1]
    for weights, layer in zip(drawn["attn"], maps, strict=True):
        np.testing.assert_array_equal(np.array(weights, np.float32), layer.weights)


def test_bertviz_draws_chosen_layers_of_an_encoder_with_a_decoder(model):
    bertviz = tool("bertviz")
    maps = capture(model("bart"), {"input_ids": IDS, "decoder_input_ids": IDS[:, :7]}, tokens=list("abcdefg"))
    attention, words = to_bertviz(maps.of("decoder"))
    page = bertviz.head_view(attention, words, include_layers=[1, 2], html_action="return").data
    drawn = shown(page)["attention"][0]["attn"]
    np.testing.assert_array_equal(np.array(drawn[1], np.float32), maps.of("decoder").layers[2].weights)


def test_bertvizs_list_is_what_a_model_gives(model):
    net = model("gpt2")
    net.set_attn_implementation("eager")
    with torch.no_grad():
        attention = net(input_ids=IDS, output_attentions=True).attentions
    same(from_bertviz(attention), capture(model("gpt2"), {"input_ids": IDS}))


def test_bertviz_draws_a_real_language_model_and_a_real_encoder(packaged):
    tool("bertviz")
    text = "The capital of France is"
    for name, kind in (("smollm2", "AutoModelForCausalLM"), ("minilm", "AutoModel")):
        net, tokenizer = loaded(packaged(name), kind)
        inputs = tokenizer(text, return_tensors="pt")
        maps = capture(net, inputs, tokens=tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()))
        (drawn,) = shown(view(maps, html_action="return").data)["attention"]
        assert "France" in [word.strip().capitalize() for word in drawn["left_text"]]
        assert np.shape(drawn["attn"]) == (len(maps), maps.layers[0].heads, *maps.layers[0].shape)
        np.testing.assert_array_equal(np.array(drawn["attn"][-1], np.float32), maps.layers[-1].weights)


def bridge(folder, **more):
    """TransformerLens' model of a folder; since its version 4 that takes the place of HookedTransformer."""
    lens = tool("transformer_lens")
    return lens.TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32, **more)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_transformer_lens_runs_with_a_cache(model, tokenizer, tmp_path, offline, kind):
    tool("transformer_lens")
    net = model(kind)
    net.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    own = capture(net, {"input_ids": IDS})
    _, cache = bridge(tmp_path).run_with_cache(IDS)
    assert type(cache).__name__ == "ActivationCache"
    maps = from_cache(cache, [f"w{i}" for i in range(24)])
    same(maps, own, atol=1e-6)
    assert maps.tokens is not None
    for layer in range(2):
        assert np.array_equal(maps.layers[layer].weights, cache["pattern", layer][0].numpy())
    ours, theirs = (measure(found, ["D1", "entropy"])["value"] for found in (own, maps))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    # Only some hooks, as a plain dictionary.
    _, few = bridge(tmp_path).run_with_cache(
        IDS, names_filter=lambda name: name.endswith("pattern"), return_cache_object=False
    )
    assert isinstance(few, dict)
    same(from_cache(few), maps)


def test_transformer_lens_runs_a_real_language_model(packaged, offline):
    tool("transformer_lens")
    folder = packaged("smollm2")
    net, tokenizer = loaded(folder)
    ids = tokenizer("The capital of France is Paris, and that of Italy is", return_tensors="pt")["input_ids"]
    _, cache = bridge(folder).run_with_cache(ids, names_filter=lambda name: name.endswith("pattern"))
    maps = from_cache(cache)
    assert (len(maps), maps.layers[0].heads) == (30, 9)
    same(maps, capture(net, {"input_ids": ids}), atol=2e-5)


@pytest.mark.parametrize(("kind", "blocks"), [("gpt2", "transformer.h"), ("llama", "model.layers")])
def test_nnsight_saves_patterns_in_a_trace(model, kind, blocks):
    nnsight = tool("nnsight")
    net = model(kind)
    net.set_attn_implementation("eager")
    traced = nnsight.NNsight(net)
    layers = traced.get(blocks)
    attention = [layer.attn if kind == "gpt2" else layer.self_attn for layer in layers]
    with traced.trace(IDS):
        first = attention[0].output[1].save()
        second = attention[1].output[1].save()
    same(from_cache([first, second]), capture(model(kind), {"input_ids": IDS}))


def sets():
    """A circle, a square and Hénon's attractor, 1500 points each."""
    rng = np.random.default_rng(0)
    turns, at, orbit = 2 * np.pi * rng.random(1500), (0.1, 0.1), []
    for _ in range(1500):
        at = (1 - 1.4 * at[0] ** 2 + at[1], 0.3 * at[0])
        orbit.append(at)
    return {"circle": np.stack([np.cos(turns), np.sin(turns)], 1), "square": rng.random((1500, 2)),
            "henon": np.array(orbit)}  # fmt: skip


@pytest.mark.parametrize(("name", "known"), [("circle", 1.0), ("square", 2.0), ("henon", 1.21)])
def test_corrdim_counts_the_same_pairs_and_fits_the_same_line(name, known):
    corrdim = tool("corrdim")
    points = sets()[name]
    vectors, radii = torch.from_numpy(points), np.geomspace(0.01, 1, 24)
    theirs = corrdim.correlation_integral(vectors, torch.from_numpy(radii)).numpy()
    np.testing.assert_allclose(dimension.correlation_sum(points, radii.tolist()), theirs, rtol=1e-5)
    fit = corrdim.estimate_dimension_from_curve(corrdim.curve_from_vectors(vectors, (1e-3, 3), 200))
    ours = dimension.correlation_dimension(points, radii=fit.epsilons_linear_region.tolist())
    assert float(ours.value) == pytest.approx(fit.corrdim, abs=1e-4)
    # By our own choice of radii.
    assert float(dimension.correlation_dimension(points).value) == pytest.approx(known, abs=0.06)


def test_corrdim_on_the_answers_of_a_real_language_model(packaged, offline):
    """What it is made for: log-probabilities of the next token as points, one for each token of a text."""
    from pydoc_data import topics

    corrdim = tool("corrdim")
    text = " ".join(topics.topics["class"].split()[:220])
    points = corrdim.text_to_vectors(text, packaged("smollm2"), device="cpu", dim_reduction=512)
    fit = corrdim.estimate_dimension_from_curve(corrdim.curve_from_vectors(points, (1, 1e5), 200))
    ours = dimension.correlation_dimension(points.double().numpy(), radii=fit.epsilons_linear_region.tolist())
    assert len(points) > 200
    assert float(ours.value) == pytest.approx(fit.corrdim, rel=1e-2)


@pytest.fixture
def scored(model):
    words = [f"w{i}" for i in range(24)]
    net = model("gpt2")
    return net, token_scores(capture(net, {"input_ids": IDS}, tokens=words))


def test_captum_shows_scores_and_its_attributions_are_scores(scored):
    attr = tool("captum.attr")
    net, scores = scored
    method = attr.LayerIntegratedGradients(lambda ids: net(input_ids=ids).logits[:, -1, 5], net.transformer.wte)
    theirs = method.attribute(IDS, baselines=torch.zeros_like(IDS), n_steps=4).sum(-1).detach()
    ours = scores.to_captum()
    assert ours.shape == theirs.shape
    record = attr.visualization.VisualizationDataRecord(ours[0], 0.5, "5", "5", "5", 1.0, list(scores.tokens), 0.0)
    page = attr.visualization.visualize_text([record]).data
    assert all(f" {word} " in page or f">{word}" in page for word in scores.tokens)
    found = faithfulness(net, IDS[0].numpy(), theirs[0].numpy(), filler=0, rng=np.random.default_rng(0), steps=4)
    assert 0 < found.deletion_area < 1


def test_shap_plots_scores_that_have_its_explanations_shape(scored):
    shap = tool("shap")
    _, scores = scored

    def answer(texts):
        return np.array([float("w3" in text.split()) for text in texts])

    theirs = shap.Explainer(answer, shap.maskers.Text(r"\s"), silent=True)([" ".join(scores.tokens)])
    ours = scores.to_shap()
    assert type(ours) is type(theirs)
    assert ours.values.shape == theirs.values.shape == (1, 24)
    assert ours.base_values.shape == theirs.base_values.shape
    assert len(ours.data[0]) == len(theirs.data[0])
    page = shap.plots.text(ours[0], display=False)
    assert all(word in page for word in scores.tokens)


def test_limes_list_has_the_form_of_ours(scored):
    lime = tool("lime.lime_text")
    _, scores = scored

    def answer(texts):
        hit = np.array([0.9 if "w3" in text.split() else 0.1 for text in texts])
        return np.stack([hit, 1 - hit], 1)

    explainer = lime.LimeTextExplainer(class_names=["a", "b"], random_state=0)
    theirs = explainer.explain_instance(
        " ".join(scores.tokens), answer, num_features=24, num_samples=200, labels=(0,)
    ).as_list(label=0)
    ours = scores.to_lime()
    assert {word for word, _ in ours} == {str(word) for word, _ in theirs}
    for pairs in (ours, theirs):
        assert all(isinstance(word, str) and isinstance(weight, float) for word, weight in pairs)
        assert [abs(weight) for _, weight in pairs] == sorted((abs(weight) for _, weight in pairs), reverse=True)
