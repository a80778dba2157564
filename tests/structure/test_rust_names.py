"""One name for one idea in the crates, and one place where the SIMD level of a call is chosen."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

RUST = Path(__file__).parents[2] / "rust"
SOURCES = sorted(path for path in RUST.glob("*/src/**/*.rs"))
CHOSEN = re.compile(r"\bRun::new\b|\bLevel::(?:new|fallback|baseline)\b|\blevels\(\)")
DEFINED = re.compile(
    r"^ *(?:pub(?:\([^)]*\))? )?(?:struct|enum|union|trait) (\w+)|^(?:pub(?:\([^)]*\))? )?type (\w+)", re.MULTILINE
)


def code(text: str) -> str:
    """Without comments, and without the tests at the end of a file."""
    return re.sub(r"//[^\n]*", "", text).split("#[cfg(test)]\nmod ")[0]


def repeated(texts: list[str]) -> set[str]:
    """Type names that are defined more than once; every crate has a `Result` of its own."""
    names = Counter(name for text in texts for names in DEFINED.findall(code(text)) for name in names if name)
    return {name for name, times in names.items() if times > 1} - {"Result"}


def test_no_type_name_is_used_twice():
    texts = [path.read_text() for path in SOURCES]
    assert sum(len(DEFINED.findall(code(text))) for text in texts) > 100, "the types are found"
    assert repeated(texts) == set()


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["struct Rows<'a> {", "pub(crate) struct Rows;"], {"Rows"}),
        (["pub trait Real:", "mod m {\n    pub trait Real {}\n}"], {"Real"}),
        (["type Kept = u8;", "enum Kept {"], {"Kept"}),
        (["struct Rows;", "// struct Rows;", "struct RowsOf;"], set()),
        (["impl A for B {\n    type V = u8;\n}", "impl A for C {\n    type V = u8;\n}"], set()),
        (["struct Rows;\n#[cfg(test)]\nmod tests {\n    struct Rows;\n}"], set()),
    ],
)
def test_a_planted_name_is_found(texts, found):
    assert repeated(texts) == found


def test_the_level_of_a_call_is_chosen_in_one_place():
    found = {path.relative_to(RUST).as_posix() for path in SOURCES if CHOSEN.search(code(path.read_text()))}
    assert found == {"kernels/src/simd.rs", "runtime/src/run.rs", "runtime/src/simd.rs"}
