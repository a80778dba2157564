"""Null models of a model: its architecture with other weights, its text in another order."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core._arguments import integer, vector
from fractal_core.analysis.nulls import generator
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

__all__ = ["random_model", "shuffled_tokens"]


def random_model(model: Any, *, seed: SupportsIndex) -> Any:  # noqa: ANN401  # transformers is optional
    """A model of the same class and configuration, initialised anew: what the architecture alone would attend to.

    Args:
        model: A transformers model, which stays as it is.
        seed: Of the weights; torch's own generators go on as if nothing had been drawn.

    Returns:
        The new model, in evaluation mode, on the device and in the dtype of the old one.

    Raises:
        DTypeError: Not a transformers model.
    """
    import torch

    config = getattr(model, "config", None)
    if config is None or not isinstance(model, torch.nn.Module):
        raise DTypeError("model", type(model).__name__, "a transformers model")
    number = integer("seed", seed, 0, 2**63 - 1)
    own = copy.deepcopy(config)
    if hasattr(own, "quantization_config"):
        del own.quantization_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        made: Any = type(model)(own)
    parameter = next(iter(model.parameters()), None)
    return made.eval() if parameter is None else made.to(parameter.device, parameter.dtype).eval()


def shuffled_tokens(
    ids: npt.ArrayLike, *, rng: np.random.Generator, keep: Iterable[SupportsIndex] = ()
) -> npt.NDArray[np.int64]:
    """The tokens of a text in a random order: its words without its order.

    Args:
        ids: Token ids, (N,).
        rng: Draws the order.
        keep: Ids that stay where they are, such as those of a beginning and an end.

    Returns:
        Shape (N,).

    Raises:
        InvalidArgumentError: No token.
        DTypeError: An argument has no fitting type.
    """
    tokens = np.array(vector("ids", ids), np.int64)
    if not len(tokens):
        raise InvalidArgumentError("ids", [], "one token or more")
    kept = [integer("keep", token, -(2**63), 2**63 - 1) for token in keep]
    places = np.flatnonzero(np.isin(tokens, kept, invert=True))
    tokens[places] = tokens[generator(rng).permutation(places)]
    return tokens
