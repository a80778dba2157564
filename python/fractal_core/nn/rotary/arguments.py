"""The arguments of `RotaryEmbedding`, those by the names of the original included, as one checked set."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core._arguments import INT32_MAX, flag, integer, real
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.nn.rotary.configs import scaling_of
from fractal_core.nn.rotary.modes import Quaternion3, Quaternion4, Rope
from fractal_core.nn.rotary.scaling import NTKScaling, RotaryScaling

__all__ = ["Arguments", "Originals", "settled"]

_BLOCKS = {"rope": Rope.block, "quaternion3": Quaternion3.block, "quaternion4": Quaternion4.block}


@dataclass(frozen=True)
class Originals:
    """The arguments of the original `RotaryEmbedding` that have another name here; None where not given."""

    theta: float | None
    num_freqs: int | None
    theta_rescale_factor: float | None
    use_quaternion: bool | None
    rot_scale: float | None
    rot_count: int | None
    use_projection: bool | None
    proj_scale: float | None


@dataclass(frozen=True)
class Arguments:
    """What an embedding is made from."""

    dim: int
    base: float
    mode: str
    rotary_dim: int
    proj_dim: int | None
    scaling: RotaryScaling | None


def settled(  # noqa: PLR0917
    dim: int,
    base: float,
    mode: str,
    rotary_dim: int | None,
    proj_dim: int | None,
    scaling: object,
    originals: Originals,
) -> Arguments:
    """The arguments by their own names; docs/rotary.md says what becomes of each of the original's.

    Raises:
        InvalidArgumentError: a value out of range, two names of one thing that disagree, or one without a meaning.
        DTypeError: a value of another type.
    """
    dim = integer("dim", dim, 1, INT32_MAX)
    rule = scaling_of(scaling)
    if originals.theta is not None:
        _only("theta", originals.theta, "base", given=base != 10000.0)
        base = originals.theta
    base = checks.above("base" if originals.theta is None else "theta", base, 1.0)
    if originals.theta_rescale_factor is not None and originals.theta_rescale_factor != 1:
        _only("theta_rescale_factor", originals.theta_rescale_factor, "scaling", given=rule is not None)
        rule = _rescaled(originals.theta_rescale_factor)
    if not isinstance(mode, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("mode", type(mode).__name__, "the name of a rotary mode")
    quaternions = originals.use_quaternion is not None and flag("use_quaternion", originals.use_quaternion)
    if quaternions:
        _only("use_quaternion", True, "mode", given=mode not in {"rope", "quaternion3"})
        mode = "quaternion3"
    proj_dim = _projected(proj_dim, dim, originals)
    if proj_dim is not None and rotary_dim is not None:
        raise InvalidArgumentError("rotary_dim", rotary_dim, f"None with proj_dim = {proj_dim}, which is its size")
    room = dim if proj_dim is None else proj_dim
    counted = _count(mode, room, originals)
    if rotary_dim is not None:
        rotary_dim = integer("rotary_dim", rotary_dim, 1, dim)
        if counted not in {None, rotary_dim}:
            raise InvalidArgumentError("rotary_dim", rotary_dim, f"{counted}, as num_freqs or rot_count say, or None")
    elif counted is not None:
        rotary_dim = counted
    else:
        # By the original's own name the entries that fill no block stay; `mode=` refuses them.
        rotary_dim = room - room % 3 if quaternions else room
    if rotary_dim == 0:
        raise InvalidArgumentError("dim", dim, "3 or more with use_quaternion")
    return Arguments(dim, base, mode, rotary_dim, proj_dim, rule)


def _only(name: str, value: object, other: str, *, given: bool) -> None:
    """Refuse a name of the original beside our own for the same thing."""
    if given:
        raise InvalidArgumentError(name, value, f"None beside {other}, which says the same")


def _rescaled(factor: float) -> NTKScaling:
    try:
        return NTKScaling(factor)
    except InvalidArgumentError as error:
        raise InvalidArgumentError("theta_rescale_factor", error.given, error.allowed) from None
    except DTypeError as error:
        raise DTypeError("theta_rescale_factor", error.given, error.allowed) from None


def _projected(proj_dim: int | None, dim: int, originals: Originals) -> int | None:
    """The size of the projection, or None."""
    if originals.proj_scale is not None and real("proj_scale", originals.proj_scale) != 1:
        allowed = "None or 1: the projection is orthonormal, another gain would shrink what is rotated"
        raise InvalidArgumentError("proj_scale", originals.proj_scale, allowed)
    if originals.use_projection is not None and not flag("use_projection", originals.use_projection):
        if proj_dim is not None:
            raise InvalidArgumentError("proj_dim", proj_dim, "None with use_projection=False")
        return None
    if originals.use_projection is None and proj_dim is None:
        return None
    return integer("proj_dim", min(3, dim) if proj_dim is None else proj_dim, 1, dim)


def _count(mode: str, room: int, originals: Originals) -> int | None:
    """Entries that turn, by the number of frequencies or of rotated blocks, or None where neither is given."""
    counts: dict[str, int] = {}
    if originals.num_freqs is not None:
        counts["num_freqs"] = integer("num_freqs", originals.num_freqs, 1, INT32_MAX)
    if originals.rot_count is not None or originals.rot_scale is not None:
        count = integer("rot_count", 1 if originals.rot_count is None else originals.rot_count, 1, INT32_MAX)
        scale = real("rot_scale", 1.0 if originals.rot_scale is None else originals.rot_scale)
        if not 0.5 < scale * count <= INT32_MAX:
            raise InvalidArgumentError("rot_scale", scale, "rot_scale * rot_count of 1 or more when rounded")
        counts["rot_count"] = round(scale * count)
    if not counts:
        return None
    name, blocks = next(iter(counts.items()))
    if len(set(counts.values())) > 1:
        raise InvalidArgumentError("num_freqs", blocks, f"as many as rotated blocks, {counts['rot_count']}")
    if mode not in _BLOCKS:
        raise InvalidArgumentError(name, blocks, f"None with mode={mode!r}: rotary_dim says how much turns")
    width = _BLOCKS[mode] * blocks
    if width > room:
        raise InvalidArgumentError(name, blocks, f"at most {room // _BLOCKS[mode]}: blocks of {_BLOCKS[mode]} entries")
    return width
