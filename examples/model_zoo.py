"""The geometry of real models' attention at several lengths, beside nulls: docs/zoo.md and its data.

    python examples/model_zoo.py NAME=FOLDER [NAME=FOLDER ...]

Each folder holds a model and its tokenizer. One English text, Python's own reference on classes, is cut to each length.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics

import numpy as np
from fractal_core.analysis import AttentionMaps, FractalAttentionAnalyzer, Table, measure, nulls, write_table
from fractal_core.analysis.inference import auc
from fractal_core.dimension import renyi_dimension

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (64, 128, 256, 512)
MEASURES = ("D0", "D1", "D2", "normalized_entropy", "gini", "sink", "previous", "distance")
TEXT = " ".join(topics.topics["class"].split()) + " " + " ".join(topics.topics["objects"].split())


def null_dimensions(maps: AttentionMaps, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """D1 of every head's row shuffle, and of its entropy-matched random softmax."""
    found: dict[str, list[np.ndarray]] = {"shuffled": [], "entropy": []}
    for layer in maps:
        for name, make in (("shuffled", nulls.row_shuffled), ("entropy", nulls.entropy_matched)):
            found[name].append(renyi_dimension(make(layer.weights, layer.support, rng=rng), layer.support).value)
    return {name: np.concatenate(values) for name, values in found.items()}


def measured(name: str, folder: str) -> Iterator[tuple[Table, dict[str, object]]]:
    """For each length the table of all heads, and a line of the page."""
    analyzer, rng = FractalAttentionAnalyzer(folder), np.random.default_rng(0)
    most = getattr(analyzer.model.config, "max_position_embeddings", 512)
    for n in (n for n in LENGTHS if n <= most):
        maps = analyzer.maps(TEXT, max_tokens=n)
        if maps.layers[0].shape[0] < n:
            return
        table = measure(maps, MEASURES)
        drawn = null_dimensions(maps, rng)
        d1 = table.where(measure="D1")["value"]
        line: dict[str, object] = {"model": name, "tokens": n, "heads": len(d1)}
        for measure_ in ("D1", "normalized_entropy", "sink", "distance"):
            values = table.where(measure=measure_)["value"]
            line[measure_] = f"{np.nanmean(values):.3f} ± {np.nanstd(values):.3f}"
        baseline = table.where(measure="D1")["baseline"]
        line |= {
            "uniform": f"{baseline.mean():.3f}",
            "AUC, rows shuffled": f"{auc(d1, drawn['shuffled']):.3f}",
            "AUC, entropy matched": f"{auc(d1, drawn['entropy']):.3f}",
        }
        extra = {"model": np.full(len(table), name), "tokens": np.full(len(table), n)}
        yield Table({**extra, **table.columns}), line


def main(models: list[str]) -> None:
    """Measure, write the data and the page."""
    tables: list[Table] = []
    lines: list[dict[str, object]] = []
    for spec in models:
        name, _, folder = spec.partition("=")
        for table, line in measured(name, folder):
            tables.append(table)
            lines.append(line)
            print(line)
    joined = Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0].columns})
    kept = ("model", "tokens", "name", "kind", "head", "measure", "value", "stderr", "spread", "baseline", "reliable")
    data = ROOT / "docs" / "data"
    data.mkdir(exist_ok=True)
    write_table(Table({name: joined[name] for name in kept}), data / "zoo-1.npz", "npz")
    columns = list(lines[0])
    page = [
        "# Real models\n",
        "Attention of models that come in packages (`make test-models` makes their folders), on prefixes of one",
        "English text, by `python examples/model_zoo.py`. Means and standard deviations are over all heads. `uniform`",
        "is what attention that is even over its support shows: D1 of heads is to be read beside it. An AUC of 0.5",
        "says that a head's D1 is that of the null; the row shuffle keeps every row's weights, the other null its",
        "entropy alone.",
        "Every head, measure and length is in [data/zoo-1.npz](data/zoo-1.npz), schema 1: columns as arrays.\n",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(str(line[name]) for name in columns)} |" for line in lines),
    ]
    (ROOT / "docs" / "zoo.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
