"""The claim of one dimension: the number follows the length, and the verdict says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import nulls, universality
from fractal_core.analysis.inference import auc, variance_shares


@pytest.mark.parametrize(
    ("n", "value"),
    [(9, 1.6610), (10, 1.9534), (16, 1.7247), (24, 2.0664), (50, 2.0389), (64, 1.8684), (128, 1.9275), (250, 2.0296),
     (256, 1.9618)],
)  # fmt: skip
def test_the_number_of_a_bare_mask(n, value):
    assert universality.mask_dimension(n) == pytest.approx(value, abs=5e-5)
    logits = np.random.default_rng(n).standard_normal((n, n))
    weights = np.tri(n) * np.exp(logits)
    weights /= weights.sum(-1, keepdims=True)
    # Whatever the weights are, up to the cells that the median takes off the mask.
    assert universality.median_box_dimension(weights) == pytest.approx(value, abs=0.07 if n < 50 else 0.004)


def test_the_claim_is_the_mask_of_250_tokens():
    nearest = universality.nearest_lengths(range(8, 4097))
    assert [n for n, _ in nearest[:4]] == [250, 251, 78, 79]
    assert nearest[0][1] == pytest.approx(2.029600, abs=5e-7)
    assert nearest[2][1] == pytest.approx(2.029266, abs=5e-7)


def test_a_dense_matrix_has_a_constant_too():
    found = [universality.median_box_dimension(np.random.default_rng(s).random((128, 128))) for s in range(20)]
    assert np.mean(found) == pytest.approx(1.98138, abs=0.002)


def heads(n, seed, local):
    """Attention with a shape, or without: logits that fall with the distance, and noise."""
    rng = np.random.default_rng(seed)
    i, j = np.indices((n, n))
    logits = rng.standard_normal((6, n, n)) - local * np.sqrt(np.maximum(i - j, 0)) * rng.uniform(1, 2, (6, 1, 1))
    weights = np.where(j <= i, np.exp(logits), 0.0)
    return weights / weights.sum(-1, keepdims=True)


def test_the_verdict():
    lengths, models, values, random, null, ours, ours_random = [], [], [], [], [], [], []
    for model in range(3):
        for n in (64, 100, 128, 250):
            trained, untrained = heads(n, 10 * n + model, 0.5), heads(n, 10 * n + model + 5, 0.0)
            shuffled = nulls.row_shuffled(trained, "causal", rng=np.random.default_rng(n))
            values += [universality.median_box_dimension(w) for w in trained]
            random += [universality.median_box_dimension(w) for w in untrained]
            null += [universality.median_box_dimension(w) for w in shuffled]
            ours += dimension.renyi_dimension(trained, "causal").value.tolist()
            ours_random += dimension.renyi_dimension(untrained, "causal").value.tolist()
            lengths += [n] * 6
            models += [model] * 6
    found = universality.verdict(values, lengths, models, random=random, nulls=null)
    assert found.length_share > 0.99
    assert not found.stable.holds
    assert not found.universal
    assert str(found).endswith("not universal")
    assert auc(ours_random, ours) == 1
    assert variance_shares(ours, {"length": lengths})[0].alone < 0.9


def test_the_example_reproduces_the_claim_and_its_undoing():
    pytest.importorskip("transformers")
    example = Path(__file__).parents[2] / "examples" / "universality_test.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    peer = done.stdout.split("\nthe peer's number\n")[1].split("\ninformation dimension")[0]
    (share,) = re.findall(r"length +explains +([\d.]+)% alone", peer)
    assert float(share) > 99
    assert "N =  250: 2.0296 ± 0.000" in done.stdout
    assert "N = 250: 2.0296, N = 251: 2.0296" in done.stdout
    assert peer.rstrip().endswith("not universal")
