"""Patterns written as text: `window:radius=32|cantor:base=4`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from fractal_core.errors import InvalidArgumentError
from fractal_core.patterns.base import Intersection, Union

if TYPE_CHECKING:
    from collections.abc import Callable

    from fractal_core.patterns.base import PatternBase

__all__ = ["is_plain", "parameter", "parse_with"]

_FORM = "name, or name:key=value,key=value, joined by | (either) and & (both, binds first), with brackets"
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*\Z")


def is_plain(text: str) -> bool:
    """Whether a text is only a name."""
    return _NAME.match(text) is not None


def parse_with(create: Callable[..., PatternBase], text: str) -> PatternBase:
    """The pattern that `text` describes, its parts made by `create(name, **params)`."""
    return _either(create, text, text)


def _either(create: Callable[..., PatternBase], text: str, whole: str) -> PatternBase:
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


def _one(create: Callable[..., PatternBase], text: str, whole: str) -> PatternBase:
    name, colon, listed = text.partition(":")
    if not is_plain(name.strip()) or (colon and not listed.strip()):
        raise InvalidArgumentError("text", repr(whole), _FORM)
    params: dict[str, object] = {}
    for part in _split(listed, ",", whole) if colon else []:
        found = parameter(part)
        if found is None or found[0] in params:
            raise InvalidArgumentError("text", repr(whole), _FORM)
        params[found[0]] = found[1]
    return create(name.strip(), **params)


def parameter(text: str) -> tuple[str, object] | None:
    """Name and value of `key=value`, or None where a text is not of this form."""
    key, equals, value = (piece.strip() for piece in text.partition("="))
    return (key, _value(value)) if equals and key.isidentifier() and value else None


def _value(text: str) -> object:
    """A Python literal, 32x32 as a shape, or the text itself."""
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(side) for side in text.split("x"))
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _split(text: str, sign: str, whole: str) -> list[str]:
    """Pieces between the signs that are outside of all brackets."""
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
