"""What of a gradient is looked at, and its spectrum: deterministic, in batches, without a read by the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from fractal_core._torch.dtypes import at_least_single
from fractal_core._torch.recent import Recent
from fractal_core.optim.bands import Spectrum, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fractal_core.optim.bands import Layout

__all__ = [
    "COLUMNS",
    "PROBE",
    "ROWS",
    "WINDOW",
    "normalised_probe",
    "sample",
    "sample_shape",
    "shares",
]

ROWS, COLUMNS = 64, 1024
"""A sample is at most so many rows of the gradient and their first entries."""
_CACHED = 1 << 17
"""Entries of samples that the CPU transforms at once: with their transform they stay in its cache."""
PROBE, WINDOW = 128, 32
"""A probe in time is so many entries over the last steps."""


def sample_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the sample of a tensor: its first axis, and what follows it in one row.

    A vector, or a tensor of which only the first axis is longer than 1, is one row.
    """
    size = 1
    for n in shape:
        size *= n
    if len(shape) < 2 or size in {0, shape[0]}:
        return 1, min(size, COLUMNS)
    return min(shape[0], ROWS), min(size // shape[0], COLUMNS)


def sample(gradient: Tensor) -> Tensor:
    """(rows, columns) as `sample_shape` says: evenly spaced rows, the first entries of each, in their order."""
    rows, columns = sample_shape(gradient.shape)
    if rows == 1 and gradient.numel() == max(gradient.shape, default=1):
        return gradient.reshape(1, -1)[:, :columns]
    every = max(1, gradient.shape[0] // ROWS)
    return gradient[: rows * every : every].reshape(rows, -1)[:, :columns]


def normalised_probe(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """Up to 128 evenly spaced entries, (P,), of norm 1; zeros where the norm is 0 or not finite."""
    size = gradient.numel()
    count = min(PROBE, size)
    every = max(1, size // PROBE)
    probe = gradient.reshape(-1)[: count * every : every].to(dtype)
    norm = cast("Tensor", probe.norm())
    usable = (norm > 0) & (norm < torch.inf)
    return torch.where(usable, probe / norm, 0.0)


class _Cut(NamedTuple):
    """Constants of a number of samples and a layout, on a device."""

    weights: Tensor
    """(K,): what a bin counts."""
    last: Tensor
    """(n,), int64: the last bin of each band."""


_cuts: Recent[_Cut] = Recent(256)


def _cut(samples: int, edges: tuple[int, ...], spectrum: Spectrum, device: torch.device, dtype: torch.dtype) -> _Cut:
    def make() -> _Cut:
        weights = torch.full((samples // 2,), 2.0 if spectrum == "power" else 1.0, dtype=dtype)
        if spectrum == "power" and samples % 2 == 0:
            weights[-1] = 1.0
        last = torch.tensor([edge - 1 for edge in edges[1:]])
        return _Cut(weights.to(device), last.to(device))

    return _cuts.get((samples, edges, spectrum, device, dtype), make)


def mean_spectrum(samples: Tensor, spectrum: Spectrum) -> Tensor:
    """The mean over rows of `|F_k|^2` or `|F_k|`, k = 1 ... N // 2: (..., K) for samples (..., R, N)."""
    found = cast("Tensor", torch.fft.rfft(samples, dim=-1))
    if spectrum == "amplitude":
        return found.abs().mean(-2)[..., 1:]
    # Squares of the parts, as numbers of their own and in their place: quick, and no root.
    parts = torch.view_as_real(found).flatten(-2)
    return parts.square_().mean(-2).view(*samples.shape[:-2], -1, 2).sum(-1)[..., 1:]


def mean_spectra(gradients: Sequence[Tensor], spectrum: Spectrum) -> Tensor:
    """(M, K) of gradients with samples of one shape: together, on the CPU as many as its cache holds."""
    count = len(gradients)
    if gradients[0].is_cpu:
        rows, columns = sample_shape(gradients[0].shape)
        count = max(1, _CACHED // (rows * columns))
    found: list[Tensor] = []
    for first in range(0, len(gradients), count):
        stacked = torch.stack([sample(g) for g in gradients[first : first + count]])
        found.append(mean_spectrum(at_least_single(stacked), spectrum))
    return found[0] if len(found) == 1 else torch.cat(found)


def shares(
    bins: Tensor, samples: int, n_bands: int, layout: Layout, spectrum: Spectrum, *, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The share of each band in a mean spectrum.

    Of power, bins count `w_k |F_k|^2`, `w` being 1 at the highest frequency of an even N and 2 below it, so that their
    sum is N times that of the squares of the rows without their means (Parseval); of amplitude, `|F_k|`.

    Args:
        bins: (..., K), as `mean_spectrum` gives them.
        samples: N, at least 2.
        n_bands: bands, at least 1.
        layout: of the bands.
        spectrum: `power` or `amplitude`.
        eps: added to the sum of a spectrum.

    Returns:
        (..., n), and (...) bool: whether there was a spectrum, neither 0 nor infinite; where not, shares are NaN.
    """
    edges = cut(samples // 2, n_bands, layout)
    constants = _cut(samples, edges, spectrum, bins.device, bins.dtype)
    upto = (bins * constants.weights).cumsum(-1)
    total = upto[..., -1]
    parts = torch.diff(upto.index_select(-1, constants.last), dim=-1, prepend=torch.zeros_like(upto[..., :1]))
    return parts / (total + eps).unsqueeze(-1), (total > 0) & (total < torch.inf)
