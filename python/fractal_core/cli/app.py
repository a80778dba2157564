"""The commands and their options; what each does lives in the module of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fractal_core.cli.console import json_alone
from fractal_core.cli.failures import FAILURE, guarded, need
from fractal_core.demo.settings import Settings

__all__ = ["app"]

app = typer.Typer(
    help="Index-sparse attention with gradients on any laptop, with fractal patterns as plug-ins.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DEFAULTS = Settings()
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

    with json_alone(as_json):
        command.run(as_json=as_json)


@app.command()
@guarded
def doctor(as_json: _Json = False) -> None:
    """Look for a GPU, compare its kernels with the CPU, and say what is missing; exit code 1 when something is."""
    from fractal_core.cli import doctor as command

    with json_alone(as_json):
        if not command.run(as_json=as_json):
            raise typer.Exit(FAILURE)


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

        with json_alone(as_json):
            show_list(as_json=as_json)
    else:
        from fractal_core.cli.report import show_report

        with json_alone(as_json):
            show_report(pattern, params or [], n=n, causal=causal, layers=layers, as_json=as_json)


@app.command()
@guarded
def demo(  # noqa: PLR0917
    steps: Annotated[int, typer.Option(min=1, help="Training steps of both models.")] = _DEFAULTS.steps,
    context: Annotated[int, typer.Option(min=16, help="Bytes a sequence.")] = _DEFAULTS.context,
    pattern: Annotated[
        str, typer.Option(help="Any pattern by name, or a specification.", metavar="PATTERN")
    ] = _DEFAULTS.pattern,
    out: Annotated[Path, typer.Option(help="Folder for the report, or its path ending in .html.")] = Path("out/demo"),
    text: Annotated[
        Path | None, typer.Option(help="Text to train on; Python's own reference when not given.", metavar="FILE")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, data order and samples.")] = _DEFAULTS.seed,
    dim: Annotated[int, typer.Option(min=1, help="Width of the model.")] = _DEFAULTS.dim,
    layers: Annotated[int, typer.Option(min=1, help="Blocks of the model.")] = _DEFAULTS.layers,
    as_json: _Json = False,
) -> None:
    """Train a small language model dense and fractal on real text, compare them, and write a report."""
    from fractal_core.cli.demo import run

    settings = Settings(
        pattern=pattern,
        steps=steps,
        context=context,
        dim=dim,
        layers=layers,
        seed=seed,
        text=None if text is None else str(text),
    )
    with json_alone(as_json):
        run(settings, out, as_json=as_json)


@app.command()
@guarded
def bench(  # noqa: PLR0917
    n: Annotated[int, typer.Option("--n", help="Sequence length.", metavar="N")] = 4096,
    heads: Annotated[int, typer.Option(help="Heads.", metavar="H")] = 4,
    dim: Annotated[int, typer.Option(help="Width of a head.", metavar="D")] = 64,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.", metavar="DTYPE")] = "float32",
    pattern: Annotated[
        str, typer.Option(help="Any pattern by name, or a specification.", metavar="PATTERN")
    ] = "window:radius=64",
    causal: Annotated[bool, typer.Option("--causal", help="Leave out the keys after each query.")] = False,
    backward: Annotated[
        bool, typer.Option("--backward/--forward", help="Time the gradients too, or the forward pass alone.")
    ] = False,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="dense, masked or flex; may be given again. All when not given.", metavar="NAME"),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Pairs of calls that count.", metavar="N")] = 9,
    on_gpu: Annotated[
        bool, typer.Option("--gpu", help="Time the kernels on the GPU instead, each beside the CPU; --rounds counts.")
    ] = False,
    kernel: Annotated[
        list[str] | None,
        typer.Option(help="With --gpu: this kernel only; may be given again.", metavar="NAME"),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Compare sparse attention with torch's dense, masked and compiled attention at a size of your own."""
    need("torch", "torch")
    if on_gpu:
        from fractal_core.cli import bench_gpu

        with json_alone(as_json):
            bench_gpu.run(kernel or [], rounds, as_json=as_json)
        return
    from fractal_core.bench.compare import Problem
    from fractal_core.cli.bench import run

    problem = Problem(n, heads, dim, dtype, causal=causal, backward=backward, rounds=rounds)
    with json_alone(as_json):
        run(problem, pattern, peer or [], as_json=as_json)


@app.command()
@guarded
def render(
    what: Annotated[str, typer.Argument(help="pattern, curve, field or gallery.", metavar="WHAT")],
    name: Annotated[
        str, typer.Argument(help="A pattern or specification, a curve, a field; none for the gallery.", metavar="NAME")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write, as its ending says; out/WHAT-NAME.png when not given."),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Queries and keys of a mask, pixels of a field.", metavar="N")] = 256,
    causal: Annotated[bool, typer.Option("--causal", help="Leave out the keys after each query.")] = False,
) -> None:
    """Draw a pattern's mask, a curve, a field, or a gallery of all, in the format of the file's ending."""
    need("matplotlib", "viz")
    from fractal_core.cli.render import render as draw

    stem = "-".join(filter(None, (what, "".join(c if c.isalnum() else "-" for c in name).strip("-"))))
    typer.echo(draw(what, name, out or Path("out") / f"{stem}.png", n=n, causal=causal))


@app.command()
@guarded
def analyze(  # noqa: PLR0917
    model: Annotated[str | None, typer.Option(help="A name of the hub, or a folder.", metavar="MODEL")] = None,
    text: Annotated[str | None, typer.Option(help="The text.", metavar="TEXT")] = None,
    input_file: Annotated[
        str | None, typer.Option(help="A file to read it from; - is standard input.", metavar="FILE")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Attention that --save-maps kept, instead of a model.", metavar="FILE")
    ] = None,
    layer: Annotated[int, typer.Option(help="The layer; negative numbers count from the end.")] = -1,
    head: Annotated[int, typer.Option(help="The head.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="A table of every head of every layer.")] = False,
    layers: Annotated[
        list[str] | None, typer.Option(help="A layer of the table, by number or name; may be given again.")
    ] = None,
    heads: Annotated[list[int] | None, typer.Option(help="A head of the table; may be given again.")] = None,
    measures: Annotated[
        list[str] | None, typer.Option("--measure", help="A column of the table; may be given again.")
    ] = None,
    nulls: Annotated[int, typer.Option(min=0, help="Draws of the row shuffle for every head of the table.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write results to this file.", metavar="FILE")] = None,
    format_: Annotated[str, typer.Option("--format", help="json, csv, npz or parquet.")] = "json",
    save_maps: Annotated[Path | None, typer.Option(help="Keep the attention of all layers, as .npz.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page about all heads, as .html.")] = None,
    save_viz: Annotated[Path | None, typer.Option(help="A folder for pictures, made if need be.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or a device of torch such as cuda.")] = "auto",
    max_gpu_memory: Annotated[float, typer.Option(help="GiB of a GPU that the model may take.")] = 20,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the libraries say.")] = False,
    as_json: _Json = False,
) -> None:
    """Analyse the attention of a model: one head in full, or a table of heads, beside nulls."""
    need("torch", "torch")
    need("transformers", "hf")
    from fractal_core.cli.analyze import Asked, run

    asked = Asked(
        model=model,
        maps=maps,
        text=text,
        input_file=input_file,
        layer=layer,
        head=head,
        layers=layers or [],
        heads=heads or [],
        every=every,
        measures=measures or [],
        nulls=nulls,
        seed=seed,
        output=output,
        format=format_,
        save_maps=save_maps,
        report=report,
        save_viz=save_viz,
        device=device,
        memory=max_gpu_memory,
        verbose=verbose,
    )
    with json_alone(as_json):
        run(asked, as_json=as_json, quiet=quiet)


@app.command()
@guarded
def compare(  # noqa: PLR0917
    model1: Annotated[str, typer.Option("--model1", help="A name of the hub, or a folder.", metavar="MODEL")],
    model2: Annotated[str, typer.Option("--model2", help="Another one.", metavar="MODEL")],
    text: Annotated[str, typer.Option(help="The text.", metavar="TEXT")],
    layer: Annotated[int, typer.Option(help="The layer; negative numbers count from the end.")] = -1,
    head: Annotated[int, typer.Option(help="The head.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write the comparison to this file, as JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or a device of torch such as cuda.")] = "auto",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the libraries say.")] = False,
    as_json: _Json = False,
) -> None:
    """Compare the same head of two models on one text, at one length, beside nulls."""
    need("torch", "torch")
    need("transformers", "hf")
    from fractal_core.cli.analyze import compare as command

    with json_alone(as_json):
        command((model1, model2), text, (layer, head), output, device=device, verbose=verbose, as_json=as_json)


@app.command()
@guarded
def dashboard(
    source: Annotated[
        str | None, typer.Argument(help="Attention that --save-maps kept, or a model with --text.", metavar="SOURCE")
    ] = None,
    other: Annotated[str | None, typer.Option(help="Another one, to compare.", metavar="SOURCE")] = None,
    text: Annotated[str | None, typer.Option(help="The text for a model.", metavar="TEXT")] = None,
    host: Annotated[str, typer.Option(help="Only this machine by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where.")] = 8050,
) -> None:
    """Browse the attention of a model, or of two, in a browser."""
    need("dash", "dashboard")
    need("torch", "torch")
    need("transformers", "hf")
    from fractal_core.dashboard import load, serve

    first, second = (None if which is None else load(which, text) for which in (source, other))
    typer.echo(f"http://{host}:{port}  (Ctrl-C ends it)")
    serve(first, second, host=host, port=port)


@app.command(name="optim-study")
@guarded
def optim_study(  # noqa: PLR0917
    quick: Annotated[bool, typer.Option("--quick", help="A minute, which shows only that all of it runs.")] = False,
    task: Annotated[list[str] | None, typer.Option(help="This task only; may be given again.", metavar="NAME")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs at the chosen rate.", metavar="N")] = None,
    scale: Annotated[float | None, typer.Option(help="Of the steps of every task, at most 1.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/optim-study"),
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Also write docs/fam-results.md.")] = False,
    as_json: _Json = False,
) -> None:
    """Compare frequency-adaptive momentum with tuned optimizers and with its controls, on small tasks."""
    need("torch", "torch")
    from dataclasses import replace

    from fractal_core.cli.optim_study import run
    from fractal_core.study.settings import TASKS, StudySettings

    tasks = tuple(task or TASKS)
    settings = StudySettings.quick(tasks) if quick else StudySettings(tasks=tasks)
    given = {"seeds": seeds, "scale": scale}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    with json_alone(as_json):
        run(settings, out, write_docs=write_docs, as_json=as_json)
