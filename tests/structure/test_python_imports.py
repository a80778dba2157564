"""Python imports: no circle between files or folders, and no arrow against the floors that ARCHITECTURE.md prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphs import circles, folded

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "fractal_core"
Graph = dict[str, set[str]]


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that may run, those in functions, too; not those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for other in node.orelse:
                yield from statements(ast.Module([other], []))
        else:
            yield from statements(node)


def modules(package: Path) -> dict[str, Path]:
    """Files by their dotted names, the stub of the extension, too; a folder's `__init__` has the folder's name."""
    found = {}
    for path in sorted(package.rglob("*.py*")):
        if path.suffix not in {".py", ".pyi"}:
            continue
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> Graph:
    """Which files of a package each of its files imports; `from a import b` is the file a.b where there is one."""
    files = modules(package)
    graph: Graph = {}
    for name, path in files.items():
        named = set()
        for statement in statements(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.Import):
                named |= {alias.name for alias in statement.names}
                continue
            base = statement.module or ""
            if statement.level:
                here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*here[: len(here) - statement.level + 1], *filter(None, [statement.module])])
            for alias in statement.names:
                inner = f"{base}.{alias.name}"
                named.add(inner if inner in files else base)
        graph[name] = {other for other in named if other in files} - {name}
    return graph


def folders(graph: Graph, package: Path) -> Graph:
    """The same between folders, where a file beside the package's own `__init__` counts as one.

    What an `__init__` shows of its own folder's inside is left out: it is the front door, not a user of it.
    """
    files = modules(package)

    def folder(name: str) -> str:
        deep = files[name].parent != package
        return ".".join(files[name].relative_to(package.parent).parent.parts) if deep else name

    def used(name: str) -> set[str]:
        door = files[name].name == "__init__.py"
        return {other for other in graph[name] if not (door and other.startswith(f"{name}."))}

    return folded({name: used(name) for name in graph}, folder)


def floors(page: str) -> dict[str, int]:
    """The printed floors, from the lowest, several joined by a dot; the extension and its calls are below."""
    block = page[page.index("## Floors") :].split("```")[1]
    printed = [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines() if line.startswith("  → ")]
    levels = [floor for line in printed for floor in line.split("→") if floor.strip()]
    named = {name.strip(): level for level, floor in enumerate(levels) for name in floor.split("·")}
    return named | {"_native": -1, "_calls": -1}


def upward(graph: Graph, printed: dict[str, int]) -> list[str]:
    """Imports of a higher floor, and of the package's front door, which is above all."""
    top = max(printed.values()) + 1

    def level(name: str) -> int:
        return printed[name.split(".")[1]] if "." in name else top

    return [f"{one} -> {other}" for one in sorted(graph) for other in sorted(graph[one]) if level(one) < level(other)]


GRAPH = imports(PACKAGE)
FLOORS = floors((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))


def test_files_import_in_no_circles():
    assert circles(GRAPH) == []


def test_folders_import_in_no_circles():
    assert circles(folders(GRAPH, PACKAGE)) == []


def test_every_file_is_on_a_printed_floor():
    assert {name.split(".")[1] for name in GRAPH if "." in name} <= set(FLOORS)
    assert FLOORS["errors"] < FLOORS["index_sets"] < FLOORS["patterns"] < FLOORS["_torch"] < FLOORS["nn"]


def test_no_import_goes_up():
    assert upward(GRAPH, FLOORS) == []


# --- the same on small packages with a flaw ---------------------------------------------------------------------------


@pytest.fixture
def plant(tmp_path: Path):
    """Writes a package and gives its folder."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "small" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "small"

    return write


@pytest.mark.parametrize(
    "back",
    [
        "import small.one",
        "from small import one",
        "from small.one import thing",
        "from . import one",
        "from .one import thing",
        "def later():\n    from small.one import thing",
        "class Late:\n    def later(self):\n        import small.one as one",
        "try:\n    import small.one\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import small.one",
    ],
)
def test_a_planted_circle_of_files_is_found(plant, back: str):
    package = plant({"__init__.py": "", "one.py": "from small import two", "two.py": back})
    assert [sorted(names) for names in circles(imports(package))] == [["small.one", "small.two"]]


def test_imports_for_types_alone_are_no_circles(plant):
    package = plant(
        {"__init__.py": "", "one.py": "import small.two", "two.py": "if TYPE_CHECKING:\n    import small.one"}
    )
    assert circles(imports(package)) == []
    assert imports(package)["small.one"] == {"small.two"}


def test_a_planted_circle_of_folders_is_found(plant):
    package = plant(
        {
            "__init__.py": "",
            "a/__init__.py": "from small.a.deep import inner",
            "a/one.py": "import small.b.one",
            "a/two.py": "",
            "a/deep/__init__.py": "",
            "a/deep/inner.py": "from small.a import two",
            "b/__init__.py": "",
            "b/one.py": "",
            "b/two.py": "from small.a.two import thing",
        }
    )
    graph = imports(package)
    assert circles(graph) == []
    assert [sorted(names) for names in circles(folders(graph, package))] == [["small.a", "small.b"]]
    (package / "b" / "two.py").write_text("")
    assert circles(folders(imports(package), package)) == []


def test_a_planted_arrow_upward_is_found(plant):
    page = "## Floors\n\n```\nrust\n  → low · beside    a word\n  → high\n```\n"
    assert floors(page) == {"_native": -1, "_calls": -1, "low": 0, "beside": 0, "high": 1}
    package = plant(
        {"__init__.py": "", "low.py": "import small.beside, small.high", "beside.py": "", "high/__init__.py": ""}
    )
    assert upward(imports(package), floors(page)) == ["small.low -> small.high"]
    (package / "low.py").write_text("import small as s")
    assert upward(imports(package), floors(page)) == ["small.low -> small"]
