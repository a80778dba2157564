"""The results page, written from one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benches.report import text
from benches.report.results import Crossover, Results, Row

__all__ = ["markdown"]

_INTRODUCTION = """\
# Results

Written by `make bench ARGS=--write-docs`; not edited by hand. Compare ratios, never times: another machine has other
times.

* Every ratio is one of medians within one run. Ours and the peer's calls alternate (A B A B …) after a round that warms
  up; the spread is the lowest and the highest ratio of a single pair.
* q, k and v are float32, B1 H4 D64 unless the row says otherwise, in torch's default environment. A forward pass runs
  without gradients; forward + backward takes the gradients of q, k and v through autograd.
* Operations are counted on the pattern's own edges: 4 D an edge and head forward, 10 D backward. The FMA peak is a loop
  of twelve independent register chains at the same SIMD level, on the same threads, in the same run. The limit of a
  ratio is what a kernel at that peak would reach.
"""

_PAIRS = """\
Codecs run in paired processes, since hilbertsfc needs CPython 3.12; both get arrays of the same narrow dtypes. Julia
fields do too: the threads of numba go on spinning after a call, and what torch's graph of a soft field frees is given
back to the system in the next call, of either side. Each side calls for a tenth of a second before the call that
counts, until the system has given its threads a core each.
"""

_NOT_TO_USE = """\
Dense attention is one large product and needs no index. The table gives the length from which on sparse attention was
faster at every longer length measured; below it, use `scaled_dot_product_attention`. A fixed pattern cannot do
associative recall at any length, and putting one into a pretrained dense model without tuning loses quality.
"""


def markdown(results: Results, *, picture: str | None = None) -> str:
    """The page as Markdown.

    Args:
        results: What was measured.
        picture: Path of the picture from the page's folder; None for none.
    """
    return "\n".join(_lines(results, picture)) + "\n"


def _lines(results: Results, picture: str | None) -> Iterator[str]:
    yield _INTRODUCTION
    yield "## The machine"
    yield ""
    yield from _machine(results)
    yield ""
    barred = [row for row in results.rows if row.bar is not None]
    failed = len([row for row in results.failed if row.bar is not None])
    yield "## Bars"
    yield ""
    yield f"{len(barred) - failed} of {len(barred)} are met."
    if picture:
        yield ""
        yield f"![each row with a bar as a multiple of its bar]({picture})"
    yield ""
    yield from _table(barred)
    yield ""
    yield "## Without a bar"
    yield ""
    yield from _table([row for row in results.rows if row.bar is None])
    yield ""
    yield _PAIRS
    if results.crossovers:
        yield "## When not to use it"
        yield ""
        yield _NOT_TO_USE
        yield from _crossovers(results.crossovers)
        yield ""
    yield "## What ran between the calls, and what was not measured"
    yield ""
    yield from (f"* {row.what}, {row.peer}: {row.note}" for row in results.rows if row.note)


def _machine(results: Results) -> Iterator[str]:
    machine = results.machine
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    loads = [f"{when} {' / '.join(map(str, machine[key]))}" for when, key in _LOADS if machine.get(key)]
    yield f"* Processor: {machine['processor']}; {machine['cores']} cores; {machine['system']}"
    yield f"* SIMD level {machine['simd']}; {machine['threads']} threads: {machine['executor']}"
    yield f"* Python {machine['python']}; {versions}"
    yield f"* Load average {', '.join(loads)}; the peak loop had {machine['cores_obtained']} cores to itself"
    if machine["environment"]:
        yield f"* Environment: {', '.join(f'`{k}={v}`' for k, v in machine['environment'].items())}"
    yield f"* The run took {results.seconds / 60:.1f} minutes, {machine['rounds']}"


_LOADS = (("before", "load"), ("after", "load_after"))


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| measured | peer | value | spread | limit | bar | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (row.what, row.peer, text.value(row), text.spread(row), text.limit(row), text.bar(row))
        verdict = row.verdict.value if row.verdict.value != "short" else "**short**"
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} | {verdict} |"


def _crossovers(found: Sequence[Crossover]) -> Iterator[str]:
    columns = sorted({(c.dtype, c.direction) for c in found}, reverse=True)
    columns.sort(key=lambda column: (column[0] != "float32", column[1] != "forward"))
    yield "| pattern | against | " + " | ".join(f"{dtype}, {direction}" for dtype, direction in columns) + " |"
    yield "|---|---|" + "---|" * len(columns)
    for pattern, peer in dict.fromkeys((c.pattern, c.peer) for c in found):
        cells = {(c.dtype, c.direction): _tokens(c) for c in found if (c.pattern, c.peer) == (pattern, peer)}
        shown = pattern.replace("|", " ∪ ")
        yield f"| `{shown}` | {peer} | " + " | ".join(cells.get(column, "–") for column in columns) + " |"


def _tokens(crossover: Crossover) -> str:
    if crossover.tokens is None:
        return f"above {crossover.scanned[-1]}"
    least = " or less" if crossover.tokens == crossover.scanned[0] else ""
    return f"{crossover.tokens}{least}"
