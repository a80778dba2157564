"""The page about all heads: whole in one file, with the numbers of the table."""

from __future__ import annotations

import re

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.analysis import AttentionMaps, measure, write_report
from fractal_core.errors import InvalidArgumentError

pytest.importorskip("matplotlib")


def maps(n=48, **more):
    logits = np.random.default_rng(0).standard_normal((2, 3, n, n))
    i, j = np.indices((n, n))
    weights = np.tri(n) * np.exp(logits - 0.2 * abs(i - j))
    return AttentionMaps.from_arrays(weights / weights.sum(-1, keepdims=True), "causal", **more)


def test_a_page_that_needs_nothing_else(tmp_path):
    given = maps(provenance={"model": "<b>m</b>"})
    write_report(given, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(name.startswith(("#", "data:")) for name in named)
    assert page.count("<svg") == 4
    assert "&lt;b&gt;m&lt;/b&gt;" in page
    assert "<b>m</b>" not in page
    table = measure(given, "D1")
    for row in table.rows():
        assert f"{row['name']}, head {row['head']}</td><td>{row['value']:.4f}" in page
    assert re.search(r"\d of 6 heads differ from 19 shuffles", page)
    write_report(given, tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text().count("<td>") == page.count("<td>")


def test_short_and_sparse_attention_have_a_page(tmp_path):
    write_report(maps(8), tmp_path / "a.html")
    assert "too few tokens" in (tmp_path / "a.html").read_text()
    index_set = IndexSet.from_offsets([0, 1], 64)
    weights = np.random.default_rng(0).random(index_set.nnz)
    weights /= np.repeat(np.add.reduceat(weights, index_set.indptr[:-1]), np.diff(index_set.indptr))
    write_report(AttentionMaps.from_arrays([dimension.EdgeWeights(index_set, weights[None])]), tmp_path / "b.html")
    assert re.search(r"\d of 1 heads differ from 19 shuffles", (tmp_path / "b.html").read_text())


def test_what_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"\.html"):
        write_report(maps(), tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        write_report(maps(8), tmp_path / "no" / "a.html")
    assert list(tmp_path.iterdir()) == []
