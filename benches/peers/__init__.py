"""What fractal_core is measured against, and the environments that some of it needs."""
