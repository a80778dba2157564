"""Scores of tokens, in the shapes that attribution tools use, with a check of what they are worth to the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, cast

import numpy as np

from fractal_core._arguments import integer
from fractal_core.analysis.maps import AttentionMaps, need_maps
from fractal_core.analysis.models import inference
from fractal_core.analysis.nulls import generator
from fractal_core.dimension import attention_rollout, column_statistics
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["Faithfulness", "TokenScores", "faithfulness", "token_scores"]

Method = Literal["received", "rollout"]


@dataclass(frozen=True, eq=False)
class TokenScores:
    """A score for every token.

    Attributes:
        scores: Shape (N,), 0 or more, of sum 1.
        tokens: N of them; numbers where none are known.
        method: How they were computed.
    """

    scores: Floats
    tokens: tuple[str, ...]
    method: str

    def ranking(self) -> npt.NDArray[np.int64]:
        """Places of tokens, the largest score first, (N,)."""
        return np.argsort(-np.asarray(self.scores, np.float64), kind="stable")

    def to_lime(self) -> list[tuple[str, float]]:
        """As LIME's `as_list()`: pairs of token and weight, the largest first."""
        return [(self.tokens[i], float(self.scores[i])) for i in cast("list[int]", self.ranking().tolist())]

    def to_captum(self) -> Any:  # noqa: ANN401
        """As Captum's attributions of one input: a float64 tensor of shape (1, N)."""
        import torch

        return torch.from_numpy(np.array(self.scores, np.float64))[None]

    def to_shap(self) -> Any:  # noqa: ANN401
        """As SHAP's: an `Explanation` with `values` (1, N), `base_values` (1,) and `data` (1, N).

        Raises:
            ImportError: shap is not installed.
        """
        from importlib import import_module

        try:
            shap: Any = import_module("shap")
        except ImportError as error:
            raise ImportError("an Explanation needs shap: pip install shap") from error
        return shap.Explanation(
            values=self.scores[None], base_values=np.zeros(1), data=np.array([self.tokens], dtype=object)
        )


def token_scores(maps: AttentionMaps, method: Method = "received") -> TokenScores:
    """How much attention each token gets.

    Attention is not an explanation: `faithfulness` says what a ranking is worth to the model.

    Args:
        maps: Layers of one kind, of N queries and N keys.
        method: "received", the mass of each key over all queries, heads and layers; or "rollout", how much of each
            token reaches the last position of a causal model, or all positions of an encoder, through all layers.

    Returns:
        Scores of sum 1.

    Raises:
        InvalidArgumentError: An unknown method.
        ShapeError: Layers of different sizes, or with other keys than queries.
        DTypeError: A rollout of sparse layers.
    """
    n = need_maps(maps).side("maps")
    if method == "received":
        found = np.sum([column_statistics(layer.weights, layer.support).mass.sum(0) for layer in maps], axis=0)
    elif method == "rollout":
        rolled = attention_rollout(np.stack([layer.matrices("maps").mean(0) for layer in maps]))
        found = rolled[-1] if maps.layers[0].kind in {"causal", "decoder"} else rolled.sum(0)
    else:
        raise InvalidArgumentError("method", repr(method), '"received" or "rollout"')
    tokens = tuple(str(i) for i in range(n)) if maps.tokens is None else maps.tokens
    return TokenScores(np.asarray(found / found.sum(), np.float64), tokens, method)


class Faithfulness(NamedTuple):
    """What a ranking of tokens is worth to a model, beside random rankings."""

    fractions: Floats
    """Shares of the tokens that are taken out or put in, (K,), from 0 to 1."""
    deletion: Floats
    """Probability of the model's own answer with the highest ranked tokens taken out, (K,)."""
    insertion: Floats
    """The same with nothing but the highest ranked tokens, (K,)."""
    deletion_area: float
    """Mean of the deletion curve: low where the ranking finds what the model uses."""
    insertion_area: float
    """Mean of the insertion curve: high likewise."""
    random_deletion: tuple[float, float]
    """Mean and standard deviation of the area over random rankings."""
    random_insertion: tuple[float, float]
    """The same of insertion."""


def faithfulness(
    model: Any,  # noqa: ANN401
    ids: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    filler: SupportsIndex,
    rng: np.random.Generator,
    steps: SupportsIndex = 10,
    draws: SupportsIndex = 10,
) -> Faithfulness:
    """Deletion and insertion: how the model's answer changes as tokens go, or come, by their rank.

    Args:
        model: A causal model, whose answer is the next token, or a classifier, whose answer is its class.
        ids: Token ids, (N,).
        scores: A score for each, (N,).
        filler: The id that stands in the place of a token that is taken out.
        rng: Draws the random rankings.
        steps: Points of a curve beyond the first, 1 or more.
        draws: Random rankings, 2 or more.

    Returns:
        Both curves and their areas, beside those of random rankings: a ranking that is no better says nothing.

    Raises:
        InvalidArgumentError: A number is outside of its range.
        ShapeError: Another number of scores than of ids.
        DTypeError: No generator, or a model without logits.

    The mathematics: V. Petsiuk, A. Das and K. Saenko, "RISE" (2018).
    """
    import torch

    tokens: npt.NDArray[np.int64] = np.asarray(ids, np.int64)
    ranks: Floats = np.asarray(scores, np.float64)
    if tokens.ndim != 1 or ranks.shape != tokens.shape or not len(tokens):
        raise ShapeError("scores", ranks.shape, f"({len(tokens)},), one for each of one id or more")
    points, count = integer("steps", steps, 1, 10_000), integer("draws", draws, 2, 10_000)
    fill, draw = integer("filler", filler, 0, 2**31 - 1), generator(rng)
    shares = np.linspace(0, 1, points + 1)
    device = next(model.parameters()).device

    def answers(inputs: npt.NDArray[np.int64]) -> Any:  # noqa: ANN401
        out = model(input_ids=torch.from_numpy(inputs).to(device))
        logits = getattr(out, "logits", None)
        if logits is None:
            raise DTypeError("model", type(model).__name__, "a model with logits")
        last = logits[:, -1] if logits.ndim == 3 else logits
        return last.double().softmax(-1).cpu().numpy()

    def curves(order: npt.NDArray[np.int64], answer: int) -> tuple[Floats, Floats]:
        cut = np.rint(shares * len(tokens)).astype(int)
        gone = np.zeros((len(cut), len(tokens)), bool)
        for i, k in enumerate(cut):
            gone[i, order[:k]] = True
        both = np.concatenate([np.where(gone, fill, tokens), np.where(gone, tokens, fill)])
        found = answers(both)[:, answer]
        return found[: len(cut)], found[len(cut) :]

    with inference(model):
        answer = int(answers(tokens[None])[0].argmax())
        deletion, insertion = curves(np.argsort(-ranks, kind="stable"), answer)
        orders = (draw.permutation(len(tokens)) for _ in range(count))
        random = np.array([[curve.mean() for curve in curves(order, answer)] for order in orders])
    (delete, insert), (delete_std, insert_std) = random.mean(0), random.std(0, ddof=1)
    return Faithfulness(
        shares,
        deletion,
        insertion,
        float(deletion.mean()),
        float(insertion.mean()),
        (float(delete), float(delete_std)),
        (float(insert), float(insert_std)),
    )
