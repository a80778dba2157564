"""Measurements of fractal_core against its peers: ratios of medians within one run, never times.

Each measurement runs ours and a peer's call in turn, gives rows with a spread, and holds those that have a bar to it.
A peer that cannot be measured is a row that says why. `python -m benches` from the repository's root, or `make bench`.
Nothing loads here: workers run in interpreters that have neither fractal_core nor torch.
"""
