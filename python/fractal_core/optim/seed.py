"""The seed's optimizer under its own name and arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._files import written
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim.adaptive import Rate
from fractal_core.optim.fam import FAM
from fractal_core.optim.parameter_groups import kind_of_name
from fractal_core.optim.recorder import Spectra

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

__all__ = ["FAMOptimizer"]

_EVERY = 10
"""Steps from one record to the next, as in the seed."""


class FAMOptimizer(FAM):
    """`FAM` as the seed had it: its rule of thresholds, coupled weight decay, and a handler by name of parameter.

    What differs from the seed: samples are taken in order and not at random, no bin is lost, nothing is printed, no
    exception is swallowed, and no file is written unless `dump_debug_info` is called. Prefer `FAM`: the seed's rule is
    a constant in practice (docs/optim.md).

    A group without `handler` gets the one that the names of its parameters say, where `names`, or pairs of names and
    parameters, give them: `conv`, `attention`, `embedding`, else `default`.

    Args:
        params: as for `FAM`.
        lr: learning rate, at least 0.
        alpha: momentum, 0 <= alpha < 1.
        beta: memory of the bands, 0 <= beta < 1.
        eps: at least 0, added to sums of amplitudes.
        weight_decay: at least 0, added to the gradient.
        n_bands: bands asked for, at least 1.
        fam_start_step: steps with momentum `alpha`, at least 0.
        layer_boost: has no effect, as it had none in the seed.
        min_size: parameters of no more entries keep momentum `alpha`.
        debug: record every tenth step in `spectra`, a `Spectra`.
        debug_dir: the folder that `dump_debug_info` writes to.
        debug_interval: steps from one `dump_debug_info` that writes to the next, at least 1.

    Attributes:
        spectra: the recorder; None without `debug`, and in copies and pickles.

    Raises:
        InvalidArgumentError: a value out of its range.
        DTypeError: a value of a wrong type; complex or integer parameters.
    """

    spectra: Spectra | None = None

    def __init__(  # noqa: PLR0917
        self,
        params: ParamsT,
        lr: Rate = 1e-3,
        alpha: float = 0.9,
        beta: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        n_bands: int = 8,
        fam_start_step: int = 100,
        layer_boost: bool = True,
        min_size: int = 256,
        debug: bool = False,
        debug_dir: str | Path = "./fam_debug",
        debug_interval: int = 1000,
    ) -> None:
        flag("layer_boost", layer_boost)
        if not isinstance(debug_dir, (str, Path)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("debug_dir", type(debug_dir).__name__, "a path")
        self._debug = (Path(debug_dir), integer("debug_interval", debug_interval, 1, INT32_MAX))
        self._dumped = 0
        super().__init__(
            params,
            lr,
            alpha,
            beta,
            eps,
            weight_decay,
            decoupled=False,
            n_bands=n_bands,
            fam_start_step=fam_start_step,
            min_size=min_size,
            rule="seed",
        )
        if flag("debug", debug):
            self.spectra = Spectra(self, every=_EVERY)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; its handler is the one that names say, if it has none."""
        told = "handler" in param_group
        names = param_group.get("names")
        super().add_param_group(param_group)
        if not told:
            group = self.param_groups[-1]
            group["handler"] = _handler(group.get("param_names") or names or ())

    def dump_debug_info(self, force: bool = False) -> Path | None:
        """Writes what was recorded to `fam_debug.json` in `debug_dir`, which is made if missing.

        Args:
            force: also when fewer than `debug_interval` steps have gone since the last file.

        Returns:
            The file, or None when it was not yet time.

        Raises:
            InvalidArgumentError: the optimizer was made without `debug`, or copied.
            OSError: the file cannot be written.
        """
        if self.spectra is None:
            raise InvalidArgumentError("debug", False, "True, in the optimizer that was made with it")
        step = max((int(state["step"]) for state in self.state.values()), default=0)
        folder, interval = self._debug
        if not flag("force", force) and step - self._dumped < interval:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "fam_debug.json"
        with written(path) as file:
            file.write(json.dumps({"step": step, "parameters": self.spectra.to_dict()}).encode())
        self._dumped = step
        return path


def _handler(names: Any) -> str:  # noqa: ANN401
    kinds = {kind_of_name(name) for name in names}
    return next((kind for kind in ("conv", "attention", "embedding") if kind in kinds), "default")
