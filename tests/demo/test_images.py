"""The report's pictures, read back."""

from io import BytesIO

import matplotlib.image
import numpy as np
from fractal_core.demo.images import LAYER_COLOURS, png, reach_map
from matplotlib.colors import to_rgb


def test_each_value_has_its_colour_and_zero_none():
    values = np.arange(7, dtype=np.uint8)[:, None].repeat(3, axis=1)
    image = matplotlib.image.imread(BytesIO(png(values, LAYER_COLOURS)))
    assert image.shape == (7, 3, 4)
    assert (image[..., 3] == (values > 0)).all()
    np.testing.assert_allclose(image[1:, 0, :3], [to_rgb(colour) for colour in LAYER_COLOURS], atol=1e-6)


def test_colours_are_by_value_whichever_values_occur():
    image = matplotlib.image.imread(BytesIO(png(np.full((2, 2), 3, dtype=np.uint8), LAYER_COLOURS)))
    np.testing.assert_allclose(image[0, 0], (*to_rgb(LAYER_COLOURS[2]), 1.0), atol=1e-6)


def test_a_step_of_one_key_takes_a_layer_each():
    first = reach_map(np.eye(9, k=-1, dtype=bool), layers=6)
    queries, keys = np.indices((9, 9))
    distance = queries - keys
    assert (first == np.where((distance >= 0) & (distance <= 6), np.maximum(distance, 1), 0)).all()
