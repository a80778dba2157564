"""What tests of several folders share."""

import hypothesis
import numpy as np
import pytest

# Tests assert values; how long an example takes on a busy machine is none.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def cascade():
    """A multiplicative cascade: 0.1, 0.2, 0.3 and 0.4 of the mass in the quarters of every square, `levels` deep."""

    def made(levels):
        weights = np.ones((1, 1))
        for _ in range(levels):
            weights = np.kron(weights, [[0.1, 0.2], [0.3, 0.4]])
        return weights

    return made
