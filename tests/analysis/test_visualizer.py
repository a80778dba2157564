"""Pictures: what they show, at any size, without touching what others draw."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import AttentionVisualizer
from fractal_core.errors import InvalidArgumentError, ShapeError

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("n", [1, 2, 9, 50, 60, 64, 100, 1500])
def test_a_matrix_of_any_size_with_readable_tokens(n):
    figure = AttentionVisualizer().plot_attention_matrix(np.eye(n), [f"word{i}" for i in range(n)])
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(labels) == len(axes.get_xticks()) <= 40
    assert labels[0] == "word0"
    assert axes.images[0].get_array().shape == (n, n)


def test_the_last_tokens_are_the_queries():
    figure = AttentionVisualizer().plot_attention_matrix(np.ones((2, 5)) / 5, list("abcde"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["d", "e"]


def test_both_matrices_have_one_scale():
    figure = AttentionVisualizer().plot_fractal_comparison(np.eye(4), np.eye(4) * 0.309)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert {image.get_clim() for image in images} == {(0.0, 1.0)}


def test_every_metric_is_shown():
    metrics = {f"m{i}": float(i) for i in range(9)}
    figure = AttentionVisualizer().plot_metrics_comparison(metrics)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(metrics)
    both = AttentionVisualizer().plot_metrics_comparison({"a": metrics, "b": {"m0": 1.0}})
    assert len(both.axes[0].containers) == 2


@pytest.mark.parametrize(("n", "top", "shown"), [(1, 10, 1), (9, 10, 9), (30, 10, 10), (30, 3, 3)])
def test_the_most_important_tokens_however_few(n, top, shown):
    scores = np.random.default_rng(0).random(n)
    figure = AttentionVisualizer().plot_token_importance(scores, [str(i) for i in range(n)], top_k=top)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == sorted(scores, reverse=True)[:shown]


def test_the_line_of_a_dimension_has_its_slope():
    scales = np.array([1, 2, 4, 8])
    figure = AttentionVisualizer().plot_fractal_dimension_analysis(scales, 100.0 * scales**-1.5, 1.5)
    line = figure.axes[0].lines[1].get_ydata()
    assert np.allclose(line, 100.0 * scales**-1.5)
    assert len(AttentionVisualizer().plot_multi_scale_analysis([(1, np.eye(4)), (2, np.eye(2))]).axes) == 4


def test_a_style_is_for_these_figures_alone(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    painter = AttentionVisualizer("dark_background")
    for suffix in ("png", "svg", "pdf"):
        painter.plot_attention_matrix(np.eye(3), save_path=tmp_path / f"a.{suffix}")
    assert len(list(tmp_path.iterdir())) == 3
    assert dict(mpl.rcParams) == before
    AttentionVisualizer.close_all()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda p, f: AttentionVisualizer("no-such-style"), InvalidArgumentError),
        (lambda p, f: p.plot_attention_matrix(np.ones(3)), ShapeError),
        (lambda p, f: p.plot_attention_matrix(np.full((2, 2), np.nan)), InvalidArgumentError),
        (lambda p, f: p.plot_attention_matrix(np.eye(3), ["a"]), ShapeError),
        (lambda p, f: p.plot_attention_matrix(np.eye(3), save_path=f / "a.xyz"), InvalidArgumentError),
        (lambda p, f: p.plot_attention_matrix(np.eye(3), save_path=f / "no" / "a.png"), FileNotFoundError),
        (lambda p, f: p.plot_fractal_comparison(np.eye(3), np.eye(4)), ShapeError),
        (lambda p, f: p.plot_metrics_comparison({}), InvalidArgumentError),
        (lambda p, f: p.plot_fractal_dimension_analysis([1, 2], [1], 1.0), ShapeError),
        (lambda p, f: p.plot_fractal_dimension_analysis([1, 2], [1, 0], 1.0), InvalidArgumentError),
        (lambda p, f: p.plot_multi_scale_analysis([]), InvalidArgumentError),
        (lambda p, f: p.plot_token_importance([1.0], []), ShapeError),
        (lambda p, f: p.plot_token_importance([np.inf], ["a"]), InvalidArgumentError),
    ],
)
def test_what_is_refused(tmp_path, call, error):
    with pytest.raises(error):
        call(AttentionVisualizer(), tmp_path)
    assert list(tmp_path.iterdir()) == []
