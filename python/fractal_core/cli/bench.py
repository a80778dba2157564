"""`fractal-core bench`: ours against dense, masked and FlexAttention at a size of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from fractal_core import patterns
from fractal_core.bench.compare import PEERS, Compared, Problem, Scan, against, running, scan
from fractal_core.cli.console import ACCENT, console, digits, print_json
from fractal_core.cli.failures import blamed
from fractal_core.errors import InvalidArgumentError
from fractal_core.index_sets import IndexSet

__all__ = ["run"]


def run(problem: Problem, text: str, peers: Sequence[str], *, as_json: bool) -> None:
    """Measures and prints: each row as it is found, or one JSON document at the end.

    Args:
        problem: The size.
        text: Name of a pattern, or a specification.
        peers: Names of peers; all when empty.
        as_json: Print JSON.

    Raises:
        PluginError: An unknown pattern, or one that raises.
        InvalidArgumentError: An unknown peer, or a length that the pattern refuses.
    """
    for name in peers:
        if name not in PEERS:
            raise InvalidArgumentError("peer", repr(name), f"one of {', '.join(PEERS)}")
    with blamed(text):
        pattern = patterns.create(text)

    def make(n: int) -> IndexSet:
        with blamed(text):
            return pattern.index_set(n, n, causal=problem.causal)

    index_set, show = make(problem.n), console(quiet=as_json)
    _begin(problem, text, index_set, show)
    rows: list[Compared] = []
    for name in (name for name in PEERS if not peers or name in peers):
        rows.append(against(problem, index_set, name))
        _row(rows[-1], show)
    dense = next((row.ratio for row in rows if row.name == "dense"), None)
    lengths = None if dense is None else scan(problem, make, dense.value)
    if lengths is not None:
        _lengths(lengths, show)
    ran = running()
    show.print(f"threads: {ran['threads']}, {ran['executor']}; SIMD level {ran['simd']}", soft_wrap=True, markup=False)
    if as_json:
        crossover = None if lengths is None else {"tokens": lengths.crossover, **asdict(lengths)}
        asked = {"pattern": text, **asdict(problem), "edges": index_set.nnz}
        print_json({**asked, **ran, "peers": [row.to_dict() for row in rows], "crossover": crossover})


def _begin(problem: Problem, text: str, index_set: IndexSet, show: Console) -> None:
    size = f"n = {problem.n}, {problem.heads} heads of {problem.dim}, {problem.dtype}, {problem.direction}"
    causal = ", causal" if problem.causal else ""
    show.print(f"[bold {ACCENT}]{escape(text)}[/]{causal}: {size}", soft_wrap=True)
    share = f"{index_set.nnz} edges, {index_set.nnz / problem.n**2:.2%} of all pairs"
    show.print(f"{share}; how many times as long as ours each takes, over {problem.rounds} pairs:", soft_wrap=True)


def _row(row: Compared, show: Console) -> None:
    if row.ratio is None:
        show.print(f"  {'–':>9}  {'not measured':>15}  {row.peer}: {row.note}", soft_wrap=True, markup=False)
        return
    spread = f"{digits(row.ratio.low)} … {digits(row.ratio.high)}"
    times = f"ours {row.ours_ms:.3g} ms, this {row.peer_ms:.3g} ms"
    show.print(f"  {digits(row.ratio.value):>7} ×  {spread:>15}  {row.peer}  [dim]{times}[/]", soft_wrap=True)


def _lengths(found: Scan, show: Console) -> None:
    last = found.lengths[-1]
    where = f"from {found.crossover} tokens on" if found.crossover else f"not up to {last} tokens"
    ratios = ", ".join(f"{n}: {digits(x)}" for n, x in zip(found.lengths, found.ratios, strict=True))
    refused = f"; the pattern refuses {', '.join(map(str, found.without))}" if found.without else ""
    show.print(f"faster than dense {where} ({ratios}){refused}", soft_wrap=True, markup=False)
