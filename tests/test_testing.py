"""The conformance suite passes what keeps the rules and names the rule that a broken pattern breaks."""

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.patterns import PatternBase
from fractal_core.testing import PatternCheckError, check_pattern, checks, parametrize

SPECS = [
    "window",
    "window:radius=0",
    "hilbert",
    "hilbert:window=1",
    "hilbert:window=5,shape=7x9",
    "hilbert:window=3,shape=3x5x4",
    "hilbert:window=9,shape=(50,)",
    "cantor",
    "cantor:base=5",
    "cantor:base=3,digits=(0,2)",
    "cantor:base=4,digits=(0,1,3)",
    "cantor_samples",
    "dragon",
    "dragon:radius=0",
    "julia",
    "julia:c=0.3-0.5j,window=0,neighbours=3",
    "sierpinski",
    "random",
    "random:k=0",
    "random:k=1000,seed=7",
    "window:radius=4|cantor:base=4",
    "window:radius=9&(random:k=20|sierpinski)",
]


def made(spec):
    def factory():
        return fc.patterns.parse(spec)

    factory.__name__ = spec
    return factory


@parametrize(*[made(spec) for spec in SPECS])
def test_built_in(check):
    check()


def test_check_pattern_takes_a_class():
    assert check_pattern(type(fc.pattern("window"))) is None


class Base(PatternBase):
    """Self and the key before: keeps all rules; the broken ones differ in one thing."""

    def mask(self, n, causal):
        i, j = np.indices((n, n))
        return (abs(i - j) <= 1) & ~(causal & (j > i))

    def index_set(self, n_queries, n_keys=None, *, causal=False):
        n_queries, n_keys = fc.patterns.check_span(n_queries, n_keys)
        return fc.IndexSet.from_mask(self.mask(n_keys, causal)[n_keys - n_queries :])


class NoSelf(Base):
    def mask(self, n, causal):
        mask = super().mask(n, causal)
        mask[n // 2, n // 2] &= n < 3
        return mask


class EmptyRow(Base):
    symmetric = False

    def mask(self, n, causal):
        return super().mask(n, causal) & (np.arange(n) != 2)[:, None]


class Leaks(Base):
    def mask(self, n, causal):
        return super().mask(n, causal=False)


class DropsMore(Base):
    def mask(self, n, causal):
        return np.eye(n, dtype=bool) if causal else super().mask(n, causal)


class Lopsided(Base):
    def mask(self, n, causal):
        return np.tril(super().mask(n, causal))


class GrowsDifferently(Base):
    def mask(self, n, causal):
        mask = super().mask(n, causal)
        mask[-1, 0] = mask[0, -1] = True
        return np.tril(mask) if causal else mask


class FirstRows(Base):
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        n_queries, n_keys = fc.patterns.check_span(n_queries, n_keys)
        return fc.IndexSet.from_mask(self.mask(n_keys, causal)[:n_queries])


class Unseeded(Base):
    calls = 0

    def mask(self, n, causal):
        type(self).calls += 1
        mask = np.eye(n, dtype=bool)
        mask[-1, 0] |= self.calls % 2 == 0
        return mask

    symmetric = False
    length_dependent = True


class TakesAnySize(Base):
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return super().index_set(max(n_queries, 1), max(n_queries, n_keys or 1, 1), causal=causal)


class NoIndexSet:
    length_dependent = False


class WrongFlag(Base):
    length_dependent = "no"


class Shapeless(Base):
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return fc.IndexSet.from_mask(self.mask(n_queries + 1, causal))


class ReturnsMask(Base):
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return self.mask(n_queries, causal)


class TwoKeysUnsorted(fc.IndexSet):
    """A set whose rows lie about themselves."""

    __slots__ = ()

    @property
    def indices(self):
        return super().indices[::-1]


class Unsorted(Base):
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return TwoKeysUnsorted(super().index_set(n_queries, n_keys, causal=causal)._native)


class WrongTranspose(Unsorted):
    class Set(fc.IndexSet):
        __slots__ = ()

        def transpose(self):
            return self

    symmetric = False

    def index_set(self, n_queries, n_keys=None, *, causal=False):
        return self.Set(Base.index_set(self, n_queries, n_keys, causal=causal)._native)


class WrongMask(WrongTranspose):
    class Set(fc.IndexSet):
        __slots__ = ()

        def to_mask(self):
            mask = super().to_mask()
            mask[-1, 0] = True
            return mask

        def transpose(self):
            return type(self).turned(super().transpose())

        @classmethod
        def turned(cls, index_set):
            return index_set

    includes_self = True
    length_dependent = True


BROKEN = {
    NoSelf: "self_included",
    EmptyRow: "rows_not_empty",
    Leaks: "causal_looks_back",
    DropsMore: "causal_only_leaves_out",
    Lopsided: "symmetric_if_flagged",
    GrowsDifferently: "prefix_stable",
    FirstRows: "last_rows_are_decode_rows",
    Unseeded: "deterministic",
    NoIndexSet: "makes_index_sets",
    WrongFlag: "makes_index_sets",
    Shapeless: "makes_index_sets",
    ReturnsMask: "makes_index_sets",
    Unsorted: "keys_sorted_unique_in_range",
    WrongTranspose: "transpose_consistent",
    WrongMask: "attention_equals_dense",
}


def test_the_base_of_the_broken_ones_is_sound():
    check_pattern(Base)


@pytest.mark.parametrize(("pattern", "rule"), BROKEN.items(), ids=lambda x: getattr(x, "__name__", x))
def test_each_broken_pattern_breaks_its_rule(pattern, rule):
    check = next(check for check in checks(pattern) if check.rule == rule)
    with pytest.raises(PatternCheckError, match=f"{rule}: .*; counterexample: ") as caught:
        check()
    assert caught.value.rule == rule
    assert caught.value.example
    with pytest.raises(PatternCheckError):
        check_pattern(pattern)


def test_every_rule_is_broken_by_something():
    assert set(BROKEN.values()) == {check.rule for check in checks(Base)}


def test_an_author_need_not_check_sizes():
    check_pattern(TakesAnySize)


def test_flags_switch_rules_off():
    class Flagged(GrowsDifferently):
        length_dependent = True

    class Selfless(PatternBase):
        includes_self = False
        symmetric = False

        def index_set(self, n_queries, n_keys=None, *, causal=False):
            n_queries, n_keys = fc.patterns.check_span(n_queries, n_keys)
            return fc.IndexSet.from_offsets([1, 2], n_queries, n_keys)

    check_pattern(Flagged)
    check_pattern(Selfless)


def test_a_pattern_needs_no_more_than_index_set():
    class Bare:
        def index_set(self, n_queries, n_keys=None, *, causal=False):
            return fc.pattern("window", radius=1).index_set(n_queries, n_keys, causal=causal)

    check_pattern(Bare)
