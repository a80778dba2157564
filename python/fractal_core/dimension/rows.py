"""Statistics of every row of attention on its support, and attention rollout."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np

from fractal_core import _native
from fractal_core._arguments import INT32_MAX, integer, real, vector
from fractal_core.dimension.given import Support, Weights, matrices
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt


class Spread(NamedTuple):
    """A statistic over the rows of each matrix; rows where it is NaN are left out."""

    mean: npt.NDArray[np.float64]
    """Shape (...), NaN where no row has a number."""
    std: npt.NDArray[np.float64]
    """Shape (...)."""
    rows: npt.NDArray[np.int64]
    """Rows that count, (...)."""


@dataclass(frozen=True)
class RowStatistics:
    """One number a row, each array of shape (..., N), float64.

    Rows count as divided by their mass. Rows without mass give NaN in all but `mass` and `keys`. Rows with fewer than
    two keys on the support give NaN in what compares keys: `normalized_entropy`, `gini`, `hoyer`, `below`.
    """

    mass: npt.NDArray[np.float64]
    """Sum of the weights, 1 where they are attention."""
    keys: npt.NDArray[np.float64]
    """Keys on the support."""
    entropy: npt.NDArray[np.float64]
    """In nats; its exponential is the perplexity."""
    normalized_entropy: npt.NDArray[np.float64]
    """Entropy over the logarithm of the number of keys, in 0 .. 1."""
    effective_support: npt.NDArray[np.float64]
    """`1 / sum p^2`, 1 to the number of keys."""
    maximum: npt.NDArray[np.float64]
    """The largest share."""
    gini: npt.NDArray[np.float64]
    """Gini's index, 0 for uniform rows, `1 - 1 / keys` where one key has all."""
    hoyer: npt.NDArray[np.float64]
    """P. O. Hoyer's sparseness (2004), 0 for uniform rows, 1 where one key has all."""
    top_p_keys: npt.NDArray[np.float64]
    """Fewest keys that reach the share `top_p`."""
    top_k_mass: npt.NDArray[np.float64]
    """Share of the `top_k` largest."""
    below: npt.NDArray[np.float64]
    """Share of the keys whose weight is under `below` times the uniform one."""
    sink: npt.NDArray[np.float64]
    """Share of the first `sinks` keys."""
    previous: npt.NDArray[np.float64]
    """Share of the key before the query's own position."""
    local: npt.NDArray[np.float64]
    """Share of the keys at most `local` positions away."""
    distance: npt.NDArray[np.float64]
    """Mean distance between query and key, in positions."""
    induction: npt.NDArray[np.float64]
    """Share of the keys that follow an earlier copy of the query's token; NaN without `tokens`."""

    def summary(self) -> dict[str, Spread]:
        """Every statistic over the rows of each matrix."""
        return {field.name: _spread(getattr(self, field.name)) for field in fields(self)}


def _spread(values: npt.NDArray[np.float64]) -> Spread:
    good = np.isfinite(values)
    n = good.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(good, values, 0.0).sum(axis=-1) / n
        std = np.sqrt((np.where(good, values - mean[..., None], 0.0) ** 2).sum(axis=-1) / n)
    return Spread(np.asarray(mean), np.asarray(std), np.asarray(n, dtype=np.int64))


def row_statistics(
    weights: Weights,
    support: Support = "full",
    *,
    top_p: float = 0.9,
    top_k: SupportsIndex = 5,
    below: float = 0.5,
    sinks: SupportsIndex = 1,
    local: SupportsIndex = 8,
    tokens: npt.ArrayLike | None = None,
) -> RowStatistics:
    """Entropy, evenness, concentration and habits of every row, each on the keys that the row has.

    Args:
        weights: Shape (..., N, M), 0 or more, or `EdgeWeights`.
        support: The cells that there are, as the module says.
        top_p: Share of the mass for `top_p_keys`, above 0, at most 1.
        top_k: Keys for `top_k_mass`, 1 or more.
        below: Multiple of the uniform weight for `below`, 0 or more.
        sinks: First keys that are the sink, 1 or more.
        local: Positions for `local`, 0 or more.
        tokens: Shape (M,), the token at each key; for `induction`.

    Returns:
        One number a row.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a parameter outside of its
            range.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: N. Hurley and S. Rickard, "Comparing Measures of Sparsity" (2009); of induction, C. Olsson et al.,
    "In-context Learning and Induction Heads" (2022).
    """
    given = matrices("weights", weights, support, edges=True)
    found, names = _native.row_statistics(
        given.values,
        given.support,
        real("top_p", top_p),
        integer("top_k", top_k, 1, INT32_MAX),
        real("below", below),
        integer("sinks", sinks, 1, INT32_MAX),
        integer("local", local, 0, INT32_MAX),
        None if tokens is None else vector("tokens", tokens).tolist(),
    )
    shape = (*given.lead, given.shape[0])
    return RowStatistics(**{name: found[..., i].reshape(shape) for i, name in enumerate(names)})


def attention_rollout(
    weights: npt.ArrayLike, support: Support = "full", *, residual: float = 0.5, heads: str = "mean"
) -> npt.NDArray[np.float64]:
    """How much of each input token reaches each position through all layers, by the products of their attention.

    Args:
        weights: Shape (L, H, N, N) or (L, N, N), 0 or more, first layer first.
        support: The cells that there are, as the module says.
        residual: Share of the residual connection, 0 to 1.
        heads: What is made of a layer's heads: "mean", "max" or "min".

    Returns:
        Shape (N, N), float64, rows of sum 1: outputs by inputs. A row without mass passes its own token on.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a parameter outside of its
            range.
        ShapeError: `weights` has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: S. Abnar and W. Zuidema, "Quantifying Attention Flow in Transformers" (2020).
    """
    if heads not in {"mean", "max", "min"}:
        raise InvalidArgumentError("heads", repr(heads), "mean, max or min")
    given = matrices("weights", weights, support)
    if len(given.lead) not in {1, 2}:
        raise ShapeError("weights", (*given.lead, *given.shape), "(L, H, N, N) or (L, N, N)")
    return _native.attention_rollout(given.values, given.support, given.lead[0], real("residual", residual), heads)
