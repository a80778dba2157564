"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Generator


def checked_path(path: object, suffix: str | None = None) -> Path:
    """`path`, whose folder must exist and whose name must end as asked."""
    if not isinstance(path, (str, os.PathLike)):
        raise DTypeError("path", type(path).__name__, "a path")
    found = Path(cast("str | os.PathLike[str]", path))
    if suffix is not None and found.suffix != f".{suffix}":
        raise InvalidArgumentError("path", str(found), f"a name that ends in .{suffix}")
    if not found.parent.is_dir():
        raise FileNotFoundError(f"no folder {found.parent} to write {found.name} to")
    return found


@contextmanager
def written(path: object, suffix: str | None = None) -> Generator[IO[bytes]]:
    """A file to write to, which gets its name at the end; after an error nothing is left."""
    final = checked_path(path, suffix)
    handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # As an ordinary file would be, not as a temporary one.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, final)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
