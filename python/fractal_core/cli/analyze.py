"""`fractal-core analyze` and `compare`: the geometry of a model's attention, on the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table as Printed

from fractal_core._files import checked_path
from fractal_core.analysis import AttentionMaps, DeviceManager, FractalAttentionAnalyzer, Table, measure, write_report
from fractal_core.analysis.export import FORMATS, plain, write_results, write_table
from fractal_core.analysis.inference import false_discoveries
from fractal_core.analysis.shuffles import shuffle_test
from fractal_core.cli.console import ACCENT, console, digits, facts, print_json
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Asked", "compare", "run"]

_HEADS = ("D1", "normalized_entropy", "gini", "sink", "previous", "distance")


@dataclass(frozen=True)
class Asked:
    """What `analyze` was asked for.

    Attributes:
        model: A name or folder; None where maps are read from a file.
        maps: An NPZ file of `AttentionMaps.save`.
        text: The text itself.
        input_file: A file to read it from; "-" is standard input.
        layer: A single layer.
        head: A single head.
        layers: Layers of the table of heads; all of them where `every`.
        heads: Heads of the table.
        every: A table of all heads.
        measures: Columns of the table.
        nulls: Draws of the row shuffle for every head; 0 for none.
        seed: Of the draws.
        output: Where to write results.
        format: How.
        save_maps: Where to keep the attention.
        report: Where to write a page about all heads.
        save_viz: A folder for pictures.
        device: "auto", "cpu", or a device of torch.
        memory: GiB of a GPU that the model may take.
        verbose: Let the libraries speak.
    """

    model: str | None
    maps: Path | None
    text: str | None
    input_file: str | None
    layer: int
    head: int
    layers: list[str]
    heads: list[int]
    every: bool
    measures: list[str]
    nulls: int
    seed: int
    output: Path | None
    format: str
    save_maps: Path | None
    report: Path | None
    save_viz: Path | None
    device: str
    memory: float
    verbose: bool


def run(asked: Asked, *, as_json: bool, quiet: bool = False) -> None:
    """Analyses a text with a model, or attention that was kept.

    Raises:
        InvalidArgumentError: Arguments that do not go together, or an unknown model, layer, head, measure or format.
        OSError: A file that cannot be read or written.
    """
    show = console(quiet=as_json or quiet)
    if asked.format not in FORMATS:
        raise InvalidArgumentError("--format", repr(asked.format), ", ".join(FORMATS))
    for path in (asked.output, asked.save_maps, asked.report):
        if path is not None:
            checked_path(path)
    if asked.maps is not None:
        if asked.model is not None or asked.text is not None or asked.input_file is not None:
            raise InvalidArgumentError("--maps", str(asked.maps), "no --model and no text beside it")
        _of_heads(AttentionMaps.load(asked.maps), asked, show, as_json=as_json)
        return
    if asked.model is None:
        raise InvalidArgumentError("--model", None, "a name or a folder; or --maps")
    text = _text(asked)
    _silence(verbose=asked.verbose)
    with show.status("loading the model"):
        analyzer = FractalAttentionAnalyzer(asked.model, _device(asked))
    if asked.every or asked.layers or asked.heads or asked.save_maps is not None or asked.report is not None:
        with show.status("one forward pass"):
            maps = analyzer.maps(text)
        if asked.save_maps is not None:
            maps.save(asked.save_maps)
        _of_heads(maps, asked, show, as_json=as_json)
        return
    with show.status("analysing"):
        result = analyzer.analyze(text, asked.layer, asked.head, save_dir=asked.save_viz)
    if asked.output is not None:
        write_results(result, asked.output, asked.format)  # type: ignore[arg-type]
    if as_json:
        left_out = {"attention", "transformed_attention", "golden_ratio_scored"}
        print_json(plain({name: value for name, value in result.items() if name not in left_out}))
    _show_result(result, show)


def _silence(*, verbose: bool) -> None:
    """Bars and advice of the model library belong to programs that ask for them."""
    from fractal_core.analysis.loading import need_transformers

    logging = need_transformers().utils.logging
    if not verbose:
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _text(asked: Asked) -> str:
    if (asked.text is None) == (asked.input_file is None):
        raise InvalidArgumentError("--text", asked.text, "a text, or --input-file; one of them")
    if asked.text is not None:
        return asked.text
    if asked.input_file == "-":
        return sys.stdin.read()
    try:
        return Path(str(asked.input_file)).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError("--input-file", f"{asked.input_file}: {error}", "text in UTF-8") from None


def _device(asked: Asked) -> DeviceManager:
    if asked.device == "auto":
        return DeviceManager(max_gpu_memory_gb=asked.memory)
    return DeviceManager(max_gpu_memory_gb=asked.memory, device=asked.device)


def _show_result(result: dict[str, Any], show: Console) -> None:
    fit = result["fit"]
    rows: dict[str, object] = {
        "model": result["model_name"],
        "tokens": len(result["tokens"]),
        "support": fit["support"],
        "information dimension": _with_error(result["fractal_dimension"], fit["stderr"]),
        "uniform attention here": _number(fit["baseline"]),
        "self-similarity": _number(result["self_similarity"]),
        **{name: _number(value) for name, value in result["metrics"].items() if name != "fractal_dimension"},
    }
    if fit["reasons"]:
        rows["not to be trusted"] = "; ".join(fit["reasons"])
    show.print(facts(f"{result['layer_name']}, head {result['head_idx']}", rows))


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.4g}"


def _with_error(value: float, error: float | None) -> str:
    return "–" if not np.isfinite(value) else f"{value:.4f} ± {error or 0:.4f} (of the fit)"


def _of_heads(maps: AttentionMaps, asked: Asked, show: Console, *, as_json: bool) -> None:
    chosen = [int(name) if name.lstrip("-").isdigit() else name for name in asked.layers] or None
    with show.status("measuring"):
        table = measure(maps, asked.measures or _HEADS, layers=chosen, heads=asked.heads or None)
    if asked.nulls:
        with show.status("drawing nulls"):
            table = _with_nulls(table, maps, asked)
    if asked.report is not None:
        with show.status("writing the report"):
            write_report(maps, asked.report, draws=asked.nulls or 19, rng=np.random.default_rng(asked.seed))
    if asked.output is not None:
        write_table(table, asked.output, asked.format)  # type: ignore[arg-type]
    if as_json:
        print_json({"provenance": plain(dict(maps.provenance)), "rows": list(table.rows())})
    show.print(_heads_table(table))


def _with_nulls(table: Table, maps: AttentionMaps, asked: Asked) -> Table:
    """Columns for D1 of every head: the mean and deviation of its row shuffles, p, and whether it is a discovery."""
    if asked.nulls < 2:
        raise InvalidArgumentError("--nulls", asked.nulls, "0, or 2 or more draws")
    rng = np.random.default_rng(asked.seed)
    n = len(table)
    columns = {name: np.full(n, np.nan) for name in ("null_mean", "null_std", "p", "q")}
    rows = np.flatnonzero((table["measure"] == "D1") & np.isfinite(table["value"]))
    for i in rows:
        tested = shuffle_test(maps.layers[int(table["layer"][i])], int(table["head"][i]), asked.nulls, rng)
        if tested is not None:
            test, _ = tested
            columns["null_mean"][i], columns["null_std"][i], columns["p"][i] = test.mean, test.std, test.p
    if len(rows):
        columns["q"][rows] = false_discoveries(columns["p"][rows]).q
    return Table({**table.columns, **columns})


def _heads_table(table: Table) -> Printed:
    names = list(dict.fromkeys(table["measure"].tolist()))
    printed = Printed(box=None, header_style=ACCENT, padding=(0, 1, 0, 0))
    printed.add_column("layer", no_wrap=True)
    with_nulls = "p" in table.columns
    for name in ("head", *names, *(("null D1", "p", "q") if with_nulls else ())):
        printed.add_column(escape(name), justify="right", no_wrap=True)
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row in table.rows():
        of = cells.setdefault((row["name"], row["head"]), {})
        of[row["measure"]] = "–" if row["value"] is None else digits(row["value"])
        if with_nulls and row["p"] is not None:
            of |= {"null D1": digits(row["null_mean"]), "p": digits(row["p"]), "q": digits(row["q"])}
    shown = [*names, *(("null D1", "p", "q") if with_nulls else ())]
    for (layer, head), of in cells.items():
        printed.add_row(escape(layer), str(head), *(of.get(name, "–") for name in shown))
    return printed


def compare(
    models: tuple[str, str],
    text: str,
    place: tuple[int, int],
    output: Path | None,
    *,
    device: str,
    verbose: bool,
    as_json: bool,
) -> None:
    """Compares the same head of two models, at one length and beside nulls.

    Raises:
        InvalidArgumentError: An unknown model, layer or head, or a text that cannot be read.
        OSError: A file that cannot be written.
    """
    show = console(quiet=as_json)
    if output is not None:
        checked_path(output)
    _silence(verbose=verbose)
    manager = DeviceManager() if device == "auto" else DeviceManager(device=device)
    with show.status("loading the models"):
        first, second = (FractalAttentionAnalyzer(model, manager) for model in models)
    with show.status("comparing"):
        found = first.compare_models(second, text, layer_idx=place[0], head_idx=place[1])
    if output is not None:
        write_results(found, output, "json")
    if as_json:
        print_json(plain(found))
    printed = Printed(box=None, header_style=ACCENT, padding=(0, 1, 0, 0))
    printed.add_column("")
    sides = (found["model_1"], found["model_2"])
    for side in sides:
        printed.add_column(escape(side["name"]), justify="right", overflow="fold")
    printed.add_row("information dimension", *(_number(side["fractal_dimension"]) for side in sides))
    printed.add_row("rows shuffled", *(_number(side["null"]["mean"]) for side in sides))
    for name in sides[0]["metrics"]:
        if name != "fractal_dimension":
            printed.add_row(name.replace("_", " "), *(_number(side["metrics"].get(name)) for side in sides))
    show.print(printed)
    show.print(f"both on {found['tokens']} tokens; of their own the text has {found['own_tokens']}", markup=False)
