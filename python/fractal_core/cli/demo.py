"""`fractal-core demo`: progress while the two models train, then the figures and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fractal_core._files import written
from fractal_core.cli.console import ACCENT, console, print_json
from fractal_core.cli.failures import INTERRUPTED, fail, need
from fractal_core.demo.page import write_report
from fractal_core.demo.results import Pair, Run
from fractal_core.demo.runner import run_models
from fractal_core.demo.settings import Settings
from fractal_core.demo.summary import LIMIT, Summary, summarise

__all__ = ["run"]


def run(settings: Settings, out: Path, *, as_json: bool) -> None:
    """Trains both models, prints the figures and writes `report.html` and `results.json`.

    Args:
        settings: What to train.
        out: Folder for the report, made if missing; or the report's own path, ending in `.html`.
        as_json: Print the results as JSON on stdout; everything for people goes to stderr.
    """
    need("torch", "torch")
    need("matplotlib", "viz")
    show = console(stderr=as_json)
    page = out if out.suffix == ".html" else out / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    summary = summarise(settings)  # refuses a bad pattern before anything trains
    show.print(f"[bold]dense[/bold] against [bold]{escape(summary.pattern)}[/bold]: {escape(summary.outline)}")
    with _Display(settings, show) as display:
        outcome = run_models(settings, display.take, display.pair)
    summary.add(outcome, seconds=time.perf_counter() - began)
    write_report(summary, page)
    results = page.with_name("results.json")
    with written(results) as file:
        file.write(json.dumps(summary.to_dict(), indent=1).encode())
    if as_json:
        print_json({**summary.to_dict(), "report": str(page)})
    else:
        _show(summary, show)
    show.print(f"\nreport   {page.resolve()}\nfigures  {results.resolve()}", style="bold", soft_wrap=True, markup=False)
    if outcome.interrupted:
        done = [f"{run.title}: {len(run.steps)} steps" for run in summary.runs if run.steps]
        fail(f"interrupted; the report holds what was finished ({'; '.join(done) or 'no step yet'})", INTERRUPTED)


class _Display:
    """Progress bars, one for each model, fed with the workers' events; without a terminal, lines of text."""

    def __init__(self, settings: Settings, show: Console) -> None:
        self._settings = settings
        self._show = show
        self._bars = Progress(
            TextColumn("{task.description:<7}", style=ACCENT),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=show,
        )
        self._tasks: dict[str, TaskID] = {}
        self._dense_ms: float | None = None
        self._pairs = 0

    def __enter__(self) -> _Display:
        if self._show.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def take(self, run: Run, event: Mapping[str, Any]) -> None:
        """Shows one event."""
        if self._show.is_terminal:
            self._move(run, event)
        elif event["event"] == "held_out":
            steps, seconds = f"{event['step']} steps", f"{event['seconds']:.1f} s"
            self._show.print(
                f"{run.name}: {steps}, {seconds}, {event['bits']:.3f} bits/byte held out", soft_wrap=True, markup=False
            )

    def pair(self, pair: Pair) -> None:
        """Shows a pair of blocks."""
        self._pairs += 1
        if self._show.is_terminal:
            return
        dense, sparse = (f"{1e3 * seconds / pair.steps:.1f}" for seconds in (pair.dense, pair.sparse))
        text = f"pair {self._pairs}, {pair.first} first: {dense} and {sparse} ms a step, {pair.ratio:.2f}×"
        self._show.print(text, soft_wrap=True, markup=False)

    def _move(self, run: Run, event: Mapping[str, Any]) -> None:
        if run.name not in self._tasks:
            total = self._settings.steps
            self._tasks[run.name] = self._bars.add_task(run.name, total=total, note="starting")
        task, bars = self._tasks[run.name], self._bars
        kind = event["event"]
        if kind == "step":
            if run.name == "dense":
                self._dense_ms = run.step_ms
            elif self._dense_ms and run.step_ms:
                expected = self._settings.steps * self._dense_ms / run.step_ms
                bars.update(task, total=max(self._settings.steps, event["step"], int(expected)))
            bars.update(task, completed=event["step"])
        elif kind == "held_out":
            bars.update(task, note=f"{event['bits']:.2f} bits/byte held out")
        elif kind == "trained":
            bars.update(task, note="leak check", total=len(run.steps))
        elif kind == "leak":
            bars.update(task, note="sampling")
        elif kind == "done":
            bars.update(task, note=f"{run.held_out[-1].bits:.2f} bits/byte held out")


def _show(summary: Summary, show: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for title in ("dense", "sparse", ""):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=title != "")
    for row in summary.rows():
        table.add_row(*map(escape, (row.what, row.dense, row.sparse)), f"[dim]{escape(row.note)}[/dim]")
    show.print()
    show.print(table)
    for run in summary.runs:
        sample = run.facts.get("sample")
        if sample:
            show.print(f"\n[bold]{run.name}[/bold] writes on after a held-out prompt:")
            show.print(escape(sample["text"]), style="dim")
    show.print(f"\n{LIMIT}", markup=False)
