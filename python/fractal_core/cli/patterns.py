"""`fractal-core patterns`: every known pattern."""

from __future__ import annotations

from typing import cast

from rich.markup import escape
from rich.table import Table

from fractal_core import patterns
from fractal_core.cli.console import ACCENT, console, print_json

__all__ = ["show_list"]


def show_list(*, as_json: bool) -> None:
    """Prints every name with its origin and its summary; a plug-in that does not load says why."""
    known = [patterns.info(name) for name in patterns.names()]
    if as_json:
        print_json([_plain(info.to_dict()) for info in known])
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title, style in (("pattern", ACCENT), ("origin", "dim"), ("parameters", ""), ("", "")):
        table.add_column(title, style=style, no_wrap=title == "pattern")
    for info in known:
        defaults = "\n".join(name if v is ... else f"{name}={v!r}" for name, v in info.parameters.items())
        text = escape(info.summary) if info.error is None else f"[red]did not load: {escape(info.error)}[/red]"
        table.add_row(escape(info.name), escape(info.origin), escape(defaults), text)
    out = console()
    out.print(table)
    for what in patterns.unreadable():
        out.print(f"not read: {what}", markup=False, soft_wrap=True)


def _plain(value: object) -> object:
    """A value made of JSON types; other types become text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in cast("dict[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in cast("list[object]", value)]
    if value is ...:
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
