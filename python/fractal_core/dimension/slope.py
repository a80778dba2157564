"""The one result of everything that is a slope: the number, how it was got, and what speaks against it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core import _native
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

FEW = "fewer than 4 scales"
NARROW = "less than a decade of scales"
SMALL = "scale range: a side below 32"
BENT = "bent: the local slope drifts by more than 0.2"
LOST = "no line: fewer than two finite scales"


@dataclass(frozen=True)
class Slope:
    """A slope over scales, for every matrix or series at once; `...` are the leading axes of the input.

    The error and the interval describe the fit. Counts of nested boxes are no independent observations, so inference
    needs several texts, heads or surrogates.
    """

    value: npt.NDArray[np.float64]
    """The dimension or exponent, (...); NaN where `flags` say why."""
    stderr: npt.NDArray[np.float64]
    """Standard error of the fit, (...)."""
    interval: npt.NDArray[np.float64]
    """95 % interval of the fit by Student's t, (..., 2)."""
    r2: npt.NDArray[np.float64]
    """Share of the variance on the line, (...); high for any set of counts."""
    scales: npt.NDArray[np.float64]
    """Scales, (K,)."""
    counts: npt.NDArray[np.float64]
    """What was measured at each scale, (..., K)."""
    log_x: npt.NDArray[np.float64]
    """Logarithms of the scales, (K,)."""
    log_y: npt.NDArray[np.float64]
    """What the line is fitted to, (..., K)."""
    intercept: npt.NDArray[np.float64]
    """The line at `log_x` = 0, (...)."""
    local_slopes: npt.NDArray[np.float64]
    """The value between neighbouring scales, (..., K - 1)."""
    used: npt.NDArray[np.int64]
    """Finite scales, (...)."""
    method: str
    """What was computed."""
    support: str
    """On which support."""
    flags: Mapping[str, npt.NDArray[np.bool_]]
    """What speaks against the value: for each reason where it holds, (...)."""
    baseline: npt.NDArray[np.float64] | None = None
    """The value of uniform attention on the same support and scales, (...), where it is defined."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest scale."""
        return float(self.scales[0]), float(self.scales[-1])

    @property
    def decades(self) -> float:
        """Powers of ten between them."""
        return math.log10(self.scales[-1] / self.scales[0])

    @property
    def reliable(self) -> npt.NDArray[np.bool_]:
        """Where no reason speaks against the value, (...)."""
        good = np.isfinite(self.value)
        for flag in self.flags.values():
            good = good & ~flag
        return good

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons that hold anywhere."""
        return tuple(reason for reason, flag in self.flags.items() if flag.any())

    def __float__(self) -> float:
        """The value of a single matrix or series."""
        if self.value.ndim:
            raise InvalidArgumentError("slope", f"shape {self.value.shape}", "a single value; index it first")
        return float(self.value)

    def __getitem__(self, index: Any) -> Slope:  # noqa: ANN401  # whatever NumPy takes
        """The slope of some of the leading axes."""
        lead = self.value.ndim
        if not lead:
            raise InvalidArgumentError("index", index, "nothing: this is a single value")
        changed: dict[str, Any] = {"flags": {reason: np.asarray(flag[index]) for reason, flag in self.flags.items()}}
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if hasattr(value, "shape") and field.name not in {"scales", "log_x"}:
                changed[field.name] = np.asarray(value[index])
        return replace(self, **changed)


def fitted(
    method: str,
    support: str,
    scales: npt.ArrayLike,
    log_y: npt.NDArray[Any],
    counts: npt.NDArray[Any],
    *,
    lead: tuple[int, ...],
    factor: float = 1.0,
    offset: float = 0.0,
    flags: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    small: bool = False,
    baseline: npt.NDArray[np.float64] | None = None,
) -> Slope:
    """`offset + factor * slope` of `log_y` over the logarithm of the scales; `small` takes the value away."""
    x_scales = np.asarray(scales, dtype=np.float64)
    log_x: npt.NDArray[np.float64] = np.log(x_scales)
    k = len(x_scales)
    y = np.ascontiguousarray(log_y, dtype=np.float64).reshape(-1, k)
    line = _native.fit_lines(log_x.tolist(), y)
    slope, intercept, stderr, half, r2, bend, bend_t, used = (line[:, i].reshape(lead) for i in range(8))
    value = offset + factor * slope
    y = y.reshape(*lead, k)
    with np.errstate(invalid="ignore"):
        local = offset + factor * np.diff(y, axis=-1) / np.diff(log_x)
    everywhere = np.ones(lead, dtype=np.bool_)
    against: dict[str, npt.NDArray[np.bool_]] = {
        FEW: used < 4,
        NARROW: everywhere if x_scales[-1] / x_scales[0] < 10 * (1 - 1e-12) else ~everywhere,
        SMALL: everywhere if small else ~everywhere,
        BENT: (np.abs(factor * bend) > 0.2) & (np.abs(bend_t) > 3),
        LOST: used < 2,
        **(flags or {}),
    }
    return Slope(
        value=np.asarray(np.where(against[SMALL], np.nan, value)),
        stderr=np.asarray(abs(factor) * stderr),
        interval=np.stack([value - abs(factor) * half, value + abs(factor) * half], axis=-1),
        r2=r2,
        scales=x_scales,
        counts=np.asarray(counts, dtype=np.float64).reshape(*lead, k),
        log_x=log_x,
        log_y=y,
        intercept=intercept,
        local_slopes=local,
        used=used.astype(np.int64),
        method=method,
        support=support,
        flags={reason: np.asarray(flag) for reason, flag in against.items() if flag.any()},
        baseline=baseline,
    )


def logs(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Logarithms without warnings: -inf at 0, NaN below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.asarray(values, dtype=np.float64))
