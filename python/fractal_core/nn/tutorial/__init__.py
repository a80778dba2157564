"""The tutorial's classes under the tutorial's names, over the package's one kernel."""

from fractal_core.nn.tutorial.config import FractalConfig
from fractal_core.nn.tutorial.hilbert import HilbertCurveAttention
from fractal_core.nn.tutorial.julia import JuliaSetAttention
from fractal_core.nn.tutorial.stability import NumericalStability

__all__ = ["FractalConfig", "HilbertCurveAttention", "JuliaSetAttention", "NumericalStability"]
