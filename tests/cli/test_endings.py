"""A picture is written as its ending says; a pattern that raises costs its own picture only."""

import fractal_core as fc
import pytest
from fractal_core.cli.render import render
from fractal_core.errors import InvalidArgumentError, PluginError


@pytest.mark.parametrize(
    ("ending", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("jpg", b"\xff\xd8\xff"), ("PNG", b"\x89PNG")]
)
def test_a_picture_is_what_its_ending_says(tmp_path, ending, magic):
    out = render("curve", "hilbert", tmp_path / f"a.{ending}", n=16, causal=False)
    assert out.read_bytes().startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["a.txt", "a"])
def test_an_ending_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(InvalidArgumentError, match="out: got"):
        render("curve", "hilbert", tmp_path / name, n=16, causal=False)
    assert not list(tmp_path.iterdir())


def test_a_pattern_that_raises_costs_its_own_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(fc.patterns, "_registry", fc.patterns.PatternRegistry())

    def broken():
        raise ZeroDivisionError("$ [/usr/lib]")

    fc.patterns.register("broken", broken)
    with pytest.raises(PluginError, match="pattern 'broken' failed: ZeroDivisionError"):
        render("pattern", "broken", tmp_path / "a.png", n=16, causal=False)
    assert render("gallery", "", tmp_path / "b.png", n=16, causal=False).exists()
