"""`python -m benches`: the options of `make bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fractal_core.cli.failures import guarded, need

from benches import command
from benches.settings import Settings

__all__ = ["app"]

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
@guarded
def bench(  # noqa: PLR0917
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this one only; may be given again.", metavar="NAME")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of every measurement; each one's own number when not given.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="At most three rounds a measurement.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the measurements.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for results.json and results.png.")] = Path("out/bench"),
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Where the JSON goes instead.", metavar="PATH")
    ] = None,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Also write docs/results.md, from the repository's root.")
    ] = False,
) -> None:
    """Measure against every peer in one run; exit code 1 when a bar falls short or a peer is missing."""
    need("matplotlib", "viz")
    if listed:
        command.show_list()
    else:
        command.measure(Settings(rounds, quick), only or [], out=out, json_path=json_path, write_docs=write_docs)


if __name__ == "__main__":
    app(prog_name="python -m benches")
