"""`fractal-core optim-study`: whether frequency-adaptive momentum helps."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fractal_core._files import written
from fractal_core.cli.console import ACCENT, console, print_json
from fractal_core.errors import InvalidArgumentError
from fractal_core.study.page import conclusion, markdown, number
from fractal_core.study.protocol import count_entries, run_study
from fractal_core.study.results import Entry, StudyResults
from fractal_core.study.settings import StudySettings

__all__ = ["run"]

_PAGE = Path("docs") / "fam-results.md"


def run(settings: StudySettings, out: Path, *, write_docs: bool, as_json: bool) -> None:
    """Runs the study, prints tables and writes `optim-study.json`.

    Args:
        settings: What to run.
        out: Folder of the file, made if missing.
        write_docs: Also write docs/fam-results.md, in the present folder.
        as_json: Print the results as JSON on stdout; everything for people goes to stderr.
    """
    if write_docs and not _PAGE.parent.is_dir():
        raise InvalidArgumentError("write-docs", f"the folder {Path.cwd()}", "the root of the repository, with docs/")
    show = console(stderr=as_json)
    with _Display(settings, show) as display:
        results = run_study(settings, display.take)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "optim-study.json"
    with written(path) as file:
        file.write((json.dumps(results.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())
    paths = [path]
    if write_docs:
        with written(_PAGE) as file:
            file.write(markdown(results).encode())
        paths.append(_PAGE)
    if as_json:
        print_json(results.to_dict())
    else:
        _show(results, show)
    show.print(f"\nwritten: {', '.join(map(str, paths))}", soft_wrap=True, markup=False)


class _Display:
    """A bar over all optimizers and controls; without a terminal, a line for each."""

    def __init__(self, settings: StudySettings, show: Console) -> None:
        self._show = show
        self._bars = Progress(
            TextColumn("{task.description}", style=ACCENT),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=show,
        )
        self._all = self._bars.add_task("starting", total=count_entries(settings))

    def __enter__(self) -> _Display:
        if self._show.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def take(self, task: str, entry: Entry) -> None:
        """Shows that something is done."""
        if self._show.is_terminal:
            self._bars.update(self._all, advance=1, description=escape(task))
            return
        text = f"{task}: {entry.title}, rate {number(entry.rate)}, test loss {number(entry.test.median)}"
        self._show.print(text, soft_wrap=True, markup=False)


def _show(results: StudyResults, show: Console) -> None:
    for task in results.tasks:
        table = Table(title=escape(task.title), title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("")
        for title in ("rate", "test loss", "IQR", "matched constant"):
            table.add_column(title, justify="right", no_wrap=True)
        for entry in task.entries:
            matched = task.controls.get(entry.name, {}).get("matched")
            table.add_row(
                escape(entry.title),
                number(entry.rate),
                number(entry.test.median),
                number(entry.test.iqr),
                "" if matched is None else number(matched.test.median),
            )
        show.print()
        show.print(table)
    for name, how in results.missing.items():
        show.print(f"not run: {name} ({how})", markup=False)
    show.print()
    show.print(conclusion(results).replace("**", "").replace("`", ""), markup=False)
