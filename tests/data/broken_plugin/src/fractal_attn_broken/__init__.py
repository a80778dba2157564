"""A plug-in that cannot be imported."""

raise RuntimeError("the mirror fell off the wall")
