"""The commands and their options; what each does lives in the module of its name."""

from __future__ import annotations

from typing import Annotated

import typer

from fractal_core.cli.failures import guarded

__all__ = ["app"]

app = typer.Typer(
    help="Index-sparse attention with gradients on any laptop, with fractal patterns as plug-ins.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fractal-core {version('fractal-attn')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Index-sparse attention with gradients on any laptop, with fractal patterns as plug-ins."""


@app.command()
@guarded
def info(as_json: _Json = False) -> None:
    """Show the version, the processor, the threads, torch, and every plug-in."""
    from fractal_core.cli import info as command

    command.run(as_json=as_json)


@app.command()
@guarded
def patterns(  # noqa: PLR0917
    pattern: Annotated[
        str | None,
        typer.Argument(help="A name, or a specification such as 'window:radius=32|cantor:base=4'.", metavar="PATTERN"),
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("-p", "--param", help="A parameter of the named pattern.", metavar="KEY=VALUE")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Sequence length.", metavar="N")] = 4096,
    causal: Annotated[bool, typer.Option("--causal", help="Leave out the keys after each query.")] = False,
    layers: Annotated[int, typer.Option(help="Layers to follow the reach over.")] = 8,
    as_json: _Json = False,
) -> None:
    """List the patterns, or report what one of them costs and reaches."""
    if pattern is None:
        from fractal_core.cli.patterns import show_list

        show_list(as_json=as_json)
    else:
        from fractal_core.cli.report import show_report

        show_report(pattern, params or [], n=n, causal=causal, layers=layers, as_json=as_json)
