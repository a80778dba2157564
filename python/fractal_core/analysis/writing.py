"""Files that are whole or not there: written under a temporary name and renamed."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Generator


def target(argument: str, path: str | os.PathLike[str]) -> Path:
    """`path` as a file that can be written: not a folder, in a folder that is there.

    Raises:
        InvalidArgumentError: It is a folder, or its folder does not exist.
        DTypeError: It is no path.
    """
    if not isinstance(path, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError(argument, repr(path), "a path")
    found = Path(path)
    if found.is_dir():
        raise InvalidArgumentError(argument, found, "a file, not a folder")
    if not found.parent.is_dir():
        raise InvalidArgumentError(argument, found, f"a file in a folder that exists; {found.parent} does not")
    return found


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and goes when it does not."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for their owner alone; what is shared keeps the mode that others have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
