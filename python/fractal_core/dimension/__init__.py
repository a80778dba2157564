"""How attention, surfaces, series and sets of points fill their space: dimensions, roughness, row statistics.

Letters: `...` any leading axes, such as layers and heads; `N`, `M` queries and keys; `s` a scale; `q` an order of
moments.

Matrices are floats of any width, shape (..., N, M); float16 is computed as float32 is, sums in float64. Queries are the
last positions of the keys, so row `i` is position `i + M - N`. Every matrix function takes `support`, the cells that
there are:

* `"full"`, or `"causal"`: keys up to the query's own position;
* `("window", r)`: keys at most `r` positions away; `("causal_window", r)`: of these the ones up to the query;
* a boolean array that broadcasts to the matrices, such as a padding mask of shape (B, 1, 1, M);
* an `IndexSet` of N queries and M keys.

Functions of weights take `EdgeWeights` as well: the cells of an index set, which is then the support.

Weights are measures: finite, 0 or more, and 0 outside of the support; anything else is refused. Surfaces are read on
their support alone, so masked logits may hold -inf elsewhere. A set (`box_dimension`) and a measure
(`renyi_dimension`) are different things and are never mixed.

Whatever is a slope comes as a `Slope`: with its error, its local slopes, and the reasons not to trust it. Nothing here
explains a model's prediction: these numbers describe the geometry of attention.
"""

from fractal_core.dimension.boxes import box_dimension
from fractal_core.dimension.edges import EdgeWeights
from fractal_core.dimension.measures import (
    Lacunarity,
    Spectrum,
    lacunarity,
    renyi_dimension,
    singularity_spectrum,
)
from fractal_core.dimension.points import correlation_dimension, correlation_sum
from fractal_core.dimension.profiles import DistanceProfile, column_gini, distance_profile
from fractal_core.dimension.rows import RowStatistics, attention_rollout, row_statistics
from fractal_core.dimension.series import dfa, higuchi_dimension, mfdfa
from fractal_core.dimension.slope import Slope
from fractal_core.dimension.surfaces import differential_box_dimension, madogram, surface_mfdfa, variogram

__all__ = [
    "DistanceProfile",
    "EdgeWeights",
    "Lacunarity",
    "RowStatistics",
    "Slope",
    "Spectrum",
    "attention_rollout",
    "box_dimension",
    "column_gini",
    "correlation_dimension",
    "correlation_sum",
    "dfa",
    "differential_box_dimension",
    "distance_profile",
    "higuchi_dimension",
    "lacunarity",
    "madogram",
    "mfdfa",
    "renyi_dimension",
    "row_statistics",
    "singularity_spectrum",
    "surface_mfdfa",
    "variogram",
]
