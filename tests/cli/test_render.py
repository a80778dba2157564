"""Pictures: each decodes to its size, is not blank, and is written whole or not at all."""

import matplotlib.image
import pytest
from fractal_core.cli.render import CURVES, FIELDS, render
from fractal_core.errors import InvalidArgumentError, PluginError


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("pattern", "window:radius=8|cantor:base=4"),
        *(("curve", name) for name in CURVES),
        *(("field", name) for name in FIELDS),
    ],
)
def test_a_picture_is_drawn(tmp_path, what, name):
    out = render(what, name, tmp_path / "new" / "picture.png", n=96, causal=True)
    image = matplotlib.image.imread(out)
    assert image.shape[:2] == (720, 720)
    assert image[..., :3].std() > 0.01
    assert [p.name for p in out.parent.iterdir()] == ["picture.png"]


def test_the_gallery_has_every_pattern(tmp_path):
    image = matplotlib.image.imread(render("gallery", "", tmp_path / "all.png", n=64, causal=False))
    assert image.shape[1] == 1536
    assert image[..., :3].std() > 0.01


def test_a_mask_is_the_patterns_own(tmp_path):
    # A window of 0 is the diagonal: one black pixel in n.
    narrow = matplotlib.image.imread(render("pattern", "window:radius=0", tmp_path / "a.png", n=64, causal=False))
    wide = matplotlib.image.imread(render("pattern", "window:radius=63", tmp_path / "b.png", n=64, causal=False))
    middle = (slice(200, 500), slice(200, 500))
    assert narrow[middle][..., 0].mean() > 0.95
    assert wide[middle][..., 0].mean() < 0.05


@pytest.mark.parametrize(
    ("what", "name", "n", "argument"),
    [
        ("curve", "koch", 64, "name"),
        ("field", "newton", 64, "name"),
        ("chart", "", 64, "what"),
        ("curve", "dragon", 0, "n"),
    ],
)
def test_a_wrong_call_names_the_argument_and_leaves_nothing(tmp_path, what, name, n, argument):
    with pytest.raises(InvalidArgumentError) as refused:
        render(what, name, tmp_path / "x.png", n=n, causal=False)
    assert refused.value.argument == argument
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_pattern_is_a_plugin_error(tmp_path):
    with pytest.raises(PluginError, match="nosuch"):
        render("pattern", "nosuch", tmp_path / "x.png", n=64, causal=False)
