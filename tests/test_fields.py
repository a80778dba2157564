"""Escape fields: the definition J, gradients against finite differences and torch, zero copies, wrong calls."""

import cmath
import math
import threading

import numpy as np
import pytest
from fractal_core import fields
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

CS = [-0.7 + 0.27j, 0.0, -1.0, 0.25, 2j, -2.0, 1.2 - 1.6j]
PLANE = fields.grid((37, 41), (-1.7, 1.6, -1.3, 1.4))


def scalar_mu(z, c, max_iter, radius):
    for k in range(max_iter):
        if abs(z) > radius:
            return k + 1 - math.log2(math.log(abs(z)) / math.log(radius))
        z = z * z + c
    return max_iter


def scalar_soft(z, c, max_iter, radius, smoothness):
    survival, expected = 1.0, 0.0
    for _ in range(max_iter):
        survival *= 1 / (1 + math.exp(min((abs(z) - radius) * smoothness, 700)))
        expected += survival
        if abs(z) > 1e6:
            break
        z = z * z + c
    return expected


@pytest.mark.parametrize("c", CS)
@pytest.mark.parametrize("radius", [2.0, 16.0, 1e4])
def test_j_smooth_count_equals_the_scalar_reference(c, radius):
    got = fields.julia_escape(PLANE, c, 50, radius=radius)
    expected = [[scalar_mu(z, c, 50, radius) for z in row] for row in PLANE.tolist()]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("radius", [2.0, 16.0])
def test_j_mandelbrot_equals_the_scalar_reference(radius):
    got = fields.mandelbrot_escape(PLANE, 50, radius=radius)
    expected = [[scalar_mu(0, c, 50, radius) for c in row] for row in PLANE.tolist()]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_j_whole_counts():
    whole = fields.julia_escape(PLANE, CS[0], 50, smooth=False)
    smooth = fields.julia_escape(PLANE, CS[0], 50)
    np.testing.assert_array_equal(whole, np.round(whole))
    escaped = whole < 50
    assert escaped.any()
    assert (~escaped).any()
    assert (smooth[~escaped] == 50).all()
    assert (np.abs(smooth - whole)[escaped] <= 1).all()


def test_j_finite_for_all_parameters_of_modulus_2():
    angles = np.exp(1j * np.linspace(0, 2 * np.pi, 25))
    for c in np.concatenate([r * angles for r in (0.0, 0.3, 1.0, 1.7, 2.0)]):
        assert np.isfinite(fields.julia_escape(PLANE, c)).all()
        assert np.isfinite(fields.julia_soft_escape(PLANE, c)).all()
        assert np.isfinite(fields.julia_potential(PLANE, c)).all()
        gradients = fields.julia_soft_escape_vjp(np.ones(PLANE.shape), PLANE, c)
        assert np.isfinite(gradients.points).all()
        assert np.isfinite([gradients.c, gradients.radius, gradients.smoothness]).all()


def test_j_smooth_count_is_continuous_across_the_discs_edge():
    # A point just inside of the disc escapes one step later, at the disc's image.
    inside, outside = 1000.0 - 1e-9, 1000.0 + 1e-9
    a, b = fields.julia_escape(np.array([inside, outside]), -0.7 + 0.27j, radius=1000.0)
    assert a == pytest.approx(b, abs=1e-6)


def test_points_far_away_and_not_a_number():
    z = np.array([complex(np.nan, 0), 1e200, 1e308 + 1e308j, 0])
    got = fields.julia_escape(z, -0.1)
    assert np.isnan(got[0])
    assert got[1] == pytest.approx(1 - math.log2(math.log(1e200) / math.log(16)))
    assert np.isfinite(got[2])
    assert got[3] == 64
    assert np.isnan(fields.julia_soft_escape(z[:1], 0)).all()
    assert np.isnan(fields.julia_potential(z[:1], 0)).all()


@pytest.mark.parametrize("c", CS)
@pytest.mark.parametrize(("radius", "smoothness"), [(2.0, 2.0), (4.0, 1.0), (2.0, 0.1)])
def test_soft_count_equals_the_scalar_reference(c, radius, smoothness):
    got = fields.julia_soft_escape(PLANE, c, 12, radius=radius, smoothness=smoothness)
    expected = [[scalar_soft(z, c, 12, radius, smoothness) for z in row] for row in PLANE.tolist()]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert got.min() >= 0
    assert got.max() <= 12


def test_soft_count_hardens_to_the_whole_count():
    hard = fields.julia_escape(PLANE, CS[0], 30, radius=2.0, smooth=False)
    errors = [
        np.median(np.abs(fields.julia_soft_escape(PLANE, CS[0], 30, smoothness=s) - hard))
        for s in (2.0, 20.0, 1e3, 1e6)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9


def test_float32_fields_follow_the_float64_ones():
    narrow = PLANE.astype(np.complex64)
    for field in (
        lambda z: fields.julia_escape(z, 0.3, 40),
        lambda z: fields.mandelbrot_escape(z, 40),
        lambda z: fields.julia_soft_escape(z, 0.3, 40),
        lambda z: fields.julia_potential(z, 0.3, 40),
    ):
        got, expected = field(narrow), field(PLANE)
        assert got.dtype == np.float32
        assert expected.dtype == np.float64
        assert np.mean(np.abs(got - expected) > 1e-3 * (1 + np.abs(expected))) <= 0.01


def central(f, x, step):
    return (f(x + step) - f(x - step)) / (2 * step)


def by_complex(f, z, step=1e-6):
    return central(f, z, step) + 1j * central(lambda w: f(z + 1j * (w - z)), z, step)


# Mild points: a few steps, so that differences do not drown in the orbit's own growth.
RNG = np.random.default_rng(7)
MILD = RNG.uniform(-1.5, 1.5, 23) + 1j * RNG.uniform(-1.5, 1.5, 23)
GRAD = RNG.normal(size=23)


@pytest.mark.parametrize("c", [-0.7 + 0.27j, 0.3, -1.1 - 0.2j])
def test_soft_vjp_against_central_differences(c):
    def loss(z=MILD, c=c, radius=2.2, smoothness=1.7):
        return GRAD @ fields.julia_soft_escape(z, c, 8, radius=radius, smoothness=smoothness)

    got = fields.julia_soft_escape_vjp(GRAD, MILD, c, 8, radius=2.2, smoothness=1.7)
    assert got.c == pytest.approx(by_complex(lambda x: loss(c=x), c), rel=1e-6, abs=1e-6)
    assert got.radius == pytest.approx(central(lambda x: loss(radius=x), 2.2, 1e-6), rel=1e-7)
    assert got.smoothness == pytest.approx(central(lambda x: loss(smoothness=x), 1.7, 1e-6), rel=1e-7)
    for i, unit in enumerate(np.eye(len(MILD))):
        expected = by_complex(lambda t, unit=unit: loss(z=MILD + t * unit), 0)
        assert got.points[i] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("vjp_of", ["escape", "potential"])
def test_escape_and_potential_vjp_against_central_differences(vjp_of):
    c = -0.7 + 0.27j
    field, vjp = {
        "escape": (lambda z, c: fields.julia_escape(z, c, 100), lambda z: fields.julia_escape_vjp(GRAD, z, c, 100)),
        "potential": (
            lambda z, c: fields.julia_potential(z, c, 100),
            lambda z: fields.julia_potential_vjp(GRAD, z, c, 100),
        ),
    }[vjp_of]
    got = vjp(MILD * 1.5)
    step = 1e-8
    assert got.c == pytest.approx(by_complex(lambda x: GRAD @ field(MILD * 1.5, x), c, step), rel=1e-4)
    values = np.array([by_complex(lambda t, z=z: field(np.array([z + t]), c)[0], 0, step) for z in MILD * 1.5])
    np.testing.assert_allclose(got.points, GRAD * values, rtol=1e-4, atol=1e-6)


def test_points_that_do_not_escape_have_no_gradient():
    z = np.array([0.0, 0.1 + 0.1j, -0.2])
    for vjp in (fields.julia_escape_vjp, fields.julia_potential_vjp):
        got = vjp(np.ones(3), z, 0.1)
        assert got.points.tolist() == [0, 0, 0]
        assert got.c == 0


def test_potential_doubles_along_the_orbit_and_is_log_far_out():
    c = -0.7 + 0.27j
    z = 1.3 * PLANE
    potential = fields.julia_potential(z, c)
    np.testing.assert_allclose(fields.julia_potential(z * z + c, c), 2 * potential, rtol=1e-12, atol=1e-20)
    far = 1e9 * cmath.exp(0.3j)
    assert fields.julia_potential(far, c) == pytest.approx(math.log(1e9), rel=1e-15)
    np.testing.assert_allclose(fields.julia_potential(z, 0.0), np.maximum(np.log(np.abs(z)), 0), rtol=1e-12, atol=1e-30)


def test_smooth_count_and_potential_are_one_function():
    c, radius = -0.7 + 0.27j, 1e8
    mu = fields.julia_escape(1.5 * PLANE, c, 256, radius=radius)
    potential = fields.julia_potential(1.5 * PLANE, c, 256)
    outside = potential > 0
    expected = 1 + math.log2(math.log(radius)) - np.log2(potential[outside])
    np.testing.assert_allclose(mu[outside], expected, rtol=0, atol=1e-9)


def torch_soft(torch, z, c, radius, smoothness, max_iter):
    (zr, zi), (cr, ci) = z.unbind(-1), c.unbind(-1)
    survival, total = torch.ones_like(zr), torch.zeros_like(zr)
    for _ in range(max_iter):
        modulus = torch.hypot(zr, zi)
        survival = survival * torch.sigmoid((radius - modulus) * smoothness)
        total = total + survival
        inside = (modulus < 1e3).detach()
        zr, zi = torch.where(inside, zr * zr - zi * zi + cr, zr), torch.where(inside, 2 * zr * zi + ci, zi)
    return total


@pytest.mark.parametrize("max_iter", [1, 6, 20])
def test_soft_vjp_against_torch_autograd(max_iter):
    torch = pytest.importorskip("torch")
    c = -0.7 + 0.27j
    leaves = [
        torch.tensor(np.stack([MILD.real, MILD.imag], axis=-1), requires_grad=True),
        torch.tensor([c.real, c.imag], dtype=torch.float64, requires_grad=True),
        torch.tensor(2.2, dtype=torch.float64, requires_grad=True),
        torch.tensor(1.7, dtype=torch.float64, requires_grad=True),
    ]
    value = torch_soft(torch, *leaves, max_iter)
    np.testing.assert_allclose(
        fields.julia_soft_escape(MILD, c, max_iter, radius=2.2, smoothness=1.7), value.detach().numpy(), rtol=1e-11
    )
    expected = torch.autograd.grad(value, leaves, torch.tensor(GRAD), allow_unused=True)
    got = fields.julia_soft_escape_vjp(GRAD, MILD, c, max_iter, radius=2.2, smoothness=1.7)
    np.testing.assert_allclose(
        np.stack([got.points.real, got.points.imag], -1), expected[0].numpy(), rtol=1e-8, atol=1e-8
    )
    by_c = np.zeros(2) if max_iter == 1 else expected[1].numpy()
    np.testing.assert_allclose([got.c.real, got.c.imag], by_c, rtol=1e-8, atol=1e-8)
    assert got.radius == pytest.approx(expected[2].item(), rel=1e-9)
    assert got.smoothness == pytest.approx(expected[3].item(), rel=1e-9)


def test_gradients_stay_finite_where_the_orbit_is_chaotic():
    for dtype in (np.complex128, np.complex64):
        z = PLANE.astype(dtype)
        got = fields.julia_soft_escape_vjp(np.ones(z.shape), z, -0.7 + 0.27j, 2000, radius=2.0, smoothness=1e3)
        assert got.points.dtype == dtype
        assert np.isfinite(got.points).all()
        assert np.isfinite([got.c, got.radius, got.smoothness]).all()


def test_any_strides_shapes_and_real_points():
    z = np.zeros((74, 82), dtype=np.complex128)
    z[::2, ::-2] = PLANE
    for field in (fields.mandelbrot_escape, lambda z: fields.julia_soft_escape(z, 0.3)):
        np.testing.assert_array_equal(field(z[::2, ::-2]), field(PLANE))
        np.testing.assert_array_equal(field(np.asfortranarray(PLANE)), field(PLANE))
        assert field(0.5j).shape == ()
        assert field(np.zeros((0, 3), dtype=complex)).shape == (0, 3)
    real = np.linspace(-2, 2, 11)
    np.testing.assert_array_equal(fields.julia_escape(real, 0.3), fields.julia_escape(real + 0j, 0.3))
    assert fields.julia_escape(real.astype(np.float32), 0.3).dtype == np.float32
    spread = np.broadcast_to(np.float64(1), PLANE.shape)
    a = fields.julia_soft_escape_vjp(spread, PLANE, 0.3)
    b = fields.julia_soft_escape_vjp(np.ones(PLANE.shape), PLANE, 0.3)
    np.testing.assert_array_equal(a.points, b.points)


def test_results_do_not_depend_on_neighbours_or_position():
    one_by_one = np.array([fields.julia_soft_escape(z, 0.3) for z in PLANE.ravel()[:50]])
    np.testing.assert_array_equal(one_by_one, fields.julia_soft_escape(PLANE, 0.3).ravel()[:50])


def test_grid_is_laid_out_like_a_picture():
    g = fields.grid((3, 5), (-2, 2, -1, 1))
    assert g.shape == (3, 5)
    assert g[0].tolist() == [-2 + 1j, -1 + 1j, 1j, 1 + 1j, 2 + 1j]
    assert g[:, 0].tolist() == [-2 + 1j, -2, -2 - 1j]
    assert fields.grid((1, 1), (0, 1, 0, 1)).tolist() == [[0.5 + 0.5j]]


def test_results_are_rusts_own_memory():
    gradients = fields.julia_soft_escape_vjp(np.ones(3), np.zeros(3), 0)
    for array in (
        fields.grid((2, 2)),
        fields.julia_escape(MILD, 0),
        fields.julia_potential(MILD, 0),
        fields.julia_soft_escape(MILD, 0),
        gradients.points,
    ):
        assert array.flags.owndata is False
        assert array.flags.c_contiguous
        assert array.flags.writeable
        owner = array
        while isinstance(owner, np.ndarray):
            assert owner.ctypes.data == array.ctypes.data
            owner = owner.base
        assert type(owner).__name__ == "PySliceContainer"


def test_torch_shares_the_memory():
    torch = pytest.importorskip("torch")
    field = fields.julia_escape(PLANE, 0.3)
    assert torch.from_numpy(field).data_ptr() == field.ctypes.data


def test_the_gil_is_released():
    z = np.zeros(1 << 18, dtype=np.complex128)
    worker = threading.Thread(target=fields.julia_escape, args=(z, 0.0, 3_000))
    worker.start()
    steps = 0
    while worker.is_alive():
        steps += 1
    worker.join()
    # With the GIL held, the loop would run at most about once before and once after the call.
    assert steps > 100


ONE = np.ones(1)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: fields.julia_escape(MILD, 0, 0), InvalidArgumentError, "max_iter"),
        (lambda: fields.julia_escape(MILD, 0, -3), InvalidArgumentError, "max_iter"),
        (lambda: fields.julia_escape(MILD, 0, 2**25), InvalidArgumentError, "max_iter"),
        (lambda: fields.julia_escape(MILD, 0, 2.5), DTypeError, "max_iter"),
        (lambda: fields.julia_escape(MILD, 0, radius=math.nan), InvalidArgumentError, "radius"),
        (lambda: fields.julia_escape(MILD, 0, radius=math.inf), InvalidArgumentError, "radius"),
        (lambda: fields.julia_escape(MILD, 0, radius=1.0), InvalidArgumentError, "radius"),
        (lambda: fields.julia_escape(MILD, 0, radius="wide"), DTypeError, "radius"),
        (lambda: fields.julia_escape(MILD, complex(math.nan, 0)), InvalidArgumentError, "c"),
        (lambda: fields.julia_escape(MILD, 1e7), InvalidArgumentError, "c"),
        (lambda: fields.julia_escape(MILD, None), DTypeError, "c"),
        (lambda: fields.julia_escape(["a"], 0), DTypeError, "points"),
        (lambda: fields.julia_escape(np.zeros(2, dtype=np.float16), 0), DTypeError, "points"),
        (lambda: fields.julia_escape(np.zeros(2, dtype=bool), 0), DTypeError, "points"),
        (lambda: fields.julia_escape(MILD, 0, device="gpu"), DTypeError, "points"),
        (lambda: fields.mandelbrot_escape(MILD, device="cuda"), InvalidArgumentError, "device"),
        (lambda: fields.julia_soft_escape(MILD, 0, device="tpu"), InvalidArgumentError, "device"),
        (lambda: fields.julia_potential(MILD, 0, device="gpu"), InvalidArgumentError, "device"),
        (lambda: fields.julia_soft_escape(MILD, 0, radius=0.0), InvalidArgumentError, "radius"),
        (lambda: fields.julia_soft_escape(MILD, 0, smoothness=0.0), InvalidArgumentError, "smoothness"),
        (lambda: fields.julia_soft_escape(MILD, 0, smoothness=math.nan), InvalidArgumentError, "smoothness"),
        (lambda: fields.julia_soft_escape_vjp(ONE, MILD, 0), ShapeError, "grad"),
        (lambda: fields.julia_soft_escape_vjp(GRAD + 1j, MILD, 0), DTypeError, "grad"),
        (lambda: fields.julia_potential_vjp(ONE, MILD, 0), ShapeError, "grad"),
        (lambda: fields.julia_escape_vjp(ONE, ONE, 0, radius=math.nan), InvalidArgumentError, "radius"),
        (lambda: fields.grid((0, 4)), InvalidArgumentError, "shape"),
        (lambda: fields.grid((4,)), ShapeError, "shape"),
        (lambda: fields.grid((2**31, 2**31)), InvalidArgumentError, "shape"),
        (lambda: fields.grid((4, 4), (0, 1, 0)), ShapeError, "extent"),
        (lambda: fields.grid((4, 4), (0, math.inf, 0, 1)), InvalidArgumentError, "extent"),
    ],
)
def test_wrong_calls_name_the_argument(call, error, argument):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument
