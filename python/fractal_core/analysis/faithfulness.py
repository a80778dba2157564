"""Whether a model's output follows a ranking of its tokens: deletion and insertion, beside random orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import InvalidArgumentError, ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

_STEPS = 20
_ROWS = 32


@dataclass(frozen=True)
class Faithfulness:
    """The output as tokens are replaced (deletion) or put back (insertion), the highest score first.

    The mathematics: V. Petsiuk, A. Das and K. Saenko, "RISE" (2018).
    """

    output: str
    """What the output is: "probability of the next token", "probability of the class", or "likeness of the state"."""
    target: str
    """Which token or class; "" for the likeness."""
    full: float
    """The output with all tokens."""
    empty: float
    """The output with none, all replaced."""
    fractions: npt.NDArray[np.float64]
    """Share of the tokens taken out or put back, from 0 to 1, (S,)."""
    deletion: npt.NDArray[np.float64]
    """The output as they are taken out, (S,)."""
    insertion: npt.NDArray[np.float64]
    """The output as they are put back, (S,)."""
    random_deletion: npt.NDArray[np.float64]
    """Areas under the curve of deletion in random orders, (draws,)."""
    random_insertion: npt.NDArray[np.float64]
    """Areas under the curve of insertion in random orders, (draws,)."""

    @property
    def deletion_area(self) -> float:
        """Area under the curve of deletion: the lower, the sooner the output goes."""
        return _area(self.fractions, self.deletion)

    @property
    def insertion_area(self) -> float:
        """Area under the curve of insertion: the higher, the sooner the output comes."""
        return _area(self.fractions, self.insertion)

    @property
    def deletion_gain(self) -> float:
        """Mean area of random deletion less that of the ranking: above 0 where the ranking beats chance."""
        return float(self.random_deletion.mean()) - self.deletion_area

    @property
    def insertion_gain(self) -> float:
        """Area of the ranking's insertion less the mean of random ones: above 0 where it beats chance."""
        return self.insertion_area - float(self.random_insertion.mean())

    @property
    def p(self) -> tuple[float, float]:
        """Shares of random orders that do as well in deletion, and in insertion, each (1 + #) / (1 + draws)."""
        n = len(self.random_deletion)
        return (
            (1 + int((self.random_deletion <= self.deletion_area).sum())) / (1 + n),
            (1 + int((self.random_insertion >= self.insertion_area).sum())) / (1 + n),
        )


def _area(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())


def checked(
    model: Any,  # noqa: ANN401
    ids: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    tokenizer: Any = None,  # noqa: ANN401
    *,
    draws: int = 20,
    rng: np.random.Generator,
    replacement: int | None = None,
) -> Faithfulness:
    """The curves of a ranking and of random ones.

    Args:
        model: A live causal or encoder model of transformers.
        ids: The tokens, (N,).
        order: Their places, the most important first, (N,).
        tokenizer: For the token that replaces others, and the target's word.
        draws: Random orders, 1 or more.
        rng: Draws them.
        replacement: The token that stands for one taken out.

    Raises:
        InvalidArgumentError: `order` is no permutation, or there is no token to replace with.
        ModelError: The model's output is none of those that can be followed.
    """
    n = len(ids)
    if sorted(np.asarray(order).tolist()) != list(range(n)):
        raise InvalidArgumentError("order", order, f"the places 0 to {n - 1}, each once")
    draws = integer("draws", draws, 1, INT32_MAX)
    blank = _blank(model, tokenizer, replacement)
    output = _Output(model, torch.from_numpy(np.asarray(ids, np.int64)), tokenizer)
    taken: list[int] = sorted({round(share * n / min(n, _STEPS)) for share in range(min(n, _STEPS) + 1)})

    def curves(places: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rows = np.tile(ids, (2 * len(taken), 1))
        for i, k in enumerate(taken):
            rows[i, places[:k]] = blank
            rows[len(taken) + i, places[k:]] = blank
        found = output(rows)
        return found[: len(taken)], found[len(taken) :]

    deletion, insertion = curves(np.asarray(order))
    x = np.array(taken) / n
    random = [curves(rng.permutation(n)) for _ in range(draws)]
    return Faithfulness(
        output.name,
        output.target,
        float(deletion[0]),
        float(deletion[-1]),
        x,
        deletion,
        insertion,
        np.array([_area(x, d) for d, _ in random]),
        np.array([_area(x, i) for _, i in random]),
    )


def _blank(model: Any, tokenizer: Any, replacement: int | None) -> int:  # noqa: ANN401
    from fractal_core.analysis.encoded import vocabulary

    if replacement is not None:
        return integer("replacement", replacement, 0, (vocabulary(model) or INT32_MAX) - 1)
    for name in ("mask_token_id", "unk_token_id", "pad_token_id", "eos_token_id"):
        for owner in (tokenizer, model.config):
            found = getattr(owner, name, None)
            if isinstance(found, int) and 0 <= found < (vocabulary(model) or INT32_MAX):
                return found
    raise InvalidArgumentError("replacement", None, "a token number: the tokenizer names none for what is unknown")


class _Output:
    """One number for each row of tokens: of the next token, of the class, or of the last state."""

    def __init__(self, model: Any, ids: torch.Tensor, tokenizer: Any) -> None:  # noqa: ANN401
        self.model, self.tokenizer = model, tokenizer
        first = self._pass(ids[None])
        logits = getattr(first, "logits", None)
        self.index, self.state = -1, None
        if logits is not None and logits.ndim == 3 and type(model).__name__.endswith(("CausalLM", "LMHeadModel")):
            self.name, self.index = "probability of the next token", int(logits[0, -1].argmax())
            self.target = self._word(self.index)
        elif logits is not None and logits.ndim == 2:
            self.name, self.index = "probability of the class", int(logits[0].argmax())
            names: dict[int, str] = getattr(model.config, "id2label", None) or {}
            self.target = str(names.get(self.index, self.index))
        elif getattr(first, "last_hidden_state", None) is not None:
            self.name, self.target = "likeness of the state", ""
            self.state = first.last_hidden_state[0].float().mean(dim=0)
        else:
            raise ModelError(
                f"{type(model).__name__} gives no output to follow; allowed: a causal model, a classifier of texts, or "
                "an encoder"
            )

    def _word(self, index: int) -> str:
        if not hasattr(self.tokenizer, "convert_ids_to_tokens"):
            return str(index)
        from fractal_core.analysis.pieces import pieces

        return pieces(self.tokenizer, [index])[0]

    def _pass(self, rows: torch.Tensor) -> Any:  # noqa: ANN401
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            for module, _ in modes:
                module.training = False
            with torch.no_grad():
                return self.model(input_ids=rows.to(self.model.device), return_dict=True)
        except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, AttributeError) as error:
            raise ModelError(f"the forward pass of {type(self.model).__name__} failed: {error}") from error
        finally:
            for module, mode in modes:
                module.training = mode

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        found: list[npt.NDArray[np.float64]] = []
        for start in range(0, len(rows), _ROWS):
            output = self._pass(torch.from_numpy(rows[start : start + _ROWS]))
            if self.state is not None:
                states = output.last_hidden_state.float().mean(dim=1)
                value = torch.nn.functional.cosine_similarity(states, self.state[None], dim=-1)
            else:
                logits = output.logits[:, -1] if output.logits.ndim == 3 else output.logits
                value = torch.softmax(logits.float(), dim=-1)[:, self.index]
            found.append(value.double().cpu().numpy())
        return np.concatenate(found)
