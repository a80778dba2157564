"""The rotary mode is found by its name, keeps lengths, and makes scores relative."""

import pytest

torch = pytest.importorskip("torch", reason="a rotary mode needs torch")

import fractal_core as fc  # noqa: E402


def made(**given):
    return fc.nn.RotaryEmbedding(8, mode="mirror", **given)


def test_found_by_its_name():
    assert "mirror" in fc.nn.rotary_modes.names()
    assert fc.nn.rotary_modes.info("mirror").origin.startswith("fractal-attn-koch")


@pytest.mark.parametrize("given", [{}, {"xpos": True}, {"basis": "cayley"}])
def test_scores_are_relative(given):
    rotary = made(**given)
    q, k = torch.randn(2, 1, 8, dtype=torch.float64).unbind()
    near = (rotary.rotate(q, offset=9) * rotary.rotate(k, offset=2, key=True)).sum()
    far = (rotary.rotate(q, offset=1009) * rotary.rotate(k, offset=1002, key=True)).sum()
    torch.testing.assert_close(near, far)
    torch.testing.assert_close(made().rotate(q, offset=9).norm(), q.norm())


def test_pairs_from_both_ends():
    x = torch.randn(3, 8, dtype=torch.float64)
    order = [0, 7, 1, 6, 2, 5, 3, 4]
    torch.testing.assert_close(made().rotate(x)[:, order], fc.nn.RotaryEmbedding(8).rotate(x[:, order]))
