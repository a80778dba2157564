"""The crates have no circle of imports, between files or folders, and no import against the order of the floors."""

import re
from pathlib import Path

import pytest
from graphs import circles, folded
from rust_imports import imports

ROOT = Path(__file__).parents[2]
CRATES = sorted(path.parent for path in (ROOT / "rust").glob("*/src/lib.rs") if path.parents[1].name != "bindings")


def top(source):
    """The folder or file below the crate's root."""

    def name(path):
        return path.relative_to(source).parts[0].removesuffix(".rs")

    return name


def printed_order():
    """The floors of the kernels as ARCHITECTURE.md prints them: each line may use those before it."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = re.search(r"rust/kernels, inside:\n\n```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return [re.findall(r"\w+", re.split(" {3,}", line)[0]) for line in block[1].splitlines()]


@pytest.mark.parametrize("source", CRATES, ids=lambda source: source.parent.name)
def test_no_circle_of_files_or_folders(source):
    graph = imports(source)
    assert sum(map(len, graph.values())) >= len(graph) / 2, "the imports are found"
    graph.pop(source / "lib.rs")  # names all modules, and is asked for nothing
    assert circles(graph) == []
    assert circles(folded(graph, top(source))) == []


def test_no_import_against_the_printed_order():
    source = ROOT / "rust/kernels/src"
    floors = printed_order()
    floor = {name: i for i, names in enumerate(floors) for name in names}
    graph = folded(imports(source), top(source))
    graph.pop("lib")
    assert set(graph) == set(floor)
    assert [(here, there) for here, others in graph.items() for there in others if floor[there] >= floor[here]] == []


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"lib": "mod a; mod b;", "a": "use crate::b::B;", "b": "use crate::a::A;"}, {"a", "b"}),
        ({"lib": "mod a; mod b;", "a": "use crate::{b::B};", "b": "fn f() { super::a::g() }"}, {"a", "b"}),
        ({"lib": "mod a;", "a/mod": "mod c; pub use c::C; pub struct A;", "a/c": "use super::A;"}, {"a/mod", "a/c"}),
        (
            {"lib": "mod a;", "a/mod": "mod c; mod d; pub use c::C; pub use d::D;", "a/c": "use super::D;", "a/d": ""},
            set(),
        ),
        ({"lib": "mod a; mod b;", "a": "// use crate::b::B;", "b": "use crate::a::A;"}, set()),
    ],
)
def test_a_planted_circle_is_found(files, circle, tmp_path):
    for name, text in files.items():
        path = tmp_path / f"{name}.rs"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("; ", ";\n"))
    graph = imports(tmp_path)
    graph.pop(tmp_path / "lib.rs")
    found = [{path.relative_to(tmp_path).with_suffix("").as_posix() for path in ring} for ring in circles(graph)]
    assert found == ([circle] if circle else [])
