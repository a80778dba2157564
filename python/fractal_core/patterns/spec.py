"""Patterns written as text: `window:radius=32|cantor:base=4`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fractal_core.patterns.protocol import Pattern

__all__ = ["is_plain", "parse_with"]

_FORM = "name, or name:key=value,key=value, joined by | (either) and & (both, binds first), with brackets"
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*\Z")


def is_plain(text: str) -> bool:
    """Whether a text is a name alone."""
    return _NAME.match(text) is not None


def parse_with(create: Callable[..., Pattern], text: str) -> Pattern:
    """The pattern that `text` describes, its parts made by `create(name, **params)`."""
    return _either(create, text, text)


def _either(create: Callable[..., Pattern], text: str, whole: str) -> Pattern:
    from fractal_core.patterns.combine import Intersection, Union

    for sign, join in (("|", Union), ("&", Intersection)):
        parts = _split(text, sign, whole)
        if len(parts) > 1:
            made = [_either(create, part, whole) for part in parts]
            joined = made[0]
            for pattern in made[1:]:
                joined = join(joined, pattern)
            return joined
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        return _either(create, text[1:-1], whole)
    return _one(create, text, whole)


def _one(create: Callable[..., Pattern], text: str, whole: str) -> Pattern:
    name, colon, listed = text.partition(":")
    if not is_plain(name.strip()) or (colon and not listed.strip()):
        raise InvalidArgumentError("text", repr(whole), _FORM)
    params: dict[str, object] = {}
    for part in _split(listed, ",", whole) if colon else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier() or not value or key in params:
            raise InvalidArgumentError("text", repr(whole), _FORM)
        params[key] = _value(value)
    return create(name.strip(), **params)


def _value(text: str) -> object:
    """A Python literal, 32x32 as a shape, or the text itself."""
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(side) for side in text.split("x"))
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _split(text: str, sign: str, whole: str) -> list[str]:
    """Pieces between signs that stand outside of all brackets."""
    depth, pieces, start = 0, [], 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth < 0:
            break
        if letter == sign and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    if depth != 0:
        raise InvalidArgumentError("text", repr(whole), "brackets in pairs")
    return [*pieces, text[start:]]
