"""Null models: attention, or a series, that keeps one thing of the given one and has nothing else of it.

A number of a head says something about its geometry only where it differs from the same number of a null that keeps its
support, its entropy or its distances. Each takes weights of shape (..., N, M) and a support as `fractal_core.dimension`
does, and, where it draws, a generator.

| null | keeps | loses |
|---|---|---|
| `support_uniform` | the support | everything else |
| `row_shuffled` | every row's weights, so entropy and all that ignores places | which key has which weight |
| `toeplitz` | the mean weight at each distance | content |
| `entropy_matched` | every row's entropy | the weights themselves, and places |
| `block_shuffled`, `phase_randomized` | a series' values within blocks; its spectrum | order beyond; phases |

The two nulls of models, other weights and other texts, are `fractal_core.analysis.random_model` and `shuffled_tokens`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex, cast, overload

import numpy as np

from fractal_core._arguments import integer
from fractal_core.dimension import EdgeWeights
from fractal_core.dimension.edges import no_other_support
from fractal_core.dimension.given import Given, Support, finite, on_support
from fractal_core.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = [
    "block_shuffled",
    "entropy_matched",
    "phase_randomized",
    "row_shuffled",
    "support_uniform",
    "toeplitz",
]

_HALVINGS = 60


def _shaped(found: Floats, given: Given) -> Floats:
    return found.reshape(*given.lead, *given.shape)


def generator(rng: object) -> np.random.Generator:
    """A generator, and nothing that would make one in silence."""
    if not isinstance(rng, np.random.Generator):
        raise DTypeError("rng", type(rng).__name__, "a numpy.random.Generator")
    return rng


def support_uniform(weights: npt.ArrayLike, support: Support = "full") -> Floats:
    """Every row's mass, spread evenly over its keys.

    Args:
        weights: Shape (..., N, M), 0 or more.
        support: The cells that there are.

    Returns:
        The shape of `weights`, float64.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    given, cells, values = on_support("weights", weights, support)
    keys = np.maximum(cells.sum(-1, keepdims=True), 1)
    return _shaped(np.where(cells, values.sum(-1, keepdims=True) / keys, 0.0), given)


@overload
def row_shuffled(weights: EdgeWeights, support: Support = "full", *, rng: np.random.Generator) -> EdgeWeights: ...
@overload
def row_shuffled(weights: npt.ArrayLike, support: Support = "full", *, rng: np.random.Generator) -> Floats: ...
def row_shuffled(
    weights: npt.ArrayLike | EdgeWeights, support: Support = "full", *, rng: np.random.Generator
) -> Floats | EdgeWeights:
    """Every row's weights in a random order over the keys of its support.

    Args:
        weights: Shape (..., N, M), 0 or more; or `EdgeWeights`, whose rows are those of their set.
        support: The cells that there are.
        rng: Draws the orders.

    Returns:
        The shape of `weights`, float64, or `EdgeWeights`; sorted, each row is what it was.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    draw = generator(rng)
    if isinstance(weights, EdgeWeights):
        no_other_support(support)
        shuffled = np.empty_like(weights.rows)
        queries = np.repeat(np.arange(weights.index_set.n_queries), np.diff(weights.index_set.indptr))
        for of, row in zip(weights.rows, shuffled, strict=True):
            row[:] = of[np.lexsort((draw.random(len(queries)), queries))]
        return EdgeWeights(weights.index_set, shuffled.reshape(weights.values.shape))
    given, cells, values = on_support("weights", weights, support)
    drawn = draw.random(values.shape)
    # Keys of the support in a random order, then the others; and the places of the support, in order, then the others.
    order = np.argsort(np.where(cells, drawn, 2.0), axis=-1)
    places = np.argsort(~cells, axis=-1, kind="stable")
    found = np.zeros(values.shape)
    np.put_along_axis(found, places, np.take_along_axis(values, order, axis=-1), axis=-1)
    return _shaped(found, given)


def toeplitz(weights: npt.ArrayLike, support: Support = "full") -> Floats:
    """The mean weight at each distance between query and key, in every row, scaled to the row's mass.

    Args:
        weights: Shape (..., N, M), 0 or more. Queries are the last positions of the keys.
        support: The cells that there are.

    Returns:
        The shape of `weights`, float64. A row whose distances have no weight in any row stays without mass.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    given, cells, values = on_support("weights", weights, support)
    n, m = given.shape
    distance = np.arange(n)[:, None] - np.arange(m)[None, :] + m - 1
    found = np.zeros(values.shape)
    for matrix, (inside, of) in enumerate(zip(cells, values, strict=True)):
        count = np.bincount(distance[inside], minlength=n + m - 1)
        total = np.bincount(distance[inside], of[inside], minlength=n + m - 1)
        mean = total / np.maximum(count, 1)
        row = np.where(inside, mean[distance], 0.0)
        sums = row.sum(-1, keepdims=True)
        found[matrix] = row * np.divide(of.sum(-1, keepdims=True), sums, out=np.zeros_like(sums), where=sums > 0)
    return _shaped(found, given)


def entropy_matched(weights: npt.ArrayLike, support: Support = "full", *, rng: np.random.Generator) -> Floats:
    """The softmax of independent normal logits, at the temperature that gives each row the entropy it had.

    Args:
        weights: Shape (..., N, M), 0 or more.
        support: The cells that there are.
        rng: Draws the logits.

    Returns:
        The shape of `weights`, float64, each row with its mass; entropies agree to 1e-9 nats where temperature can
        reach them: a row whose weight is on k keys alike has at least the entropy 0 of a single one.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    given, cells, values = on_support("weights", weights, support)
    mass = values.sum(-1, keepdims=True)
    shares = np.divide(values, mass, out=np.zeros_like(values), where=mass > 0)
    wanted = _entropy(shares)
    logits = np.where(cells, generator(rng).standard_normal(values.shape), -np.inf)
    top = logits.max(-1, keepdims=True)
    below = np.where(cells, logits - np.where(np.isfinite(top), top, 0.0), -np.inf)
    # The entropy falls as the factor of the logits grows: halve in the logarithm of the factor.
    low, high = np.full(wanted.shape, -30.0), np.full(wanted.shape, 30.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _entropy(_softmax(below, np.exp(middle))) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return _shaped(_softmax(below, np.exp((low + high) / 2)) * mass, given)


def _softmax(below: Floats, factor: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        e = np.where(np.isfinite(below), np.exp(np.where(np.isfinite(below), below, 0.0) * factor[..., None]), 0.0)
    sums = e.sum(-1, keepdims=True)
    return np.divide(e, sums, out=np.zeros_like(e), where=sums > 0)


def _entropy(shares: Floats) -> Floats:
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(-1)


def _series(series: npt.ArrayLike) -> Floats:
    array = finite("series", series)
    if array.ndim < 1 or array.shape[-1] < 2:
        raise ShapeError("series", array.shape, "(..., n), n at least 2")
    return array


def block_shuffled(series: npt.ArrayLike, block: SupportsIndex, *, rng: np.random.Generator) -> Floats:
    """Blocks of a series in a random order, the same for all; the last block may be shorter.

    Args:
        series: Shape (..., n), finite.
        block: Length of a block, 1 to n.
        rng: Draws the order.

    Returns:
        The shape of `series`, float64.

    Raises:
        InvalidArgumentError: A value is not finite, or `block` outside of its range.
        ShapeError: `series` is too short.
        DTypeError: An argument has no fitting type.
    """
    rows = _series(series)
    size = integer("block", block, 1, rows.shape[-1])
    starts = generator(rng).permutation(np.arange(0, int(rows.shape[-1]), size))
    return np.concatenate([rows[..., start : start + size] for start in cast("list[int]", starts.tolist())], axis=-1)


def phase_randomized(series: npt.ArrayLike, *, rng: np.random.Generator) -> Floats:
    """A series with the same power spectrum and random phases: linear correlations stay, all else goes.

    Args:
        series: Shape (..., n), finite.
        rng: Draws the phases.

    Returns:
        The shape of `series`, float64, with its mean and variance.

    Raises:
        InvalidArgumentError: A value is not finite.
        ShapeError: `series` is too short.
        DTypeError: An argument has no fitting type.

    The mathematics: J. Theiler et al., Physica D 58 (1992).
    """
    rows = _series(series)
    n = rows.shape[-1]
    spectrum = np.fft.rfft(rows, axis=-1)
    phases = np.exp(2j * np.pi * generator(rng).random(spectrum.shape))
    phases[..., 0] = 1
    if n % 2 == 0:
        phases[..., -1] = 1
    return np.fft.irfft(spectrum * phases, n, axis=-1)
