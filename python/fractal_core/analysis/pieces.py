"""Tokens as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


def pieces(tokenizer: Any, ids: npt.ArrayLike) -> tuple[str, ...]:  # noqa: ANN401
    """The words of token numbers, one string each; spaces as they are in the text.

    A piece of a character that several tokens share comes as its bytes, such as "<f0><9f>".
    """
    import numpy as np

    raw: list[Any] = list(tokenizer.convert_ids_to_tokens(np.asarray(ids).tolist()))
    special: set[str] = set(getattr(tokenizer, "all_special_tokens", ()))
    byte_level = any(isinstance(piece, str) and set(piece) & set("ĠĊ") for piece in raw) or _says_byte_level(tokenizer)
    return tuple(_readable(piece, byte_level and piece not in special) for piece in raw)


def _says_byte_level(tokenizer: Any) -> bool:  # noqa: ANN401
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return "ByteLevel" in repr(getattr(backend, "decoder", ""))


def _bytes() -> dict[str, int]:
    """The printable stand-in of each byte in byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return {**table, **{chr(256 + i): byte for i, byte in enumerate(others)}}


_OF_BYTE = _bytes()


def _readable(piece: object, byte_level: bool) -> str:
    text = "" if piece is None else str(piece)
    if byte_level and text and all(c in _OF_BYTE for c in text):
        raw = bytes(_OF_BYTE[c] for c in text)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<{byte:02x}>" for byte in raw)
    return text.replace("▁", " ")
