"""Which files of a Rust crate import from which, by the paths in their source, re-exports followed home."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["imports"]

Module = tuple[str, ...]

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_USE = re.compile(r"^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.MULTILINE)
_PATH = re.compile(r"\b((?:crate|self|super)(?:::\w+)+)")


@dataclass
class _File:
    path: Path
    text: str
    exports: dict[str, Module] = field(default_factory=dict)


def imports(source: Path) -> dict[Path, set[Path]]:
    """The files that each file of the crate under `source` imports from, itself left out."""
    files = {_module(source, path): _File(path, _code(path)) for path in sorted(source.rglob("*.rs"))}
    for module, file in files.items():
        for public, tree in _USE.findall(file.text):
            if public:
                file.exports |= {
                    path[-1]: target for path in _leaves(tree) if (target := _absolute(module, path, files))
                }
    found: dict[Path, set[Path]] = {}
    for module, file in files.items():
        paths = [path for _, tree in _USE.findall(file.text) for path in _leaves(tree)]
        paths += [tuple(path.split("::")) for path in _PATH.findall(_USE.sub("", file.text))]
        targets = {_home(absolute, files) for path in paths if (absolute := _absolute(module, path, files))}
        found[file.path] = {files[target].path for target in targets if target != module}
    return found


def _code(path: Path) -> str:
    text = re.sub(r"pub\(in [^)]*\)", "pub", _COMMENT.sub("", path.read_text()))
    # Tests at the end of a file may look anywhere.
    return text.split("#[cfg(test)]\nmod ")[0]


def _module(source: Path, path: Path) -> Module:
    *folders, name = path.relative_to(source).with_suffix("").parts
    return tuple(folders) if name in {"mod", "lib"} else (*folders, name)


def _leaves(tree: str) -> list[tuple[str, ...]]:
    """The paths of a use tree: `a::{b, c::d}` gives a::b and a::c::d."""
    tree = re.sub(r"\s+as\s+\w+", "", " ".join(tree.split()))
    head, brace, rest = tree.partition("{")
    prefix = tuple(part for part in head.strip().split("::") if part)
    if not brace:
        return [tuple(part.strip() for part in prefix)]
    inner, parts, depth = rest[: rest.rindex("}")], [""], 0
    for letter in inner:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    paths = [path for part in parts if part.strip() for path in _leaves(part)]
    return [prefix if path == ("self",) else (*prefix, *path) for path in paths]


def _absolute(module: Module, path: tuple[str, ...], files: dict[Module, _File]) -> Module | None:
    """The path from the crate's root; None where it leads out of the crate."""
    first, *rest = path
    if first == "crate":
        return tuple(rest)
    if first == "self":
        return (*module, *rest)
    if first == "super":
        while rest and rest[0] == "super":
            module, rest = module[:-1], rest[1:]
        return (*module[:-1], *rest)
    return (*module, *path) if (*module, first) in files else None


def _home(path: Module, files: dict[Module, _File]) -> Module:
    """The file where the name at the end of a path is defined."""
    module: Module = ()
    for at, part in enumerate(path):
        if (*module, part) in files:
            module = (*module, part)
        elif part in files[module].exports:
            return _home((*files[module].exports[part], *path[at + 1 :]), files)
        else:
            break
    return module
