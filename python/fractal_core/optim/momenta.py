"""From gradients to momenta, for a group at once; settings are those of the group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from fractal_core.optim import spectrum
from fractal_core.optim.bands import cut, white_shares
from fractal_core.optim.rules import HANDLERS, Reading, rule_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fractal_core.optim.bands import Layout

__all__ = [
    "Members",
    "batches",
    "corrected",
    "momentum_of",
    "overwrite",
    "remember",
    "sample_length",
    "smoothed",
    "weights",
]


class Members(NamedTuple):
    """The parameters of a group that have a gradient, and their state; lists of one length unless said otherwise."""

    params: list[Tensor]
    grads: list[Tensor]
    steps: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    """Empty for FAM."""
    prods: list[Tensor]
    """Empty without bias correction."""
    adaptive: list[int]
    """Which of them have a spectrum; the next two lists are theirs."""
    bands: list[Tensor]
    rings: list[Tensor]
    """Empty unless the signal is temporal."""


def sample_length(group: dict[str, Any], parameter: Tensor) -> int:
    """N of a parameter's spectrum; 0 where it has none."""
    if group["signal"] == "none" or parameter.numel() <= group["min_size"] or parameter.numel() == 0:
        return 0
    return spectrum.WINDOW if group["signal"] == "temporal" else spectrum.sample_shape(parameter.shape)[1]


def overwrite(tensors: list[Tensor], values: Tensor) -> None:
    """Puts the rows of `values` (M, ...) into M tensors."""
    torch._foreach_copy_(tensors, list(values.unbind()))  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def batches(group: dict[str, Any], found: Members) -> dict[tuple[object, ...], list[int]]:
    """Places in `adaptive` whose samples have one shape, dtype and device."""
    batches: dict[tuple[object, ...], list[int]] = {}
    for place, member in enumerate(found.adaptive):
        parameter = found.params[member]
        if group["signal"] == "temporal":
            shape: tuple[int, ...] = (min(spectrum.PROBE, parameter.numel()),)
        else:
            shape = spectrum.sample_shape(parameter.shape)
        batches.setdefault((shape, parameter.dtype, parameter.device), []).append(place)
    return batches


def remember(rings: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Puts the probe of this step last in each ring; (M, P, W), time along the last axis."""
    probes = torch.stack([spectrum.normalised_probe(g, ring.dtype) for g, ring in zip(gradients, rings, strict=True)])
    stacked = torch.cat([torch.stack(rings)[:, 1:], probes[:, None]], 1)
    overwrite(rings, stacked)
    return stacked.mT


def _layout(group: dict[str, Any]) -> Layout:
    return group["band_layout"] or HANDLERS[group["handler"]].layout


def smoothed(
    group: dict[str, Any], gradients: Sequence[Tensor], past: Tensor | None, bands: Tensor, due: Tensor | None
) -> Tensor:
    """The averages of bands after this step: the first spectrum as it is.

    Args:
        group: the settings.
        gradients: M of them, with samples of one shape.
        past: (M, P, W), what `remember` gave; None for the signal in space.
        bands: (M, n), the averages before.
        due: (M,) bool, whose spectrum counts; None for all. Averages also stay where there is no spectrum.
    """
    kind = rule_of(group["rule"]).spectrum
    eps = group["eps"] if kind == "amplitude" else 0.0
    bins = spectrum.mean_spectra(gradients, kind) if past is None else spectrum.mean_spectrum(past, kind)
    samples = sample_length(group, gradients[0])
    shares, seen = spectrum.shares(bins, samples, group["n_bands"], _layout(group), kind, eps=eps)
    seen = seen if due is None else seen & due
    first = (bands.sum(-1, keepdim=True) == 0).to(bands.dtype)
    weight = 1 - group["beta"] * (1 - first)
    return torch.lerp(bands, torch.where(seen[:, None], shares, bands), weight)


def momentum_of(group: dict[str, Any], bands: Tensor, samples: int) -> Tensor:
    """(M,) for bands (M, n)."""
    rule, alpha = rule_of(group["rule"]), group["alpha"]
    edges = cut(samples // 2, group["n_bands"], _layout(group))
    reading = Reading(
        bands=bands,
        white=white_shares(samples, edges, rule.spectrum),
        alpha=alpha,
        handler=group["handler"],
        delta=group["delta"],
        alpha_min=min(group["alpha_min"], alpha),
        alpha_max=max(group["alpha_max"], alpha),
    )
    return torch.where(bands.sum(-1) > 0, rule.momentum(reading), alpha)


def weights(alpha: float, momenta: dict[int, Tensor], like: Sequence[Tensor]) -> list[tuple[list[int], Any]]:
    """`1 - momentum`: places that have one each of their own, as tensors of the dtypes of `like`, and the others."""
    own = sorted(momenta)
    rest = [place for place in range(len(like)) if place not in momenta]
    found: list[tuple[list[int], Any]] = []
    if own:
        found.append((own, [(1 - momenta[place]).to(like[place].dtype) for place in own]))
    if rest:
        found.append((rest, 1 - alpha))
    return found


def corrected(group: dict[str, Any], found: Members, momenta: dict[int, Tensor]) -> list[Tensor]:
    """`-lr` over 1 less the product of all momenta so far, this step's among them, for each parameter."""
    for place, prod in enumerate(found.prods):
        prod.mul_(momenta[place] if place in momenta else group["alpha"])
    return [(-group["lr"] / (1 - prod)).to(p.dtype) for prod, p in zip(found.prods, found.params, strict=True)]
