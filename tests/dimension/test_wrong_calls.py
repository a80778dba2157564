"""Wrong calls of `fractal_core.dimension`: typed errors that name the argument, whatever is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError

OK = np.ones((64, 64))
NAN = np.where(np.eye(64, dtype=bool), np.nan, 1.0)
BOX, RENYI, ROWS = dimension.box_dimension, dimension.renyi_dimension, dimension.row_statistics
SERIES = np.arange(100.0) % 7
POINTS = np.random.default_rng(0).random((50, 2))

WRONG = [
    ("weights", InvalidArgumentError, lambda: RENYI(NAN)),
    ("weights", InvalidArgumentError, lambda: RENYI(-OK)),
    ("weights", InvalidArgumentError, lambda: RENYI(OK * np.inf)),
    ("weights", InvalidArgumentError, lambda: BOX(NAN, foreground=0.5)),
    ("weights", InvalidArgumentError, lambda: ROWS(NAN)),
    ("weights", InvalidArgumentError, lambda: dimension.lacunarity(NAN)),
    ("weights", ShapeError, lambda: RENYI(np.ones(64))),
    ("weights", ShapeError, lambda: RENYI(np.ones((0, 64)))),
    ("weights", ShapeError, lambda: RENYI(np.ones((0, 64, 64)))),
    ("weights", DTypeError, lambda: RENYI(OK.astype(complex))),
    ("weights", DTypeError, lambda: RENYI(OK.astype(str))),
    ("weights", DTypeError, lambda: RENYI(OK > 0)),
    ("support", InvalidArgumentError, lambda: RENYI(OK, "causal")),
    ("support", InvalidArgumentError, lambda: BOX(OK > 0, ("window", 3))),
    ("support", InvalidArgumentError, lambda: RENYI(OK, "banded")),
    ("support", InvalidArgumentError, lambda: RENYI(OK, ("window", -1))),
    ("support", InvalidArgumentError, lambda: RENYI(OK, ("ring", 3))),
    ("support", DTypeError, lambda: RENYI(OK, ("window", 2.5))),
    ("support", DTypeError, lambda: RENYI(OK, OK)),
    ("support", DTypeError, lambda: RENYI(OK, None)),
    ("support", ShapeError, lambda: RENYI(OK, np.ones((64, 63), bool))),
    ("support", ShapeError, lambda: RENYI(OK, IndexSet.from_offsets([0], 63))),
    ("foreground", InvalidArgumentError, lambda: BOX(OK)),
    ("foreground", InvalidArgumentError, lambda: BOX(OK, foreground=2.0)),
    ("foreground", InvalidArgumentError, lambda: BOX(np.zeros((64, 64), bool))),
    ("foreground", InvalidArgumentError, lambda: BOX(OK > 0, foreground=0.5)),
    ("foreground", InvalidArgumentError, lambda: BOX(OK, foreground=("median", 0.5))),
    ("foreground", InvalidArgumentError, lambda: BOX(OK, foreground=("mass", 0.0))),
    ("foreground", InvalidArgumentError, lambda: BOX(OK, foreground=float("nan"))),
    ("foreground", DTypeError, lambda: BOX(OK, foreground="mass")),
    ("mode", InvalidArgumentError, lambda: BOX(OK > 0, mode="median")),
    ("scales", InvalidArgumentError, lambda: BOX(OK > 0, scales=[0, 2])),
    ("scales", InvalidArgumentError, lambda: BOX(OK > 0, scales=[4])),
    ("scales", InvalidArgumentError, lambda: BOX(OK > 0, scales=[4, 2])),
    ("scales", InvalidArgumentError, lambda: BOX(OK > 0, scales=[2, 65])),
    ("scales", InvalidArgumentError, lambda: BOX(OK > 0, scales=[2, 6], mode="exact")),
    ("scales", DTypeError, lambda: BOX(OK > 0, scales=[1.5, 3])),
    ("scales", DTypeError, lambda: BOX(OK > 0, scales=4)),
    ("scales", InvalidArgumentError, lambda: dimension.variogram(OK, scales=[1, 64])),
    ("origins", InvalidArgumentError, lambda: BOX(OK > 0, scales=[1, 2], origins=[(0, 2)])),
    ("origins", ShapeError, lambda: BOX(OK > 0, origins=[(0, 0, 0)])),
    ("origins", InvalidArgumentError, lambda: BOX(OK > 0, origins=[])),
    ("force", DTypeError, lambda: BOX(np.ones((8, 8), bool), force="yes")),
    ("q", InvalidArgumentError, lambda: RENYI(OK, q=float("nan"))),
    ("q", ShapeError, lambda: RENYI(OK, q=[])),
    ("q", DTypeError, lambda: RENYI(OK, q="one")),
    ("values", InvalidArgumentError, lambda: dimension.variogram(NAN)),
    ("values", InvalidArgumentError, lambda: dimension.differential_box_dimension(NAN)),
    ("series", InvalidArgumentError, lambda: dimension.dfa(np.full(100, np.nan))),
    ("series", ShapeError, lambda: dimension.dfa(np.ones(8))),
    ("series", ShapeError, lambda: dimension.higuchi_dimension(3.0)),
    ("series", DTypeError, lambda: dimension.dfa(["a"] * 20)),
    ("kmax", InvalidArgumentError, lambda: dimension.higuchi_dimension(SERIES, kmax=60)),
    ("order", InvalidArgumentError, lambda: dimension.dfa(SERIES, order=9)),
    ("scales", InvalidArgumentError, lambda: dimension.dfa(SERIES, scales=[2, 8])),
    ("profile", DTypeError, lambda: dimension.dfa(SERIES, profile=1)),
    ("q", InvalidArgumentError, lambda: dimension.mfdfa(SERIES, q=1e4)),
    ("points", InvalidArgumentError, lambda: dimension.correlation_dimension(np.ones((20, 2)))),
    ("points", InvalidArgumentError, lambda: dimension.correlation_sum(-POINTS, [0.1], metric="hellinger")),
    ("points", ShapeError, lambda: dimension.correlation_dimension(np.ones(20))),
    ("radii", InvalidArgumentError, lambda: dimension.correlation_sum(POINTS, [0.2, 0.1])),
    ("radii", InvalidArgumentError, lambda: dimension.correlation_sum(POINTS, [])),
    ("metric", InvalidArgumentError, lambda: dimension.correlation_sum(POINTS, [0.1], metric="cosine")),
    ("theiler", InvalidArgumentError, lambda: dimension.correlation_sum(POINTS, [0.1], theiler=50)),
    ("top_p", InvalidArgumentError, lambda: ROWS(OK, top_p=1.5)),
    ("top_k", InvalidArgumentError, lambda: ROWS(OK, top_k=0)),
    ("below", InvalidArgumentError, lambda: ROWS(OK, below=-1)),
    ("tokens", ShapeError, lambda: ROWS(OK, tokens=[1, 2])),
    ("tokens", DTypeError, lambda: ROWS(OK, tokens=np.ones(64))),
    ("residual", InvalidArgumentError, lambda: dimension.attention_rollout(OK[None], residual=2)),
    ("heads", InvalidArgumentError, lambda: dimension.attention_rollout(OK[None], heads="sum")),
    ("weights", ShapeError, lambda: dimension.attention_rollout(OK)),
    ("weights", ShapeError, lambda: dimension.attention_rollout(np.ones((2, 3, 4)))),
]


@pytest.mark.parametrize(("argument", "error", "call"), WRONG, ids=[f"{i}-{w[0]}" for i, w in enumerate(WRONG)])
def test_a_wrong_call_names_its_argument(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, FractalError)
    assert caught.value.argument == argument
