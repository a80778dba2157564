"""Figures: of every length, without a trace in matplotlib, in files that are whole."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from noisy_attention import weights

matplotlib = pytest.importorskip("matplotlib")

from fractal_core.analysis import AttentionVisualizer, FractalTransforms  # noqa: E402

ODD = ["$x_1", "a$b$c", "\n", "\t", "中文", "🙂", "▁the", "a very long token of many letters", "", "\\frac{"]


def tokens(n):
    return [ODD[i % len(ODD)] for i in range(n)]


@pytest.mark.parametrize("n", [1, 2, 9, 10, 43, 44, 50, 60, 64, 100, 500])
def test_every_number_of_tokens(n, tmp_path):
    array, shown = weights(1, n)[0], AttentionVisualizer(dpi=40)
    shown.plot_attention_matrix(array, tokens(n), "a $title", tmp_path / "matrix.png")
    shown.plot_token_importance(array.mean(axis=0), tokens(n), save_path=tmp_path / "tokens.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matrix.png", "tokens.png"]
    assert (tmp_path / "matrix.png").read_bytes()[:4] == b"\x89PNG"


def test_thousands_of_tokens_are_drawn_at_the_size_of_a_screen():
    n = 4000
    array = np.zeros((n, n), np.float32)
    array[:, 0] = 1
    array[3001, 2003] = 7
    made = AttentionVisualizer(dpi=40).plot_attention_matrix(array, [str(i) for i in range(n)])
    image = made.axes[0].images[0]
    assert max(image.get_array().shape) <= 1024
    assert image.get_array().max() == 7
    assert image.get_extent() == [-0.5, n - 0.5, n - 0.5, -0.5]
    assert 2 < len(made.axes[0].get_xticks()) <= 40
    assert made.axes[0].get_xticklabels()[1].get_text() == str(int(made.axes[0].get_xticks()[1]))


def test_fewer_tokens_than_asked_for():
    made = AttentionVisualizer().plot_token_importance([3.0, 1.0, 2.0], ["a", "b", "c"], top_k=10)
    assert [bar.get_width() for bar in made.axes[0].patches] == [1, 2, 3]
    assert [label.get_text() for label in made.axes[0].get_yticklabels()] == ["b  (1)", "c  (2)", "a  (0)"]


def test_two_matrices_share_their_colours():
    made = AttentionVisualizer().plot_fractal_comparison(np.eye(8), np.eye(8) * 0.3)
    first, second, change = (axes.images[0] for axes in made.axes[:3])
    assert first.get_clim() == second.get_clim() == (0, 1)
    assert change.get_clim() == (-0.7, 0.7)


def test_all_metrics_are_shown():
    metrics = {f"metric {i}": float(i) for i in range(11)}
    made = AttentionVisualizer().plot_metrics_comparison(metrics)
    assert [axes.get_title() for axes in made.axes] == list(metrics)
    assert [axes.patches[0].get_width() for axes in made.axes] == list(metrics.values())
    both = AttentionVisualizer().plot_metrics_comparison({"a": metrics, "b": {"metric 0": 5.0, "more": float("nan")}})
    assert len(both.axes) == 12
    assert [bar.get_width() for bar in both.axes[0].patches] == [0, 5]


def test_a_fit_is_shown_with_what_speaks_against_it():
    slope = dimension.box_dimension(weights(1, 64)[0], "causal", foreground=("mass", 0.9))
    made = AttentionVisualizer().plot_fractal_dimension_analysis(slope)
    np.testing.assert_allclose(made.axes[0].lines[0].get_ydata(), slope.log_y)
    assert f"{float(slope):.4f}" in made.axes[0].get_legend().get_texts()[1].get_text()
    plain = AttentionVisualizer().plot_fractal_dimension_analysis([1, 2, 4, 8], [64, 16, 4, 1], 2.0)
    np.testing.assert_allclose(plain.axes[1].lines[0].get_ydata(), [2, 2, 2])
    for n in (1, 2, 3):
        short = dimension.box_dimension(np.eye(n), "causal", foreground=0.5)
        AttentionVisualizer().plot_fractal_dimension_analysis(short)


def test_scales_side_by_side():
    found = FractalTransforms().multi_scale_analysis(weights(1, 50, causal=False)[0], 6)
    made = AttentionVisualizer().plot_multi_scale_analysis(found)
    images = [axes.images[0].get_array().shape for axes in made.axes if axes.images]
    assert images[:6] == [(50, 50), (25, 25), (17, 17), (13, 13), (8, 8), (5, 5)]


def test_matplotlib_stays_as_it_was():
    from matplotlib import pyplot

    before, open_figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    shown = AttentionVisualizer(style="ggplot")
    made = shown.plot_attention_matrix(np.eye(4))
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == open_figures
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


def test_closing_takes_ones_own_figures_alone():
    from matplotlib import pyplot

    theirs = pyplot.figure()
    ours = AttentionVisualizer().plot_attention_matrix(np.eye(4))
    AttentionVisualizer.close_all()
    assert ours.axes == []
    assert pyplot.fignum_exists(theirs.number)
    pyplot.close(theirs)


def test_folders_are_made(tmp_path):
    AttentionVisualizer(dpi=40).plot_attention_matrix(np.eye(4), save_path=tmp_path / "a" / "b" / "matrix.svg")
    assert b"<svg" in (tmp_path / "a" / "b" / "matrix.svg").read_bytes()


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda v, p: v.plot_attention_matrix(np.ones(4))),
        (ShapeError, lambda v, p: v.plot_attention_matrix(np.eye(4), ["a"])),
        (DTypeError, lambda v, p: v.plot_attention_matrix(np.eye(4), "abcd")),
        (InvalidArgumentError, lambda v, p: v.plot_attention_matrix(np.eye(4) * np.nan)),
        (InvalidArgumentError, lambda v, p: v.plot_attention_matrix(np.eye(4), save_path=p / "x.doc")),
        (InvalidArgumentError, lambda v, p: v.plot_attention_matrix(np.eye(4), save_path=p)),
        (DTypeError, lambda v, p: v.plot_attention_matrix(np.eye(4), save_path=7)),
        (ShapeError, lambda v, p: v.plot_fractal_comparison(np.eye(4), np.eye(5))),
        (InvalidArgumentError, lambda v, p: v.plot_metrics_comparison({})),
        (DTypeError, lambda v, p: v.plot_metrics_comparison([1])),
        (DTypeError, lambda v, p: v.plot_metrics_comparison({"a": "high"})),
        (ShapeError, lambda v, p: v.plot_fractal_dimension_analysis([1, 2], [1, 2, 3], 2.0)),
        (InvalidArgumentError, lambda v, p: v.plot_fractal_dimension_analysis([1, 2], [0, 1], 2.0)),
        (InvalidArgumentError, lambda v, p: v.plot_multi_scale_analysis([])),
        (ShapeError, lambda v, p: v.plot_token_importance([1.0, 2.0], ["a"])),
        (InvalidArgumentError, lambda v, p: v.plot_token_importance([1.0], ["a"], top_k=0)),
        (InvalidArgumentError, lambda v, p: AttentionVisualizer(style="no such style")),
    ],
)
def test_wrong_calls_leave_no_file(error, call, tmp_path):
    with pytest.raises(error):
        call(AttentionVisualizer(), tmp_path)
    assert list(tmp_path.iterdir()) == []
