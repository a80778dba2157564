"""`python -m fractal_core.cli`."""

from fractal_core.cli import main

main()
