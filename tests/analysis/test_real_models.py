"""A real language model and a real encoder, from packages: what is said of them on docs/analysis.md."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import FractalAttentionAnalyzer, nulls, universality
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
