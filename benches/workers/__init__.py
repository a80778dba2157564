"""One side of a pair of processes each. A peer's interpreter has neither fractal_core nor torch: nothing loads here."""
