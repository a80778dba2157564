"""Facts that the documents share with the code, the Makefile and each other."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import fractal_core as fc
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TORCH_NAMES = ("fc.nn.", "fc.optim.", "fc.IndexSet.to_block_mask", "fc.IndexSet.from_block_mask")


def read(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def pages_with(pattern: str) -> list[tuple[str, str]]:
    return sorted({(page.name, found) for page in PAGES for found in re.findall(pattern, read(page))})


def test_there_are_pages():
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "patterns.md"} <= {p.name for p in PAGES}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(fc\.[\w.]+)`", read("docs/api.md")))))
def test_promised_name_exists(name: str):
    if name.startswith(TORCH_NAMES):
        pytest.importorskip("torch")
    value: object = fc
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    assert getattr(value, "__doc__", None), f"{name} has no docstring"


def test_every_public_name_is_in_the_api_page():
    page = read("docs/api.md")
    modules = ["analysis", "curves", "dimension", "sets", "fields", "errors", "patterns", "testing"]
    missing = [f"fc.{m}.{n}" for m in modules for n in getattr(fc, m).__all__ if f"`fc.{m}.{n}`" not in page]
    assert missing == []


def test_every_torch_name_is_in_the_api_page():
    pytest.importorskip("torch")
    page = read("docs/api.md")
    assert [name for name in fc.nn.__all__ if f"`fc.nn.{name}`" not in page] == []
    assert [name for name in fc.optim.__all__ if f"`fc.optim.{name}`" not in page] == []


def test_recipes_named_in_the_documents_exist():
    recipes = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    named = {recipe for _, recipe in pages_with(r"(?m)(?:`|^)make ([a-z-]+)(?=[ `]|$)")}
    assert {"demo", "test"} <= named <= recipes


def test_recipes_run_by_the_workflows_exist():
    recipes = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    run = re.findall(r"run: make ([a-z -]+)", read(".github/workflows/ci.yml"))
    assert {"test-rust", "test-python"} <= {recipe for line in run for recipe in line.split()} <= recipes


def test_commands_named_in_the_documents_exist():
    typer_testing = pytest.importorskip("typer.testing")
    from fractal_core.cli.app import app

    printed = typer_testing.CliRunner().invoke(app, ["--help"]).output
    named = {command for _, command in pages_with(r"`fractal-core ([a-z-]+)")}
    commands = {
        "analyze",
        "bench",
        "compare",
        "dashboard",
        "demo",
        "doctor",
        "info",
        "optim-study",
        "patterns",
        "render",
    }
    assert named == commands
    assert [command for command in named if not re.search(rf"\b{command}\b", printed)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/patterns.md"])
def test_built_in_patterns_are_those_described(page: str):
    found = r"^\| `(\w+)` \|" if page == "README.md" else r"^## (\w+)$"
    described = set(re.findall(found, read(page), re.MULTILINE))
    assert described == {name for name in fc.patterns.names() if fc.patterns.info(name).origin == "built-in"}


@pytest.mark.parametrize(("page", "link"), pages_with(r"\]\(([^)#]+)(?:#[^)]*)?\)"))
def test_links_lead_somewhere(page: str, link: str):
    folder = next(p for p in PAGES if p.name == page and (p.parent / link).exists()).parent
    assert (folder / link).resolve().is_relative_to(ROOT)


def test_every_page_is_in_the_list_of_pages():
    listed = re.findall(r"(?m)^\d+\. \[[^]]+\]\(([^)]+)\)", read("docs/README.md"))
    assert sorted(listed) == sorted(p.name for p in (ROOT / "docs").glob("*.md") if p.name != "README.md")
    assert "(docs/README.md)" in read("README.md")


def test_one_version():
    stated = re.search(r'^version = "(.+)"$', read("Cargo.toml"), re.MULTILINE)
    assert stated is not None
    assert version("fractal-attn") == stated[1]


def test_supported_pythons_are_tested():
    classifiers = set(re.findall(r"Python :: (3\.\d+)", read("pyproject.toml")))
    matrix = re.search(r"python: \[(.*)\]", read(".github/workflows/ci.yml"))
    assert matrix is not None
    assert classifiers == set(re.findall(r"3\.\d+", matrix[1]))


def test_oldest_rust_is_the_one_checked():
    oldest = re.search(r'^rust-version = "(.+)"$', read("Cargo.toml"), re.MULTILINE)
    assert oldest is not None
    assert f"rust-toolchain@{oldest[1]}" in read(".github/workflows/ci.yml")
    assert f"{oldest[1]} or newer" in read("README.md")
