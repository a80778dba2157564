"""A page about the attention of one input, whole in one file: to be sent, opened without a network, and kept."""

from __future__ import annotations

import io
import json
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core._files import written
from fractal_core.analysis.export import plain
from fractal_core.analysis.inference import Discoveries, false_discoveries
from fractal_core.analysis.maps import AttentionMaps, need_maps
from fractal_core.analysis.measures import measure
from fractal_core.analysis.nulls import generator
from fractal_core.analysis.shuffles import shuffle_test

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from fractal_core.analysis.table import Table

__all__ = ["write_report"]

_GRIDS = {
    "D1": "Information dimension on the support",
    "normalized_entropy": "Entropy of rows, of its greatest value",
    "sink": "Mass of the first key",
    "distance": "Mean distance of query and key, in tokens",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #16202e; --paper: #fff; --line: #d5dbe3; --accent: #3155e6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf1; --paper: #12161c; --line: #333c48; --accent: #8ea5ff; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
figure { margin: 1rem 0; background: #fff; border-radius: 6px; padding: .5rem; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; } figcaption { color: #16202e; font-size: .9rem; }
.grids { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } pre { overflow-x: auto; font-size: .85rem; }
"""


def write_report(
    maps: AttentionMaps, path: str | os.PathLike[str], *, draws: int = 19, rng: np.random.Generator | None = None
) -> None:
    """Writes one HTML file: maps of layers by heads, heads that differ most from their row shuffles, and provenance.

    Args:
        maps: The attention of one input.
        path: A name that ends in ".html"; written under a temporary name first.
        draws: Row shuffles of every head, 2 or more; short texts have none.
        rng: Draws them; seeded with 0 by default.

    Raises:
        InvalidArgumentError: Another suffix.
        ImportError: matplotlib is not installed.
        OSError: It cannot be written; nothing is left behind.
    """
    need_maps(maps)
    table = measure(maps, [*_GRIDS, "gini", "previous"])
    tested = _tested(maps, table, draws, generator(np.random.default_rng(0) if rng is None else rng))
    name = escape(str(maps.provenance.get("model", maps.provenance.get("source", "attention"))))
    n, m = maps.layers[0].shape
    heads = sum(layer.heads for layer in maps)
    grids = "".join(_grid(table, measure_, title) for measure_, title in _GRIDS.items())
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attention of {name}</title><style>{_STYLE}</style>
<h1>Attention of {name}</h1>
<p>{len(maps)} layers, {heads} heads, {n} queries and {m} keys. Every number is of attention on its support: what a
query cannot see does not count. They describe attention and explain no prediction.</p>
<h2>Heads</h2><div class="grids">{grids}</div>
<h2>Against shuffled rows</h2>{tested}
<h2>Provenance</h2><pre>{escape(json.dumps(plain(dict(maps.provenance)), indent=2, ensure_ascii=False))}</pre>
</html>
"""
    with written(path, "html") as file:
        file.write(page.encode())


def _grid(table: Table, name: str, title: str) -> str:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a report needs matplotlib: pip install "fractal-attn[viz]"') from error
    values = table.grid(name)
    if not np.isfinite(values).any():
        return f"<figure><figcaption>{title}: too few tokens</figcaption></figure>"
    figure = Figure(figsize=(5, 1.2 + 0.16 * len(values)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=axes)
    axes.set(xlabel="head", ylabel="layer")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    drawing = text.getvalue()
    return f"<figure>{drawing[drawing.index('<svg') :]}<figcaption>{title} (<code>{name}</code>)</figcaption></figure>"


def _tested(maps: AttentionMaps, table: Table, draws: int, rng: np.random.Generator) -> str:
    """The heads whose dimension differs most from those of their row shuffles, which keep every row's entropy."""
    rows = [row for row in table.where(measure="D1").rows() if row["value"] is not None]
    if not rows:
        return "<p>No head has tokens enough for a dimension.</p>"
    tests: list[tuple[dict[str, Any], float, float, float]] = []
    for row in rows:
        tested = shuffle_test(maps.layer(int(row["layer"])), row["head"], draws, rng)
        if tested is not None:
            test, _ = tested
            tests.append((row, float(test.mean), float(test.z), float(test.p)))
    p: npt.NDArray[np.float64] = np.array([test[3] for test in tests])
    found: Discoveries = false_discoveries(p)
    order = sorted(range(len(tests)), key=lambda i: -abs(np.nan_to_num(tests[i][2])))[:20]
    cells = "".join(
        f"<tr><td>{escape(row['name'])}, head {row['head']}</td><td>{row['value']:.4f}</td><td>{mean:.4f}</td>"
        f"<td>{z:+.1f}</td><td>{p_:.3g}</td><td>{found.q[i]:.3g}</td></tr>"
        for i in order
        for row, mean, z, p_ in [tests[i]]
    )
    head = "".join(f"<th>{name}" for name in ("head", "D1", "shuffled", "z", "p", "q"))
    return (
        f"<p>{int(found.rejected.sum())} of {len(tests)} heads differ from {draws} shuffles of their own rows at a "
        f"share of false discoveries of 5 %; the smallest p-value of so many draws is {1 / (draws + 1):.3g}. "
        f"The {len(order)} that differ most:</p>"
        f'<div class="wide"><table><tr>{head}</tr>{cells}</table></div>'
    )
