"""Names lead to built-ins and plug-ins, each loaded when asked for and failing alone."""

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import fractal_core as fc
import pytest
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError
from fractal_core.patterns.registry import GROUP, PatternRegistry


class Dist:
    def __init__(self, name, version="1.0"):
        self.name, self.version = name, version


def point(name, value, dist=None):
    made = EntryPoint(name, value, GROUP)
    return made if dist is None else made._for(Dist(dist))


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Writes modules that tests import; forgets them afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


SPIRAL = """
    import fractal_core as fc

    class Spiral(fc.patterns.PatternBase):
        '''Keys on a spiral.

        More of it.
        '''

        def __init__(self, arms, twist=2):
            self.arms, self.twist = arms, twist

        def index_set(self, n_queries, n_keys=None, *, causal=False):
            return fc.pattern("window", radius=self.arms).index_set(n_queries, n_keys, causal=causal)
"""


def test_a_plug_in_is_imported_when_asked_for(modules):
    modules("spiral_plugin", SPIRAL)
    registry = PatternRegistry([point("spiral", "spiral_plugin:Spiral", "spirals")])
    assert "spiral" in registry.names()
    assert "spiral_plugin" not in sys.modules
    assert registry.create("window").name == "window"
    assert "spiral_plugin" not in sys.modules
    assert registry.create("spiral", arms=1).index_set(4).nnz == 10
    info = registry.info("spiral")
    assert (info.origin, info.target, info.summary) == ("spirals 1.0", "spiral_plugin:Spiral", "Keys on a spiral.")
    assert info.parameters == {"arms": ..., "twist": 2}
    assert info.error is None
    assert info.to_dict()["name"] == "spiral"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import a_module_that_is_missing", "ModuleNotFoundError: No module named 'a_module_that_is_missing'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("x = 1", "AttributeError: module 'broken_plugin' has no attribute 'Broken'"),
        ("Broken = 7", "it is a int, not a factory"),
        ("def Broken(:", "SyntaxError"),
    ],
)
def test_a_broken_plug_in_costs_its_own_name(modules, text, reason):
    modules("broken_plugin", text)
    modules("spiral_plugin", SPIRAL)
    registry = PatternRegistry(
        [point("broken", "broken_plugin:Broken", "fractal-broken"), point("spiral", "spiral_plugin:Spiral", "spirals")]
    )
    with pytest.raises(PluginError) as caught:
        registry.create("broken")
    assert "pattern 'broken' of fractal-broken 1.0 (broken_plugin:Broken) did not load" in str(caught.value)
    assert reason in str(caught.value)
    assert reason in registry.info("broken").error
    assert {"broken", "spiral", "window"} <= set(registry.names())
    assert registry.create("spiral", arms=2)
    assert registry.create("window")


def test_a_built_in_is_never_shadowed():
    registry = PatternRegistry([point("window", "nowhere:Window", "impostor")])
    assert type(registry.create("window")).__module__ == "fractal_core.patterns.window"
    info = registry.info("window")
    assert info.origin == "built-in"
    assert info.shadowed == ("nowhere:Window of impostor 1.0",)


def test_of_two_plug_ins_the_same_one_wins_in_any_order(modules):
    modules("spiral_plugin", SPIRAL)
    points = [point("spiral", "elsewhere:Spiral", "zeta"), point("spiral", "spiral_plugin:Spiral", "alpha")]
    for order in (points, points[::-1]):
        registry = PatternRegistry(order)
        assert registry.info("spiral").origin == "alpha 1.0"
        assert registry.info("spiral").shadowed == ("elsewhere:Spiral of zeta 1.0",)
        assert registry.create("spiral", arms=1)


def test_a_point_without_a_distribution(modules):
    registry = PatternRegistry([point("lost", "nowhere_at_all:Lost")])
    with pytest.raises(PluginError, match="of an unknown distribution"):
        registry.create("lost")


def test_parameters_are_checked_by_name(modules):
    modules("spiral_plugin", SPIRAL)
    registry = PatternRegistry([point("spiral", "spiral_plugin:Spiral", "spirals")])
    with pytest.raises(InvalidArgumentError, match=r"leg: got 3; allowed: parameters of 'spiral': arms, twist"):
        registry.create("spiral", leg=3)
    with pytest.raises(InvalidArgumentError, match="arms: got nothing"):
        registry.create("spiral")
    registry.register("anything", lambda **params: registry.create("window", radius=len(params)))
    assert registry.create("anything", a=1, b=2).radius == 2


def test_register():
    registry = PatternRegistry([])
    registry.register("mine", lambda radius=1: registry.create("window", radius=radius))
    assert registry.create("mine", radius=5).radius == 5
    assert registry.info("mine").origin == "registered"
    assert registry.info("mine").parameters == {"radius": 1}
    for name in ("mine", "window"):
        with pytest.raises(PluginError, match="already registered"):
            registry.register(name, lambda: None)
    with pytest.raises(DTypeError):
        registry.register("other", 3)
    with pytest.raises(DTypeError):
        registry.register("", dict)
    registry.register("nothing", dict)
    with pytest.raises(PluginError, match="made a dict without index_set"):
        registry.create("nothing")


def test_unknown_names_list_the_known():
    with pytest.raises(PluginError, match=r"unknown pattern 'winter'; known: .*window"):
        fc.pattern("winter")
    with pytest.raises(PluginError, match="unknown pattern"):
        fc.patterns.info("winter")


@pytest.mark.parametrize(("setting", "seen"), [("0", False), ("1", True), (None, True)])
def test_plug_ins_switch(tmp_path, setting, seen):
    """A distribution found on the path counts unless FRACTAL_CORE_PLUGINS=0."""
    meta = tmp_path / "spirals-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: spirals\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[fractal_core.patterns]\nspiral = spiral_plugin:Spiral\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport fractal_core as fc; print(fc.patterns.names())"
    environment = {} if setting is None else {"FRACTAL_CORE_PLUGINS": setting}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ("spiral" in done.stdout) == seen
    assert "window" in done.stdout


def test_plug_ins_switch_takes_no_other_word(monkeypatch):
    monkeypatch.setenv("FRACTAL_CORE_PLUGINS", "yes")
    with pytest.raises(InvalidArgumentError, match="FRACTAL_CORE_PLUGINS: got 'yes'"):
        PatternRegistry().names()
