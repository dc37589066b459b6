"""Operators against implementations that share no code with them, and what they refuse."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from dichroic.operators import (
    AsComplex,
    BlockProject,
    Convolve,
    ConvolveChannels,
    Dense,
    Downsample,
    FourierSample,
    GaussianBlur,
    Mask,
    Scale,
)
from operator_cases import ONE_SAMPLE, adjoint, matrix_of

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("shape", [(8,), (7,), (1,), (6, 4), (5, 3)])
@pytest.mark.parametrize("trailing", [(), (3,)])
def test_fourier_sampling_is_numpys_transform(shape, trailing, rng):
    mask = (rng.random(shape) < 0.6).astype(float)
    x = rng.normal(size=shape + trailing)
    expected = np.fft.fftn(x, axes=range(len(shape)), norm="ortho") * mask.reshape(shape + (1,) * len(trailing))
    np.testing.assert_allclose(FourierSample(mask, shape + trailing)(jnp.asarray(x)), expected, atol=1e-12)


def test_fourier_sampling_of_a_complex_source(rng):
    z = rng.normal(size=(6, 4)) + 1j * rng.normal(size=(6, 4))
    operator = FourierSample(np.ones((6, 4)), (6, 4)) @ AsComplex((6, 4, 2))
    np.testing.assert_allclose(operator(jnp.stack([z.real, z.imag], -1)), np.fft.fft2(z, norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("shape, kernel", [((9, 8), (3, 5)), ((5, 5), (7, 3)), ((4,), (3,)), ((3, 2), (9, 9))])
def test_zero_boundary_is_scipys_convolution(shape, kernel, rng):
    # scipy crops "same" to the larger array when the kernel is wider, hence the full one cropped by hand
    x, k = rng.normal(size=shape), rng.normal(size=kernel)
    full = scipy.signal.convolve(x, k, mode="full", method="direct")
    expected = full[tuple(slice(s // 2, s // 2 + n) for s, n in zip(kernel, shape, strict=True))]
    np.testing.assert_allclose(Convolve(k, shape)(jnp.asarray(x)), expected, atol=1e-12)


@pytest.mark.parametrize("shape, kernel", [((9, 8), (3, 5)), ((5, 5), (7, 3))])
def test_wrapped_boundary_is_a_sum_of_shifts(shape, kernel, rng):
    x, k = rng.normal(size=(*shape, 2)), rng.normal(size=kernel)
    expected = np.zeros_like(x)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            expected += k[i, j] * np.roll(x, (i - kernel[0] // 2, j - kernel[1] // 2), (0, 1))
    np.testing.assert_allclose(Convolve(k, (*shape, 2), "wrap")(jnp.asarray(x)), expected, atol=1e-12)


@pytest.mark.parametrize(("boundary", "shape"), [("zero", (9, 8)), ("wrap", (9, 8)), ("zero", (7, 1))])
def test_a_gaussian_blur_is_the_convolution_with_its_kernel(boundary, shape, rng):
    x, j = rng.normal(size=(*shape, 2)), np.arange(-8, 9)
    k = np.exp(-(j**2) / 2 / 1.1**2)
    kernel = (k / k.sum())[:, None] * (k / k.sum() if shape[1] > 1 else (j == 0))
    expected = Convolve(kernel, (*shape, 2), boundary)(jnp.asarray(x))
    np.testing.assert_allclose(GaussianBlur(1.1, (*shape, 2), boundary)(jnp.asarray(x)), expected, atol=1e-8)


def test_channels_are_convolved_one_by_one(rng):
    x, k = rng.normal(size=(7, 6, 3)), rng.normal(size=(3, 5))
    expected = np.stack([scipy.signal.convolve(x[..., c], k, mode="same") for c in range(3)], -1)
    np.testing.assert_allclose(Convolve(k, (7, 6, 3))(jnp.asarray(x)), expected, atol=1e-12)


def test_a_complex_source_is_convolved_in_both_parts(rng):
    z = rng.normal(size=(6, 5)) + 1j * rng.normal(size=(6, 5))
    k = rng.normal(size=(3, 3))
    out = (Convolve(k, (6, 5)) @ AsComplex((6, 5, 2)))(jnp.stack([z.real, z.imag], -1))
    np.testing.assert_allclose(out, scipy.signal.convolve(z, k, mode="same"), atol=1e-12)


@pytest.mark.parametrize("factor, shape", [(2, (4, 6)), (3, (6, 9, 2)), (4, (4, 4))])
def test_block_means(factor, shape, rng):
    x = rng.normal(size=shape)
    means = np.stack(
        [
            np.stack([x[i : i + factor, j : j + factor].mean((0, 1)) for j in range(0, shape[1], factor)])
            for i in range(0, shape[0], factor)
        ]
    )
    np.testing.assert_allclose(Downsample(factor, shape)(jnp.asarray(x)), means, atol=1e-14)
    project = BlockProject(factor, (1, factor), shape)
    fine = np.kron(means, np.ones((factor, factor) + (1,) * (len(shape) - 2)))
    np.testing.assert_allclose(project(jnp.asarray(x)), fine, atol=1e-14)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_block_project_is_an_orthogonal_projection(factor):
    P = matrix_of(BlockProject(factor, (1, 2, 4), (8, 4)))
    np.testing.assert_allclose(P @ P, P, atol=1e-14)
    np.testing.assert_allclose(P.T, P, atol=1e-14)
    assert np.linalg.matrix_rank(P) == 32 // factor**2


def test_dense_reads_images_in_c_order(rng):
    M, x = rng.normal(size=(4, 6)), rng.normal(size=(3, 2))
    np.testing.assert_allclose(Dense(M, (3, 2))(jnp.asarray(x)), M @ x.ravel(), atol=1e-14)


def test_mask_scale_and_pairs(rng):
    x = rng.normal(size=(3, 2))
    observed = np.array([[1, 0], [0, 0], [1, 1]], bool)
    np.testing.assert_array_equal(Mask(observed)(jnp.asarray(x)), np.where(observed, x, 0))
    np.testing.assert_allclose(Scale(2 - 1j, (3, 2))(jnp.asarray(x)), (2 - 1j) * x)
    np.testing.assert_allclose(AsComplex((3, 2))(jnp.asarray(x)), x[:, 0] + 1j * x[:, 1])


@pytest.mark.parametrize("operator", ONE_SAMPLE.values(), ids=ONE_SAMPLE)
def test_the_adjoint_is_the_transposed_matrix(operator, rng):
    if np.issubdtype(operator.in_dtype, np.complexfloating):
        pytest.skip("the matrix on complex inputs is not the one on real inputs")
    M = matrix_of(operator)
    u = rng.normal(size=M.shape[0]) + (1j * rng.normal(size=M.shape[0]) if np.iscomplexobj(M) else 0)
    expected = np.real(M.conj().T @ u)
    np.testing.assert_allclose(adjoint(operator, u.reshape(operator.out_shape)).ravel(), expected, atol=1e-12)


def test_composition_and_sum_are_those_of_the_matrices(rng):
    A, B, C = (rng.normal(size=s) for s in [(3, 4), (4, 5), (3, 5)])
    x = rng.normal(size=5)
    operator = Dense(A) @ Dense(B) + Dense(C)
    np.testing.assert_allclose(operator(jnp.asarray(x)), (A @ B + C) @ x, atol=1e-13)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Downsample(3, (4, 6)), "does not divide"),
        (lambda: Downsample(2, (8,)), "does not divide"),
        (lambda: BlockProject(2, (2, 3), (4, 4)), "does not divide"),
        (lambda: Dense(np.ones((2, 5)), (3, 2)), "5 columns"),
        (lambda: Convolve(np.ones(3), (4,), "reflect"), "'zero' or 'wrap'"),
        (lambda: AsComplex((3,)), "length 2"),
    ],
)
def test_impossible_operators_say_why(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_one_kernel_per_channel(float64, rng):
    x, kernels = rng.normal(size=(7, 6, 3)), rng.normal(size=(3, 5, 3))
    for boundary in ("zero", "wrap"):
        found = ConvolveChannels(kernels, (7, 6, 3), boundary)(jnp.asarray(x))
        for c in range(3):
            expected = Convolve(kernels[..., c], (7, 6), boundary)(jnp.asarray(x[..., c]))
            np.testing.assert_allclose(found[..., c], expected, atol=1e-12)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_kernel_that_may_be_one_per_channel_is_asked_about(channels):
    """Taken as a kernel of three axes it would mix the channels, which nobody said."""
    x = jnp.ones((12, 12, channels))
    with pytest.raises(ValueError, match="has an axis for the channels: one kernel per channel is `convolve_channels`"):
        Convolve(np.ones((5, 5, channels)), x.shape)(x)
    with pytest.raises(ValueError, match="one kernel per channel"):
        Convolve(np.ones((5, channels)), (12, channels))(x[0])
    Convolve(np.ones((5, 5, 1)), (12, 12, 1))(x[..., :1])  # both would be the same
    Convolve(np.ones((3, 3)), (12, 3))(x[0, :, :3])
    Convolve(np.ones((5, 5)), x.shape)(x)
    Convolve(np.ones((5, 5, 7)), x.shape)(x)
    for kernel in ((5, 5), (5, 5, channels + 1), (5, channels)):
        with pytest.raises(ValueError, match=f"the last of them of the {channels} channels"):
            ConvolveChannels(np.ones(kernel), x.shape)(x)
