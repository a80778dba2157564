"""Patterns of others: checked before and after each call, and otherwise as their authors made them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import IndexSet
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError
from fractal_core.patterns import Pattern, PatternBase
from fractal_core.patterns.base import adapt
from fractal_core.patterns.registry import GROUP, PatternRegistry
from fractal_core.patterns.window import Window


class Bare:
    """No more than `index_set`."""

    calls = 0

    def index_set(self, n_queries, n_keys, *, causal):
        Bare.calls += 1
        return Window(1).index_set(n_queries, n_keys, causal=causal)


class Gives:
    """Gives what it was made with."""

    def __init__(self, made):
        self.made = made

    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return self.made


@dataclass(frozen=True)
class Ring(PatternBase):
    """A full member: flags, parameters, a method of its own."""

    radius: int = 1
    name = "ring"

    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return Window(self.radius).index_set(n_queries, n_keys, causal=causal)

    def around(self):
        return 2 * self.radius


@pytest.fixture
def bare():
    return PatternRegistry([plug_in("bare", "Bare")]).create("bare")


class Dist:
    name, version = "fractal-bare", "2.0"


def plug_in(name, target):
    return EntryPoint(name, f"{__name__}:{target}", GROUP)._for(Dist())


def test_what_a_plug_in_does_not_say_is_the_safe_value(bare):
    assert isinstance(bare, Pattern)
    assert (bare.name, bare.spec, dict(bare.params)) == ("bare", "bare", {})
    assert bare.length_dependent is True
    assert bare.symmetric is False
    assert bare.includes_self is False
    assert bare.length is None
    assert bare.bias(8) is None
    assert bare.report(8).prefix_stable is False
    assert bare.index_set(5) == Window(1).index_set(5)
    assert bare.index_set(2, 5, causal=True) == Window(1).index_set(2, 5, causal=True)


def test_a_pattern_given_as_an_object_has_the_name_of_its_type():
    assert adapt(Bare()).name == "Bare"
    registry = PatternRegistry([])
    registry.register("given", lambda made=None: Gives(made))
    assert registry.create("given", made=3).spec == "given:made=3"


@pytest.mark.parametrize(
    ("sizes", "error", "argument"),
    [
        ({"n_queries": 0}, InvalidArgumentError, "n_queries"),
        ({"n_queries": -1}, InvalidArgumentError, "n_queries"),
        ({"n_queries": 3, "n_keys": 2}, InvalidArgumentError, "n_queries"),
        ({"n_queries": 2**31}, InvalidArgumentError, "n_queries"),
        ({"n_queries": 2, "n_keys": 2**31}, InvalidArgumentError, "n_keys"),
        ({"n_queries": 2.0}, DTypeError, "n_queries"),
        ({"n_queries": True}, DTypeError, "n_queries"),
        ({"n_queries": 2, "n_keys": "3"}, DTypeError, "n_keys"),
        ({"n_queries": 2, "causal": "False"}, DTypeError, "causal"),
    ],
)
def test_impossible_calls_are_refused_before_it_is_called(bare, sizes, error, argument):
    before = Bare.calls
    for pattern in (bare, adapt(Bare())):
        with pytest.raises(error) as caught:
            pattern.index_set(**sizes)
        assert caught.value.argument == argument
    assert Bare.calls == before


def test_another_length_than_its_own_is_refused_before_it_is_called():
    class Fixed(Bare):
        length = np.int64(6)

    before, pattern = Bare.calls, adapt(Fixed())
    assert type(pattern.length) is int
    with pytest.raises(InvalidArgumentError, match=r"^n_keys: got 5; allowed: 6, the one length of pattern .*Fixed"):
        pattern.index_set(5)
    assert Bare.calls == before
    assert pattern.index_set(2, 6).shape == (2, 6)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (None, "gave a NoneType, not an IndexSet"),
        (np.ones((4, 4), bool), "gave a ndarray, not an IndexSet"),
        (IndexSet.from_offsets([0], 5), r"gave an IndexSet of shape \(5, 5\), not \(4, 4\)"),
    ],
)
def test_what_comes_back_is_checked_and_the_plug_in_named(made, what):
    with pytest.raises(PluginError, match=rf"pattern of type .*\.Gives: index_set\(4, 4, causal=False\) {what}"):
        adapt(Gives(made)).index_set(4)
    registry = PatternRegistry([plug_in("gives", "Gives")])
    with pytest.raises(
        PluginError, match=rf"pattern 'gives' \(fractal-bare 2.0\): index_set\(4, 4, causal=True\) {what}"
    ):
        registry.create("gives", made=made).index_set(4, causal=True)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", 7),
        ("params", [1]),
        ("length_dependent", "no"),
        ("length_dependent", 0),
        ("symmetric", None),
        ("includes_self", "yes"),
        ("length", 0),
        ("length", True),
        ("length", 2.5),
        ("bias", 0.5),
    ],
)
def test_a_flag_of_the_wrong_kind_is_refused_at_once_and_the_plug_in_named(member, value):
    wrong = type("Wrong", (Bare,), {member: value})
    with pytest.raises(PluginError, match=rf"pattern of type .*Wrong: {member}: got"):
        adapt(wrong())
    registry = PatternRegistry([])
    registry.register("wrong", wrong)
    with pytest.raises(PluginError, match=rf"pattern 'wrong' \(registered\): {member}: got"):
        registry.create("wrong")


def test_a_flag_that_fails_is_not_taken_for_a_missing_one():
    class Fails(Bare):
        @property
        def length_dependent(self):
            return self.nothing_of_this_name

    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        adapt(Fails())


def test_what_is_no_pattern_is_refused():
    for value in (3, None, object()):
        with pytest.raises(DTypeError, match=r"^pattern: got"):
            adapt(value)
        with pytest.raises(DTypeError, match=r"^other: got"):
            fc.pattern("window") | value


def test_our_own_are_not_wrapped():
    for pattern in (Window(3), fc.pattern("window|cantor"), fc.pattern("window") & Bare()):
        assert adapt(pattern) is pattern
    adapted = adapt(Bare())
    assert adapt(adapted) is adapted


def test_the_adapter_does_not_show():
    ring, same, other = Ring(3), adapt(Ring(3)), adapt(Ring(4))
    assert isinstance(same, Ring)
    assert not isinstance(same, Window)
    assert repr(same) == repr(ring)
    assert same == ring
    assert ring == same
    assert same == adapt(Ring(3))
    assert same != other
    assert hash(same) == hash(ring)
    assert {same: 1}[ring] == 1
    assert (same.radius, same.around(), same.params, same.spec) == (3, 6, {"radius": 3}, "ring:radius=3")
    assert "around" in dir(same)
    assert same.length_dependent is False
    assert replace(same, radius=4) == other
    with pytest.raises(AttributeError, match="nothing"):
        _ = same.nothing
    with pytest.raises(AttributeError, match="radius"):
        same.radius = 5


def test_attributes_are_set_on_the_object_itself():
    gives = Gives(None)
    adapted = adapt(gives)
    adapted.made = IndexSet.from_offsets([0], 3)
    assert adapted.index_set(3) == gives.made
    adapted.length_dependent = False
    assert adapted.length_dependent is False
    del adapted.made
    assert not hasattr(gives, "made")


def test_a_spec_and_a_report_of_its_own_stay():
    class Own(Ring):
        spec = "ring:its=own"

        def report(self, n_queries, n_keys=None, *, causal=False):
            return n_queries

    adapted = adapt(Own(2))
    assert adapted.spec == "ring:its=own"
    assert adapted.report(7) == 7
    assert adapt(Ring(2)).spec == Ring(2).spec
    gives = Gives(None)
    gives.spec = "given"
    assert adapt(gives).spec == "given"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_stay_adapted(again):
    pattern = again(adapt(Ring(3), origin="pattern 'ring' (rings 1.0)"))
    assert pattern == Ring(3)
    assert adapt(pattern) is pattern
    with pytest.raises(InvalidArgumentError, match="n_queries"):
        pattern.index_set(0)


def test_joins_believe_their_parts(bare):
    joined = bare | fc.pattern("cantor")
    assert joined.index_set(20) == Window(1).index_set(20) | fc.pattern("cantor").index_set(20)
    assert (joined.name, joined.spec) == ("bare|cantor", "bare|cantor:base=3,digits=(0,1)")
    assert joined.length_dependent
    assert not joined.symmetric
    assert joined.includes_self
    assert not (bare & fc.pattern("cantor")).includes_self
    assert fc.pattern("window") | Ring(3) == fc.pattern("window") | adapt(Ring(3))
    with pytest.raises(PluginError, match=r"Gives: index_set\(4, 4, causal=False\) gave a NoneType"):
        (fc.pattern("window") | Gives(None)).index_set(4)


def test_the_base_class_checks_for_its_own_report():
    with pytest.raises(InvalidArgumentError, match="n_queries"):
        Ring(1).report(0)
    assert Ring(1).report(9).edges == Window(1).index_set(9).nnz


def test_a_layer_refuses_to_stream_what_does_not_say_that_it_can(bare):
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    x = torch.ones(1, 5, 8)
    for pattern, name in ((bare, "bare"), (Bare(), "Bare")):
        layer = fc.nn.FractalAttention(8, 2, pattern, causal=True)
        assert layer(x).shape == x.shape
        with pytest.raises(InvalidArgumentError, match=f"length-dependent pattern '{name}'"):
            layer(x, cache=fc.nn.KeyValueCache())
    with pytest.raises(PluginError, match=r"Gives: index_set\(5, 5, causal=False\) gave a NoneType"):
        fc.nn.FractalAttention(8, 2, Gives(None))(x)
    cache = fc.nn.KeyValueCache()
    layer = fc.nn.FractalAttention(8, 2, Ring(2), causal=True).eval()
    torch.testing.assert_close(torch.cat([layer(t, cache=cache) for t in x.split(1, 1)], 1), layer(x))


def test_the_built_ins_refuse_impossible_sizes_themselves():
    for name in fc.patterns.names():
        for sizes in ((0, None), (-1, None), (3, 2)):
            with pytest.raises(InvalidArgumentError, match="n_queries"):
                fc.pattern(name).index_set(*sizes)
