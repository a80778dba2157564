"""ARCHITECTURE.md answers a newcomer's "where do I add it?" with places that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rows(page):
    """Of each kind of thing, the places that exist and the ones that open with their first tenant."""
    section = page[page.index("## Where to add") :].split("\n## ")[0]
    for line in re.findall(r"^\| (an? .+) \|$", section, re.MULTILINE):
        what, *places = line.split(" | ")
        cells = " ".join(places)
        held_free = re.findall(r"\*`([^`]+)`\*", cells)
        yield what, [place for place in re.findall(r"`([^`]+)`", cells) if place not in held_free], held_free


def layers():
    """Names in the import-linter's floors of the package."""
    text = (ROOT / "pyproject.toml").read_text()
    printed = re.search(r'containers = \["fractal_core"\].*?layers = \[(.*?)\]', text, re.DOTALL)
    assert printed is not None
    return set(re.findall(r"\w+", printed[1]))


def test_every_question_has_an_answer():
    asked = {what for what, here, held_free in rows((ROOT / "ARCHITECTURE.md").read_text()) if here or held_free}
    kinds = {"curve", "field", "pattern", "shader", "torch layer", "optimizer", "analysis metric"}
    assert {f"an {kind}" if kind[0] in "aeiou" else f"a {kind}" for kind in kinds} <= asked


def test_places_exist():
    missing = []
    for what, here, held_free in rows((ROOT / "ARCHITECTURE.md").read_text()):
        missing += [(what, place) for place in here if not (ROOT / place).exists()]
        # Once something lives there, the page says so.
        missing += [(what, place) for place in held_free if (ROOT / place).exists()]
        missing += [(what, place) for place in held_free if Path(place).stem not in layers()]
    assert missing == []


def test_a_wrong_place_is_read():
    page = "## Where to add\n\n| what | where |\n|---|---|\n| a curve | `gone/`, *`later/`* |\n\n## Letters\n"
    assert list(rows(page)) == [("a curve", ["gone/"], ["later/"])]
