"""A number for each token, in the shapes that Captum, SHAP and LIME use, with a check of the ranking beside it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.dimension import attention_rollout
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.analysis.faithfulness import Faithfulness
    from fractal_core.analysis.maps import AttentionMaps

METHODS = ("rollout", "received", "last")


def _installed(module: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


@dataclass(frozen=True)
class TokenScores:
    """How much attention goes to each token, and whether the model's output follows that ranking."""

    tokens: tuple[str, ...]
    """N strings."""
    scores: npt.NDArray[np.float64]
    """(N,), 0 or more."""
    method: str
    faithfulness: Faithfulness
    """Deletion and insertion in the order of the scores, beside random orders."""

    def ranking(self) -> npt.NDArray[np.int64]:
        """Places of the tokens, the largest score first, (N,)."""
        return np.argsort(-self.scores, kind="stable").astype(np.int64)

    def to_captum(self) -> Any:  # noqa: ANN401
        """A `captum.attr.visualization.VisualizationDataRecord`, or its fields as a dictionary without captum."""
        checked = self.faithfulness
        fields = {
            "word_attributions": self.scores,
            "pred_prob": checked.full,
            "pred_class": checked.target,
            "true_class": checked.target,
            "attr_class": checked.target,
            "attr_score": float(self.scores.sum()),
            "raw_input_ids": list(self.tokens),
            "convergence_score": checked.deletion_gain,
        }
        captum = _installed("captum.attr")
        return fields if captum is None else captum.visualization.VisualizationDataRecord(**fields)

    def to_shap(self) -> Any:  # noqa: ANN401
        """A `shap.Explanation` of one input, or its fields as a dictionary without shap.

        `values` (1, N) are the scores: shares of attention, which do not add up to the output as Shapley values do.
        `base_values` (1,) is the output with every token taken out.
        """
        fields = {
            "values": self.scores[None],
            "base_values": np.array([self.faithfulness.empty]),
            "data": (np.array(self.tokens, dtype=object),),
            "feature_names": list(self.tokens),
            "output_names": [self.faithfulness.target],
        }
        shap = _installed("shap")
        return fields if shap is None else shap.Explanation(**fields)

    def _words(self, exp: list[tuple[int, float]], **_: object) -> list[tuple[str, float]]:
        return [(self.tokens[place], value) for place, value in exp]

    def to_lime(self) -> Any:  # noqa: ANN401
        """A `lime.explanation.Explanation`, or without lime an object with the methods that its readers call."""
        lime = _installed("lime.explanation")
        if lime is None:
            return LimeExplanation(self)
        domain = lime.DomainMapper()
        domain.map_exp_ids = self._words
        made = lime.Explanation(domain, class_names=["", self.faithfulness.target])
        made.local_exp, made.top_labels = LimeExplanation(self).as_map(), [1]
        made.score, made.intercept = {1: self.faithfulness.deletion_gain}, {1: self.faithfulness.empty}
        return made


@dataclass(frozen=True)
class LimeExplanation:
    """The methods of `lime.explanation.Explanation` that readers call: `as_list`, `as_map`, `available_labels`."""

    of: TokenScores

    @property
    def score(self) -> dict[int, float]:
        """Of the one label: how much sooner the output falls than in random orders."""
        return {1: self.of.faithfulness.deletion_gain}

    def available_labels(self) -> list[int]:
        """The one label, 1."""
        return [1]

    def as_list(self, label: int = 1) -> list[tuple[str, float]]:
        """Token and score, the largest first.

        Raises:
            InvalidArgumentError: There is no such label.
        """
        return [(self.of.tokens[place], value) for place, value in self.as_map(label)[label]]

    def as_map(self, label: int = 1) -> dict[int, list[tuple[int, float]]]:
        """Label to place and score of each token, the largest first.

        Raises:
            InvalidArgumentError: There is no such label.
        """
        if label != 1:
            raise InvalidArgumentError("label", label, "1")
        return {1: [(int(place), float(self.of.scores[place])) for place in self.of.ranking()]}


def attention_scores(maps: AttentionMaps, method: str = "rollout") -> npt.NDArray[np.float64]:
    """A number for each token of the input: how much attention goes to it.

    Args:
        maps: Of a causal, encoder or vision model; of an encoder-decoder model its encoder counts.
        method: "rollout", from the last position (of encoders from all, in the mean) through all layers; "received",
            the mean weight that queries which can see the token give to it, over layers and heads; "last", the last
            layer's weights from the last position (of encoders from all).

    Returns:
        (N,), float64, 0 or more, of sum 1.

    Raises:
        InvalidArgumentError: An unknown method, or no such layer.
    """
    if method not in METHODS:
        raise InvalidArgumentError("method", repr(method), ", ".join(METHODS))
    layers = [layer for layer in maps.layers if layer.kind in {"causal", "encoder", "vision"}]
    if not layers:
        raise InvalidArgumentError("maps", [layer.kind for layer in maps.layers], "self-attention over the input")
    causal = layers[0].kind == "causal"
    if method == "received":
        received: list[npt.NDArray[np.float64]] = []
        for layer in layers:
            mass, queries = layer.columns(layer.weights)
            received.append((mass / np.maximum(queries, 1)).mean(axis=0))
        found = np.mean(received, axis=0)
    else:
        each = [np.stack([layer.head(h) for h in range(layer.heads)]) for layer in layers]
        if method == "last":
            flow = each[-1].mean(axis=0, dtype=np.float64)
        else:
            flow = attention_rollout(np.stack([heads.mean(axis=0, dtype=np.float64) for heads in each]))
        found = flow[-1] if causal else flow.mean(axis=0)
    return np.asarray(found / found.sum(), dtype=np.float64)


def token_importance(
    model: Any,  # noqa: ANN401
    inputs: Any,  # noqa: ANN401
    tokenizer: Any = None,  # noqa: ANN401
    *,
    method: str = "rollout",
    draws: int = 20,
    seed: int = 0,
    replacement: int | None = None,
) -> TokenScores:
    """Tokens by the attention that goes to them, with a check of whether the model's output follows that ranking.

    Args:
        model: A live causal or encoder model of transformers.
        inputs: A text, or token numbers (N,).
        tokenizer: For text.
        method: As in `attention_scores`.
        draws: Random orders for comparison, 1 or more.
        seed: Of the random orders.
        replacement: The token that stands for one taken out; by default the tokenizer's mask, unknown, padding or
            end-of-text token, whichever there is first.

    Returns:
        Scores with their faithfulness. High scores do not say that a token causes the output; the check says how far
        its removal changes it.

    Raises:
        InvalidArgumentError: As `capture`; also no token to replace with.
        ModelError: As `capture`.
    """
    from fractal_core.analysis.faithfulness import checked
    from fractal_core.analysis.forward import capture

    maps = capture(model, inputs, tokenizer)
    if maps.ids is None:
        raise InvalidArgumentError("inputs", "no tokens", "a text or token numbers")
    scores = attention_scores(maps, method)
    tokens = maps.tokens or tuple(str(number) for number in maps.ids.tolist())
    order = np.argsort(-scores, kind="stable")
    found = checked(
        model, maps.ids, order, tokenizer, draws=draws, rng=np.random.default_rng(seed), replacement=replacement
    )
    return TokenScores(tuple(tokens), scores, method, found)
