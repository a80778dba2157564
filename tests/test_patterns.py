"""Built-in patterns by their definitions, the joins, and patterns as text."""

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import curves
from fractal_core.errors import FractalError, InvalidArgumentError, PluginError

BUILTIN = ["cantor", "cantor_samples", "dragon", "hilbert", "julia", "neighborhood", "random", "sierpinski", "window"]


def indices_of(n):
    return np.indices((n, n))


def test_built_ins_are_there():
    assert set(BUILTIN) <= set(fc.patterns.names())
    for name in BUILTIN:
        assert isinstance(fc.pattern(name), fc.patterns.Pattern)
        assert fc.pattern(name).name == name
        assert fc.patterns.info(name).origin == "built-in"
        assert fc.pattern(name).bias(8) is None


def test_window():
    i, j = indices_of(40)
    assert (fc.pattern("window", radius=3).index_set(40).to_mask() == (abs(i - j) <= 3)).all()
    assert fc.pattern("window", radius=2**31 - 1).index_set(5, causal=True).nnz == 15


@pytest.mark.parametrize(("base", "digits"), [(3, (0, 1)), (3, (0, 2)), (4, (0, 1, 3)), (2, (0, 1)), (10, (0, 5, 9))])
def test_cantor(base, digits):
    def inside(distance):
        return all(int(digit) in digits for digit in np.base_repr(distance, base))

    i, j = indices_of(90)
    expected = np.vectorize(inside)(abs(i - j))
    assert (fc.pattern("cantor", base=base, digits=digits).index_set(90).to_mask() == expected).all()


def test_cantor_samples_are_those_of_the_ternary_set():
    n, depth = 500, 4
    points = np.floor(fc.sets.cantor_points(depth) * n + 1e-9).astype(int)
    i, j = indices_of(n)
    got = fc.pattern("cantor_samples", depth=depth).index_set(n).to_mask()
    assert (got == (np.isin(j, points) | (i == j))).all()
    shallower = fc.pattern("cantor_samples", depth=depth - 1).index_set(n)
    assert (shallower.to_mask() <= got).all()


@pytest.mark.parametrize("n", [1, 5, 64, 200, 257])
def test_hilbert_sequence(n):
    cells = curves.hilbert_decode(np.arange(n), 8).astype(int)
    apart = abs(cells[:, None] - cells[None]).max(-1)
    assert (fc.pattern("hilbert", window=5).index_set(n).to_mask() == (apart <= 2)).all()


@pytest.mark.parametrize("shape", [(13,), (1, 9), (6, 7), (3, 4, 5)])
def test_hilbert_box(shape):
    n = int(np.prod(shape))
    cells = np.stack(np.unravel_index(np.arange(n), shape), -1)
    apart = abs(cells[:, None] - cells[None]).max(-1)
    pattern = fc.pattern("hilbert", window=3, shape=shape)
    assert (pattern.index_set(n).to_mask() == (apart <= 1)).all()
    assert pattern.length == n
    assert pattern.length_dependent


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_dragon(radius):
    vertices = curves.dragon_vertices(300).astype(int)
    apart = abs(vertices[:, None] - vertices[None]).max(-1)
    assert (fc.pattern("dragon", radius=radius).index_set(300).to_mask() == (apart <= radius)).all()


def test_sierpinski():
    i, j = indices_of(100)
    assert (fc.pattern("sierpinski").index_set(100).to_mask() == (i & j == j)).all()


def test_julia_by_its_definition():
    n, window, neighbours, c, max_iter = 300, 4, 3, -0.7 + 0.27j, 64
    plastic = 1.324717957244746
    levels = []
    for i in range(n):
        z = complex(*(1.5 * (2 * ((0.5 + i / plastic**p) % 1) - 1) for p in (1, 2)))
        level = 0
        while abs(z) <= 2 and level < max_iter:
            z, level = z * z + c, level + 1
        levels.append(level)
    assert len(set(levels)) > 5
    i, j = indices_of(n)
    expected = abs(i - j) <= window
    for level in set(levels):
        members = np.flatnonzero(np.array(levels) == level)
        for rank, position in enumerate(members):
            expected[position, members[max(rank - neighbours, 0) : rank + neighbours + 1]] = True
    pattern = fc.pattern("julia", c=c, window=window, neighbours=neighbours, max_iter=max_iter)
    assert (pattern.index_set(n).to_mask() == expected).all()


def test_random_rows():
    causal = fc.pattern("random", k=8, seed=3).index_set(400, causal=True)
    assert (np.diff(causal.indptr) == np.minimum(np.arange(400), 8) + 1).all()
    both = fc.pattern("random", k=8, seed=3).index_set(400)
    assert (both.to_mask() == causal.to_mask() | causal.to_mask().T).all()
    assert fc.pattern("random", k=8, seed=4).index_set(400) != both
    # Draws are even: halves of the earlier keys get the same share, within five standard deviations.
    rows, keys = np.repeat(np.arange(400), np.diff(causal.indptr)), causal.indices
    drawn = keys[(rows >= 100) & (keys < rows)] * 2 < rows[(rows >= 100) & (keys < rows)]
    assert abs(drawn.mean() - 0.5) < 5 * 0.5 / drawn.size**0.5


def test_joins():
    window, cantor = fc.pattern("window", radius=2), fc.pattern("cantor")
    one, other = window.index_set(50, causal=True), cantor.index_set(50, causal=True)
    assert (window | cantor).index_set(50, causal=True) == (one | other)
    assert (window & cantor).index_set(50, causal=True) == (one & other)
    assert (window | cantor).index_set(50).offsets is not None
    assert (window | fc.pattern("cantor_samples")).length_dependent
    assert not (window | fc.pattern("sierpinski")).symmetric
    assert (window | fc.pattern("hilbert", window=3, shape=(5, 10))).length == 50
    assert (window | cantor).name == "window|cantor"
    assert (window & cantor).bias(3) is None
    with pytest.raises(InvalidArgumentError, match=r"15 keys.*20"):
        fc.pattern("hilbert", window=3, shape=(4, 5)) | fc.pattern("hilbert", window=3, shape=(3, 5))


def test_a_join_adds_biases():
    class Biased(fc.patterns.PatternBase):
        def index_set(self, n_queries, n_keys=None, *, causal=False):
            return fc.pattern("window").index_set(n_queries, n_keys, causal=causal)

        def bias(self, n_keys):
            return np.arange(n_keys, dtype=np.float32)

    assert ((Biased() | fc.pattern("window")).bias(3) == [0, 1, 2]).all()
    assert ((Biased() | Biased()).bias(3) == [0, 2, 4]).all()


@pytest.mark.parametrize(
    "text",
    [
        "window:radius=32|cantor:base=4",
        "window & cantor | random:k=3, seed=5",
        "(window | cantor:digits=(0,2)) & sierpinski",
        "hilbert:window=3,shape=8x4",
        "julia:c=0.3-0.5j",
        "dragon",
    ],
)
def test_text_and_back(text):
    pattern = fc.patterns.parse(text)
    again = fc.patterns.parse(pattern.spec)
    assert again == pattern
    assert fc.pattern(text) == pattern
    assert again.index_set(32) == pattern.index_set(32)


def test_text_groups():
    a, b, c = (fc.pattern("window", radius=r) for r in (1, 2, 3))
    text = "window:radius=1|window:radius=2&window:radius=3"
    assert fc.patterns.parse(text) == (a | (b & c))
    assert fc.patterns.parse("(window:radius=1|window:radius=2)&window:radius=3") == ((a | b) & c)


@pytest.mark.parametrize(
    "text",
    ["", "|", "window|", "window:", "window:radius", "window:radius=", "window:radius=1,radius=2", "(window", "window)",
     "window:2=3", "win dow", "window:radius=1]"],
)  # fmt: skip
def test_text_that_says_nothing(text):
    with pytest.raises(InvalidArgumentError, match=r"^text: got"):
        fc.patterns.parse(text)
    with pytest.raises(FractalError):
        fc.pattern(text)


def test_text_names_its_bad_parameter():
    with pytest.raises(InvalidArgumentError, match="radius: got -3"):
        fc.pattern("cantor|window:radius=-3")
    with pytest.raises(PluginError, match="unknown pattern 'mandala'"):
        fc.pattern("cantor|mandala")
