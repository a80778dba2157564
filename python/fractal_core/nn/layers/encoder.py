"""Stacks of blocks by lists of settings: drawn by a seed, kept as JSON, built again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

from torch import Tensor, nn

from fractal_core import patterns as _patterns
from fractal_core._arguments import INT32_MAX, INT64_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.nn.layers.residual import ACTIVATIONS, NORMS, Residual, chosen

if TYPE_CHECKING:
    from typing_extensions import Self

    from fractal_core.nn.rotary import RotaryEmbedding

__all__ = ["Encoder", "EncoderLayerConfig", "build_encoder", "create_encoder_layers", "sample_encoder_config"]

T = TypeVar("T")


@dataclass(frozen=True)
class EncoderLayerConfig:
    """The settings of one block, as of `Residual`; numbers, texts and flags alone, so that JSON holds them.

    Attributes:
        dims: E.
        head: H, a divisor of dims.
        act: name of the activation.
        dropout: 0 <= dropout < 1.
        norm: "layernorm" or "rmsnorm".
        mlp_ratio: 1 or more.
        pattern: specification of the pattern, or None for all keys.
        decoder: no token sees a later one.
        cross_attention: attend to another sequence, too.

    Raises:
        DTypeError: a value is of another type than listed.
        InvalidArgumentError: a value is out of its range.
        PluginError: the pattern is not known, or did not load.
    """

    dims: int
    head: int
    act: str = "gelu"
    dropout: float = 0.0
    norm: str = "layernorm"
    mlp_ratio: int = 4
    pattern: str | None = None
    decoder: bool = False
    cross_attention: bool = False

    def __post_init__(self) -> None:
        """Check."""
        for name in ("dims", "head", "mlp_ratio"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1, INT32_MAX))
        if self.dims % self.head:
            raise InvalidArgumentError("head", self.head, f"a divisor of dims = {self.dims}")
        chosen("act", self.act, ACTIVATIONS)
        chosen("norm", self.norm, NORMS)
        object.__setattr__(self, "dropout", checks.fraction("dropout", self.dropout))
        if self.pattern is not None:
            if not isinstance(self.pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DTypeError("pattern", type(self.pattern).__name__, "the specification of a pattern, or None")
            _patterns.create(self.pattern)
        for name in ("decoder", "cross_attention"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))

    def to_dict(self) -> dict[str, object]:
        """All settings, as `json.dumps` takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, object]) -> Self:
        """The settings that `to_dict` gave.

        Raises:
            DTypeError: no mapping.
            InvalidArgumentError: a name that is no setting, or dims or head missing.
        """
        if not isinstance(settings, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("settings", type(settings).__name__, "a mapping of settings by name")
        known = {field.name for field in fields(cls)}
        for name in [*(settings.keys() - known), *({"dims", "head"} - settings.keys())]:
            given = "an unknown setting" if name in settings else "nothing"
            raise InvalidArgumentError(str(name), given, f"settings: {', '.join(sorted(known))}; dims and head always")
        return cls(**cast("dict[str, Any]", dict(settings)))


class Encoder(nn.ModuleList):
    """Blocks in a row, which is a list of them, too. Made by `build_encoder`.

    Attributes:
        configs: the settings that the blocks were made by.
    """

    configs: tuple[EncoderLayerConfig, ...]

    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        xa_mask: Tensor | None = None,
    ) -> Tensor:
        """All blocks after each other, (B, N, E) -> (B, N, E).

        Args:
            x: (B, N, E).
            xa: (B, M, E), for the blocks with cross attention.
            mask: (B, N) bool, True where a token of x takes part as a key.
            xa_mask: (B, M) bool, True where a token of xa takes part.
        """
        for block in self:
            if isinstance(block, Residual) and block.cross is not None:
                x = block(x, xa, mask, xa_mask=xa_mask)
            else:
                x = block(x, None, mask)
        return x


def sample_encoder_config(
    num_layers: int,
    dims: int,
    seed: int,
    *,
    heads: Sequence[int] = (4, 8, 16),
    acts: Sequence[str] = ("relu", "gelu", "selu", "leaky_relu"),
    dropout: tuple[float, float] = (0.1, 0.3),
    norms: Sequence[str] = ("layernorm", "rmsnorm"),
    mlp_ratios: Sequence[int] = (2, 3, 4),
    patterns: Sequence[str | None] = (None,),
) -> list[EncoderLayerConfig]:
    """Settings of blocks, each drawn from what is allowed, by a generator of its own: one seed, one list.

    Args:
        num_layers: blocks, 0 or more.
        dims: E.
        seed: 0 or more.
        heads: numbers of heads; those that do not divide dims are left out.
        acts: names of activations.
        dropout: the least and the most, 0 <= least <= most < 1, between which shares are uniform.
        norms: names of norms.
        mlp_ratios: widths of the MLP by E.
        patterns: specifications of patterns; None is all keys.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: nothing to choose from, no number of heads that divides dims, or a value out of range.
        PluginError: a pattern that is not known, or did not load.
    """
    num_layers = integer("num_layers", num_layers, 0, INT32_MAX)
    dims = integer("dims", dims, 1, INT32_MAX)
    draw = random.Random(integer("seed", seed, 0, INT64_MAX))
    fitting = [h for h in (integer("heads", h, 1, INT32_MAX) for h in _some("heads", heads)) if dims % h == 0]
    if not fitting:
        raise InvalidArgumentError("heads", tuple(heads), f"at least one divisor of dims = {dims}")
    low, high = (checks.fraction("dropout", share) for share in _pair(dropout))
    if low > high:
        raise InvalidArgumentError("dropout", dropout, "(least, most), least <= most")
    acts, norms = _some("acts", acts), _some("norms", norms)
    patterns = _some("patterns", patterns)
    mlp_ratios = [integer("mlp_ratios", ratio, 1, INT32_MAX) for ratio in _some("mlp_ratios", mlp_ratios)]
    return [
        EncoderLayerConfig(
            dims=dims,
            head=draw.choice(fitting),
            act=draw.choice(acts),
            dropout=draw.uniform(low, high),
            norm=draw.choice(norms),
            mlp_ratio=draw.choice(mlp_ratios),
            pattern=draw.choice(patterns),
        )
        for _ in range(num_layers)
    ]


def build_encoder(
    configs: Sequence[EncoderLayerConfig], *, rotary: Callable[[int], RotaryEmbedding] | None = None
) -> Encoder:
    """Blocks by their settings, in order; weights come from torch's default generator.

    Args:
        configs: the settings.
        rotary: makes the rotary embedding of heads of a size, such as `RotaryEmbedding` itself; None for none. Blocks
            whose heads have one size share one.

    Raises:
        DTypeError: something else than settings, or a rotary that makes none.
        InvalidArgumentError: blocks of different dims.
    """
    if isinstance(configs, str) or not isinstance(configs, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("configs", type(configs).__name__, "a list of EncoderLayerConfig")
    for config in configs:
        if not isinstance(config, EncoderLayerConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("configs", type(config).__name__, "a list of EncoderLayerConfig")
        if config.dims != configs[0].dims:
            raise InvalidArgumentError("configs", f"dims {config.dims} beside {configs[0].dims}", "one dims for all")
    if rotary is not None and not callable(rotary):  # pyright: ignore[reportUnnecessaryComparison]
        raise DTypeError("rotary", type(rotary).__name__, "a function that makes a RotaryEmbedding, or None")
    sizes = {config.dims // config.head for config in configs}
    embeddings = {size: None if rotary is None else rotary(size) for size in sorted(sizes)}
    made = Encoder(
        Residual(layer_idx=place, rotary=embeddings[config.dims // config.head], **vars(config))
        for place, config in enumerate(configs)
    )
    made.configs = tuple(configs)
    return made


def create_encoder_layers(
    num_layers: int = 10,
    dims: int = 512,
    *,
    seed: int = 0,
    rotary: Callable[[int], RotaryEmbedding] | None = None,
) -> Encoder:
    """Blocks by settings drawn by a seed: `build_encoder` of `sample_encoder_config(num_layers, dims, seed)`."""
    return build_encoder(sample_encoder_config(num_layers, dims, seed), rotary=rotary)


def _some(argument: str, among: Sequence[T]) -> Sequence[T]:
    if isinstance(among, str) or not isinstance(among, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError(argument, type(among).__name__, "a sequence of choices")
    if not among:
        raise InvalidArgumentError(argument, among, "at least one choice")
    return among


def _pair(dropout: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(dropout, (tuple, list)) or len(dropout) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("dropout", repr(dropout), "(least, most)")
    return dropout[0], dropout[1]
