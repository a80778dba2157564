"""Token scores, in the shapes of Captum, SHAP and LIME, and whether a model's output follows their ranking."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import AttentionMaps, attention_scores, capture, token_importance
from fractal_core.analysis.faithfulness import checked
from fractal_core.analysis.scores import LimeExplanation
from fractal_core.errors import DTypeError, InvalidArgumentError, ModelError
from noisy_attention import weights

torch = pytest.importorskip("torch")

TEXT = "The golden ratio appears in nature and mathematics."


@pytest.fixture(scope="module")
def scored(make, tokenizer):
    return token_importance(make("gpt2"), TEXT, tokenizer, draws=7, seed=1)


def test_scores_by_their_definitions(make, ids):
    maps = capture(make("gpt2"), ids)
    every = np.stack([layer.weights for layer in maps.layers]).astype(np.float64)
    rollout = dimension.attention_rollout(every, "causal")[-1]
    np.testing.assert_allclose(attention_scores(maps, "rollout"), rollout / rollout.sum(), atol=1e-9)
    last = every[-1].mean(axis=0)[-1]
    np.testing.assert_allclose(attention_scores(maps, "last"), last / last.sum(), atol=1e-9)
    seen = np.arange(40, 0, -1)
    received = (every.sum(axis=2) / seen).mean(axis=(0, 1))
    np.testing.assert_allclose(attention_scores(maps, "received"), received / received.sum(), atol=1e-6)


def test_uniform_attention_is_received_alike():
    even = np.full((2, 8, 8), 1 / 8)
    for method in ("rollout", "received", "last"):
        np.testing.assert_allclose(attention_scores(AttentionMaps.from_arrays(even), method), 1 / 8)


def probabilities(model, rows):
    with torch.no_grad():
        return torch.softmax(model(input_ids=torch.as_tensor(rows)).logits[:, -1], dim=-1).double()


def test_curves_are_the_models_own_probabilities(scored, make, tokenizer):
    model, ids = make("gpt2"), np.array(tokenizer(TEXT)["input_ids"])
    checked_ = scored.faithfulness
    full = probabilities(model, ids[None])[0]
    target = int(full.argmax())
    assert checked_.output == "probability of the next token"
    assert checked_.full == pytest.approx(float(full[target]), abs=1e-7)
    n = len(ids)
    order = scored.ranking()
    for i, share in enumerate(checked_.fractions):
        k = round(float(share) * n)
        gone, back = ids.copy(), ids.copy()
        gone[order[:k]] = 0
        back[order[k:]] = 0
        p = probabilities(model, np.stack([gone, back]))[:, target]
        assert checked_.deletion[i] == pytest.approx(float(p[0]), abs=1e-7)
        assert checked_.insertion[i] == pytest.approx(float(p[1]), abs=1e-7)
    assert checked_.deletion[0] == checked_.insertion[-1] == pytest.approx(checked_.full)
    assert checked_.deletion[-1] == checked_.insertion[0] == pytest.approx(checked_.empty)
    assert len(checked_.random_deletion) == 7
    assert all(1 / 8 <= p <= 1 for p in checked_.p)


class Follows(torch.nn.Module):
    """A classifier whose answer is the share of token 9 among its input, weighted by place."""

    def __init__(self, place_weights):
        super().__init__()
        self.place_weights = torch.nn.Parameter(torch.as_tensor(place_weights))
        self.config = type("Config", (), {"eos_token_id": 0})()
        self.device = torch.device("cpu")

    def forward(self, input_ids, return_dict=True):
        score = ((input_ids == 9) * self.place_weights).sum(dim=1)
        return type("Output", (), {"logits": torch.stack([-score, score], dim=1)})()

    def get_input_embeddings(self):
        return type("Table", (), {"weight": torch.zeros(10, 1)})()


def test_the_true_order_beats_chance_and_the_reverse_does_not():
    place = np.linspace(0, 2, 12) ** 2 / 4
    model, ids = Follows(place), np.full(12, 9)
    best, worst = np.argsort(-place), np.argsort(place)
    rng = np.random.default_rng
    true, false = (checked(model, ids, order, draws=50, rng=rng(0)) for order in (best, worst))
    assert true.deletion_gain > 0 > false.deletion_gain
    assert true.insertion_gain > 0 > false.insertion_gain
    assert max(true.p) < 0.05
    assert min(false.p) > 0.95
    assert true.target == "1"


def test_seeds(make, tokenizer, scored):
    again = token_importance(make("gpt2"), TEXT, tokenizer, draws=7, seed=1)
    np.testing.assert_array_equal(again.faithfulness.random_deletion, scored.faithfulness.random_deletion)
    other = token_importance(make("gpt2"), TEXT, tokenizer, draws=7, seed=2)
    assert (other.faithfulness.random_deletion != scored.faithfulness.random_deletion).any()


@pytest.mark.parametrize(
    ("kind", "output"), [("classifier", "probability of the class"), ("bert", "likeness of the state")]
)
def test_other_outputs(kind, output, make, ids):
    found = token_importance(make(kind), ids, draws=3, replacement=0)
    assert found.faithfulness.output == output
    assert found.tokens == tuple(map(str, ids))
    assert found.faithfulness.full <= 1 + 1e-6


def test_captum(scored):
    fields = scored.to_captum()
    value = fields.get if isinstance(fields, dict) else lambda name: getattr(fields, name)
    np.testing.assert_array_equal(value("word_attributions"), scored.scores)
    assert value("raw_input_ids") == list(scored.tokens)
    assert value("pred_prob") == scored.faithfulness.full
    visualization = pytest.importorskip("captum.attr").visualization
    assert isinstance(fields, visualization.VisualizationDataRecord)
    assert "golden" in visualization.format_word_importances(["golden"], [0.5])
    assert scored.tokens[0] in visualization.format_word_importances(fields.raw_input_ids, fields.word_attributions)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of matplotlib, when shap is imported
def test_shap(scored):
    found = scored.to_shap()
    value = found.get if isinstance(found, dict) else lambda name: getattr(found, name)
    np.testing.assert_array_equal(value("values"), scored.scores[None])
    np.testing.assert_allclose(value("base_values"), [scored.faithfulness.empty])
    shap = pytest.importorskip("shap")
    assert isinstance(found, shap.Explanation)
    assert found.shape == (1, len(scored.tokens))
    np.testing.assert_array_equal(found[0].values, scored.scores)
    assert "".join(found[0].data) == TEXT


def test_lime(scored):
    plain = LimeExplanation(scored)
    order = scored.ranking()
    assert plain.as_list() == [(scored.tokens[i], float(scored.scores[i])) for i in order]
    assert plain.as_map()[1] == [(int(i), float(scored.scores[i])) for i in order]
    assert plain.available_labels() == [1]
    with pytest.raises(InvalidArgumentError):
        plain.as_list(0)
    explanation = pytest.importorskip("lime.explanation")
    real = scored.to_lime()
    assert isinstance(real, explanation.Explanation)
    assert real.as_list() == plain.as_list()
    assert real.as_map() == plain.as_map()


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (InvalidArgumentError, lambda m, i: token_importance(m("gpt2"), i, method="gradient")),
        (InvalidArgumentError, lambda m, i: token_importance(m("gpt2"), i, draws=0)),
        (InvalidArgumentError, lambda m, i: token_importance(m("gpt2"), i, replacement=9999)),
        (DTypeError, lambda m, i: token_importance(m("gpt2"), i, replacement="mask")),
        (InvalidArgumentError, lambda m, i: token_importance(m("gpt2"), "text without a tokenizer")),
        (ModelError, lambda m, i: token_importance(m("bart"), i)),
        (InvalidArgumentError, lambda m, i: attention_scores(AttentionMaps.from_arrays(np.full((1, 2, 3), 1 / 3)))),
        (InvalidArgumentError, lambda m, i: checked(m("gpt2"), i, np.zeros(40, int), rng=np.random.default_rng(0))),
    ],
)
def test_wrong_calls(error, call, make, ids):
    with pytest.raises(error):
        call(make, ids)


def test_random_weights_have_no_order(make):
    assert attention_scores(AttentionMaps.from_arrays(weights(2, 8), "causal")).sum() == pytest.approx(1)
