"""The tutorial's classes under the tutorial's names, over the package's one kernel."""

from fractal_core.nn.tutorial.cantor import CantorSetAttention
from fractal_core.nn.tutorial.config import FractalConfig
from fractal_core.nn.tutorial.dragon import DragonCurveAttention
from fractal_core.nn.tutorial.hilbert import HilbertCurveAttention
from fractal_core.nn.tutorial.julia import JuliaSetAttention
from fractal_core.nn.tutorial.stability import NumericalStability
from fractal_core.nn.tutorial.unified import UnifiedFractalAttention

__all__ = [
    "CantorSetAttention",
    "DragonCurveAttention",
    "FractalConfig",
    "HilbertCurveAttention",
    "JuliaSetAttention",
    "NumericalStability",
    "UnifiedFractalAttention",
]
