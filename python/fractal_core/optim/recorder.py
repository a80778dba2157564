"""Spectra of gradients over training, recorded beside an optimizer; nothing is recorded where none is attached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim.adaptive import AdaptiveOptimizer

if TYPE_CHECKING:
    from collections.abc import Collection

    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["Spectra", "Spectrogram"]


class Spectrogram(NamedTuple):
    """What was recorded of one parameter: T times, n bands."""

    steps: npt.NDArray[np.int64]
    """(T,): its own count of steps."""
    bands: npt.NDArray[np.float64]
    """(T, n): smoothed shares, lowest frequency first; zeros before the first spectrum."""
    alphas: npt.NDArray[np.float64]
    """(T,): the momentum of the step."""


class Spectra:
    """Records the bands and momenta of an optimizer's parameters after its steps, in memory.

    Values stay on the parameters' device until they are asked for, so that recording waits for nothing. It ends with
    `detach`, or at the end of a `with` block; copies and pickles of the optimizer have no recorder.

    Args:
        optimizer: `FAM` or its kin.
        every: steps of the optimizer from one record to the next, at least 1.
        names: parameters to record, by name or `group.place`; None for all that have a spectrum.

    Raises:
        DTypeError: an optimizer that has no bands.
        InvalidArgumentError: `every` below 1, or a name that is not there.
    """

    def __init__(self, optimizer: AdaptiveOptimizer, every: int = 1, names: Collection[str] | None = None) -> None:
        if not isinstance(optimizer, AdaptiveOptimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("optimizer", type(optimizer).__name__, "FAM, SimpleFAM, FAMAdamW or FAMOptimizer")
        self._every = integer("every", every, 1, INT32_MAX)
        known = optimizer.parameter_names()
        for name in names or ():
            if name not in known:
                raise InvalidArgumentError("names", repr(name), f"names of parameters: {', '.join(known)}")
        self._names = None if names is None else frozenset(names)
        self._calls = 0
        self._kept: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
        self._hook = optimizer.register_step_post_hook(self._record)

    def __enter__(self) -> Spectra:
        return self

    def __exit__(self, *error: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Ends recording; what was recorded stays."""
        self._hook.remove()

    def _record(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        del args, kwargs
        self._calls += 1
        if self._calls % self._every:
            return
        for name, reading in optimizer.readings().items():
            if self._names is None or name in self._names:
                self._kept.setdefault(name, []).append(reading)

    def names(self) -> list[str]:
        """Parameters of which something was recorded."""
        return list(self._kept)

    def __getitem__(self, name: str) -> Spectrogram:
        """What was recorded of a parameter.

        Raises:
            InvalidArgumentError: nothing was.
        """
        if name not in self._kept:
            raise InvalidArgumentError("name", repr(name), f"one of {', '.join(self._kept) or 'none so far'}")
        steps, bands, alphas = zip(*self._kept[name], strict=True)
        return Spectrogram(
            np.array([int(step) for step in steps], dtype=np.int64),
            np.array([band.double().cpu().numpy() for band in bands]),
            np.array([float(alpha) for alpha in alphas]),
        )

    def to_dict(self) -> dict[str, dict[str, list[Any]]]:
        """All records as plain values: `steps`, `bands` and `alphas` by name."""
        return {
            name: {field: values.tolist() for field, values in self[name]._asdict().items()} for name in self.names()
        }

    def plot(self, names: Collection[str] | None = None) -> Figure:
        """A row a parameter: shares of bands over steps, and the momentum beside them.

        Args:
            names: which; None for all, at most the first eight.

        Raises:
            InvalidArgumentError: nothing was recorded, or not of a name.
            ImportError: without matplotlib (extra `viz`).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError('plots need matplotlib: pip install "fractal-attn[viz]"') from error
        wanted = self.names()[:8] if names is None else list(names)
        if not wanted:
            raise InvalidArgumentError("names", "none", "at least one parameter of which something was recorded")
        figure = Figure(figsize=(9, 1.9 * len(wanted) + 0.6), layout="constrained")
        rows = figure.subplots(len(wanted), 2, squeeze=False, sharex="col", width_ratios=(3, 2))
        for (left, right), name in zip(rows, wanted, strict=True):
            found = self[name]
            seen = np.where(found.bands.sum(1, keepdims=True) > 0, found.bands, np.nan)
            places = list(range(found.bands.shape[1]))
            shown = left.pcolormesh(found.steps, places, seen.T, shading="nearest", cmap="viridis", vmin=0)
            left.yaxis.get_major_locator().set_params(integer=True)
            figure.colorbar(shown, ax=left, label="share")
            left.set_title(name, fontsize="small", loc="left")
            left.set_ylabel("band")
            right.plot(found.steps, found.alphas, color="tab:blue")
            right.set_ylabel("momentum")
        for axes in rows[-1]:
            axes.set_xlabel("step")
        return figure
