"""The command line, `fractal-core`.

Its commands: `analyze`, `bench`, `compare`, `dashboard`, `demo`, `doctor`, `info`,
`optim-study`, `patterns` and `render`.

Exit codes: 0 done, 1 failed, 2 a wrong argument, 130 interrupted. Nothing heavy loads before its command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["faa_analyze", "faa_compare", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and leaves the process with its exit code.

    Args:
        arguments: Words of the command line without the program's name; those of the process when None.

    Raises:
        SystemExit: Always, with the exit code.
    """
    try:
        from fractal_core.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        print(f'error: the command line needs {error.name}: pip install "fractal-attn[cli]"', file=sys.stderr)
        raise SystemExit(1) from None
    app(None if arguments is None else list(arguments), prog_name="fractal-core")


def faa_analyze() -> None:
    """`faa-analyze`: `fractal-core analyze` under the name of Fractal-Attention Analysis."""
    main(["analyze", *sys.argv[1:]])


def faa_compare() -> None:
    """`faa-compare`: `fractal-core compare` likewise."""
    main(["compare", *sys.argv[1:]])
