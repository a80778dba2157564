"""`make bench`: rows as they are measured, then the files and the verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fractal_core.cli.console import ACCENT, console, facts
from fractal_core.cli.failures import FAILURE, fail
from fractal_core.errors import InvalidArgumentError
from rich.console import Console
from rich.markup import escape

from benches.report import text
from benches.report.page import markdown
from benches.report.picture import draw
from benches.report.results import Crossover, Results, Row, Verdict
from benches.runner import MEASUREMENTS, chosen, run
from benches.settings import Settings

__all__ = ["measure", "show_list"]

_STYLES = {Verdict.MET: "green", Verdict.SHORT: "bold red", Verdict.MISSING: "bold red", Verdict.SHOWN: "dim"}
_DOCS = Path("docs")


def show_list() -> None:
    """Prints the names that `--only` takes."""
    console().print(facts("measurements", {name: m.title for name, m in MEASUREMENTS.items()}))


def measure(settings: Settings, only: Sequence[str], *, out: Path, json_path: Path | None, write_docs: bool) -> None:
    """Measures, prints and writes `results.json` and `results.png`.

    Args:
        settings: How many rounds.
        only: Names of measurements; all when empty.
        out: Folder of both files, made if missing.
        json_path: Where the JSON goes instead.
        write_docs: Also write `docs/results.md` and its picture, in the present folder.
    """
    chosen(only)
    if write_docs and not _DOCS.is_dir():
        raise InvalidArgumentError("write-docs", f"the folder {Path.cwd()}", "the root of the repository, with docs/")
    show = console()
    results = run(
        settings,
        only,
        begin=lambda name: show.print(f"\n[bold {ACCENT}]{name}[/]  [dim]{MEASUREMENTS[name].title}[/]"),
        take=lambda found: _show(found, show),
    )
    path = json_path or out / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = [path, draw(results, out / "results.png")]
    if write_docs:
        picture = draw(results, _DOCS / "results.png")
        page = _DOCS / "results.md"
        page.write_text(markdown(results, picture=picture.name), encoding="utf-8")
        written += [page, picture]
    show.print(f"\n{results.seconds:.0f} s; written: {', '.join(map(str, written))}", soft_wrap=True, markup=False)
    _conclude(results)


def _show(found: Row | Crossover, show: Console) -> None:
    if isinstance(found, Crossover):
        where = f"from {found.tokens} tokens" if found.tokens else f"not up to {found.scanned[-1]} tokens"
        what = f"  {where}: {found.pattern} against {found.peer}, {found.dtype}, {found.direction}"
        show.print(escape(what), soft_wrap=True)
        return
    style = _STYLES[found.verdict]
    figures = f"{text.value(found):>9}  {text.spread(found):>15}"
    more = [] if found.ours_ms is None or found.peer_ms is None else [text.milliseconds(found)]
    more += [f"limit {text.limit(found)}"] if found.limit is not None else []
    more += [f"bar {text.bar(found)}"] if found.bar is not None else []
    show.print(
        f"  {figures}  [{style}]{found.verdict.value}[/]  {escape(f'{found.what}; {found.peer}')}  "
        f"[dim]{escape(', '.join(more))}[/]",
        soft_wrap=True,
    )
    if found.value is None:
        show.print(f"  [bold red]{escape(found.note)}[/]", soft_wrap=True)


def _conclude(results: Results) -> None:
    """Ends with exit code 1 where a bar falls short or something was not measured."""
    failed = results.failed
    if failed:
        named = "; ".join(f"{row.name} {row.verdict.value} ({text.value(row)})" for row in failed)
        fail(f"{len(failed)} of {len(results.rows)} rows: {named}", FAILURE)
