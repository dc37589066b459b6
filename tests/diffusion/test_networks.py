"""Networks and their preconditioning: shapes, gradients, dropout, precision, batches."""

from dataclasses import replace
from functools import cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import (
    NETWORKS,
    CausalConfig,
    ConvConfig,
    DiffWaveConfig,
    GaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    UNetConfig,
)
from dichroic.diffusion.networks import convolution, layers
from oracles import random_covariance

UNET = {"channels": (4, 8), "blocks": (1, 1), "heads": (0, 2), "embedding": 8}
EXAMPLES = {
    "mlp": [
        ((5,), MLPConfig(width=16, depth=2, embedding=8)),
        ((3, 2, 2), MLPConfig(width=16, depth=1, embedding=8, conditioning="film", dropout=0.3)),
    ],
    "unet": [
        ((13, 9, 2), UNetConfig(**UNET)),
    ],
    "conv": [
        ((7, 9, 2), ConvConfig(channels=(4, 8), depth=1, embedding=8)),
        ((6, 5), ConvConfig(channels=(4, 8), depth=1, embedding=8, axes=1)),
    ],
    "diffwave": [
        ((9, 2), DiffWaveConfig(width=4, depth=2, embedding=8)),
    ],
    "causal": [
        ((9, 2), CausalConfig(window=2, ahead=1, width=8, depth=1, attention_heads=2, embedding=8)),
    ],
}
every_network = pytest.mark.parametrize(
    "shape, config",
    [pytest.param(*example, id=f"{name}-{i}") for name, found in EXAMPLES.items() for i, example in enumerate(found)],
)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_registered_network_has_an_example(name):
    assert EXAMPLES.get(name), f"add an example of '{name}'"
    assert all(config.kind == name for _, config in EXAMPLES[name])


@cache
def create(shape, config):
    """Making a network is most of the cost of a test."""
    return NetworkDenoiser.create(shape, config, key=jax.random.key(17))


@eqx.filter_jit
def denoise(denoiser, *arguments):
    return denoiser(*arguments)


@every_network
def test_shapes_gradients_and_batches(shape, config, getkey):
    denoiser = create(shape, config)
    assert denoiser.shape == shape
    x = jax.random.normal(getkey(), (3, *shape))
    sigma = jnp.array([0.01, 1.0, 50.0])

    @eqx.filter_jit
    def everything(denoiser, x, sigma):
        loss = lambda d: jnp.sum(jax.vmap(d)(x, sigma) ** 2)  # noqa: E731
        return jax.vmap(denoiser)(x, sigma), eqx.filter_grad(loss)(denoiser)

    out, gradient = everything(denoiser, x, sigma)
    assert out.shape == (3, *shape) and out.dtype == jnp.float32
    assert np.isfinite(out).all()
    for leaf in jax.tree.leaves(gradient.network):
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0), "a weight that changes nothing"
    other, _ = everything(denoiser, x.at[:2].set(1e3), sigma)
    np.testing.assert_allclose(out[2], other[2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out[0], denoise(denoiser, x[0], sigma[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 3), pytest.param((1, 7, 1), marks=pytest.mark.slow)])
def test_any_image_side(shape, getkey):
    config = UNetConfig(channels=(4, 4, 4), blocks=(1, 1, 1), heads=(0, 0, 0), embedding=4)
    out = denoise(create(shape, config), jax.random.normal(getkey(), shape), jnp.asarray(0.5))
    assert out.shape == shape
    assert np.isfinite(out).all()


@every_network
def test_the_noise_level_matters(shape, config, getkey):
    network = create(shape, config).network
    x = jax.random.normal(getkey(), shape)
    a, b = (denoise(network, x, jnp.asarray(sigma)) for sigma in (0.1, 2.0))
    assert np.abs(a - b).max() > 1e-4


@pytest.mark.slow
def test_a_causal_answer_waits_no_longer_than_it_says(getkey):
    ((shape, config),) = EXAMPLES["causal"]
    network, x = create(shape, config).network, jax.random.normal(getkey(), shape)
    before, after = (np.asarray(denoise(network, a, jnp.asarray(1.0))) for a in (x, x.at[6:].add(1)))
    changed = np.flatnonzero((before != after).any(1))
    assert config.latency == 3 and changed.min() == 6 - 2 * config.ahead >= 6 - config.latency


@every_network
def test_dropout_only_with_a_key(shape, config, getkey):
    denoiser = create(shape, config)
    x, sigma = jax.random.normal(getkey(), shape), jnp.asarray(1.0)
    plain = denoise(denoiser, x, sigma)
    np.testing.assert_array_equal(plain, denoise(denoiser, x, sigma))
    key = getkey()
    dropped, again, another = (denoise(denoiser, x, sigma, k) for k in (key, key, getkey()))
    np.testing.assert_array_equal(dropped, again)
    changed = getattr(config, "dropout", 0) > 0
    assert np.allclose(plain, dropped, atol=1e-6) != changed
    assert np.allclose(dropped, another, atol=1e-6) != changed


def test_dropout_keeps_the_mean_and_drops_its_share(getkey):
    n, rate = 40_000, 0.3
    out = np.asarray(layers.dropout(jnp.ones(n), rate, getkey()))
    assert abs((out == 0).mean() - rate) < 4.5 * np.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose(out[out > 0], 1 / (1 - rate), rtol=1e-6)


@every_network
def test_bfloat16_is_close_and_leaves_the_weights_alone(shape, config, getkey):
    full, half = create(shape, config), replace(create(shape, config), precision="bfloat16")
    x, sigma = jax.random.normal(getkey(), shape), jnp.asarray(1.0)
    a, b = denoise(full, x, sigma), denoise(half, x, sigma)
    assert b.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half) if eqx.is_inexact_array(leaf))
    # 8 bits of mantissa through some ten layers
    error = np.linalg.norm(a - b) / np.linalg.norm(a)
    assert 0 < error < 0.1


@every_network
def test_on_a_gaussian_it_starts_as_that_gaussian(shape, config, getkey, rng):
    d = int(np.prod(shape))
    base = GaussianDenoiser.from_covariance(rng.normal(size=shape), random_covariance(rng, d), rank=min(d, 3))
    denoiser = NetworkDenoiser.create(shape, config, key=getkey(), base=base)
    x = jax.random.normal(getkey(), shape)
    for sigma in (1e-3, 0.5, 80.0):
        level = jnp.asarray(sigma)
        np.testing.assert_array_equal(denoise(denoiser, x, level), denoise(base, x, level))


def test_preconditioning_is_that_of_edm(float64, getkey, rng):
    # EDM, table 1, with sigma_data = 1: D = c_skip x + c_out F(c_in x, c_noise)
    denoiser = NetworkDenoiser.create((4,), MLPConfig(width=8, depth=1, embedding=6), key=getkey())
    network, x = denoiser.network, rng.normal(size=4)
    for sigma in (1e-3, 0.3, 1.0, 20.0):
        c_skip, c_out, c_in = 1 / (sigma**2 + 1), sigma / np.sqrt(sigma**2 + 1), 1 / np.sqrt(sigma**2 + 1)
        # the network by hand: embedding of log sigma, dense, SiLU, normalisation, dense
        phase = np.log(sigma) * np.array([1.0, 1e-2, 1e-4])
        h = np.concatenate([c_in * x, np.sin(phase), np.cos(phase)])
        h = np.asarray(network.hidden[0].weight) @ h + np.asarray(network.hidden[0].bias)
        h = h / (1 + np.exp(-h))
        h = (h - h.mean()) / np.sqrt(h.var() + 1e-6)
        F = np.asarray(network.last.weight) @ h + np.asarray(network.last.bias)
        got = denoise(denoiser, jnp.asarray(x), jnp.asarray(sigma))
        np.testing.assert_allclose(got, c_skip * x + c_out * F, atol=1e-10)


SHAPES = [(5, 4, 2), (1, 6, 3), (2, 2, 1), (1, 1, 2), (4, 7, 32), (9, 3, 33)]  # minimal filtering from 32 channels on


@pytest.mark.parametrize("route", ["auto", "explicit", "library"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_is_the_sum_that_it_stands_for(shape, route, float64, getkey):
    layer = convolution.Convolution(shape[2], 32, key=getkey(), route=route)
    layer = jax.tree.map(lambda w: w.astype(float), layer)
    x = jax.random.normal(getkey(), shape, float)
    rows, columns = ([1, *range(n), n - 2] if n > 1 else [0, 0, 0] for n in shape[:2])
    padded, want = np.asarray(x)[rows][:, columns], np.zeros((*shape[:2], 32))
    for i, j in np.ndindex(3, 3):
        want += padded[i : i + shape[0], j : j + shape[1]] @ np.asarray(layer.weight[i, j])
    np.testing.assert_allclose(layer(x), want + layer.bias, atol=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES[:4], *(pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[4:])])
def test_explicit_derivatives_of_a_convolution_are_those_of_jax(shape, float64, getkey):
    n = 18  # more than a block of samples
    weights, x = (jax.random.normal(getkey(), s, float) for s in ((2, 3, 3, shape[2], 32), (n, *shape)))
    cotangents, key = jax.random.normal(getkey(), (n, *shape[:2], 32), float), getkey()

    @partial(jax.jit, static_argnums=0)
    def derivatives(route):
        layer = convolution.Convolution(shape[2], 32, key=key, route=route)

        def convolve(x, w):
            return eqx.tree_at(lambda it: it.weight, layer, w)(x)

        def loss(x, w):
            return jnp.sum(cotangents * jnp.sin(jax.vmap(convolve, (0, None))(x, w)))

        w, other = weights
        first = jax.grad(loss, (0, 1))
        per_sample = jax.vmap(lambda x, g: jax.vjp(convolve, x, w)[1](g))(x[:2], cotangents[:2])
        return {
            "first": first(x, w),
            "second": jax.jvp(first, (x, w), (x[::-1], other))[1],
            "by sample": per_sample,
            "by kernel": jax.vmap(jax.grad(loss, (0, 1)), (None, 0))(x, weights),
        }

    got, want = derivatives("explicit"), derivatives("library")
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), got, want)


@pytest.mark.parametrize("shape", [(1,), (8,), (5, 13)])
def test_weights_start_as_the_numbers_of_jax(shape, getkey):
    key = getkey()
    np.testing.assert_array_equal(layers.truncated_normal(key, shape), jax.random.truncated_normal(key, -2, 2, shape))


def test_what_is_stored_is_the_same_and_no_number_where_the_weights_are_none(getkey):
    x = jax.random.normal(getkey(), (3, 2))
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(layers.stored(x, jnp.zeros(2)) ** 2))(x)
    np.testing.assert_allclose(value, jnp.sum(x**2))
    np.testing.assert_allclose(gradient, 2 * x)
    assert jnp.isnan(layers.stored(x, jnp.full(2, jnp.nan))).all()


def test_attention_weighs_pixels_by_softmax(float64, getkey, rng):
    from dichroic.diffusion.networks.unet import AttentionBlock

    block = AttentionBlock(4, 2, 8, key=getkey())
    block = jax.tree.map(lambda w: w.astype(float) if eqx.is_inexact_array(w) else w, block)
    x, e = jnp.asarray(rng.normal(size=(3, 2, 4))), jnp.asarray(rng.normal(size=8))
    gain, shift, gate = block.modulation(e)
    y = np.asarray((1 + gain) * layers.layer_norm(x) + shift).reshape(6, 4)
    q, k, v, out = ((p.weight, p.bias) for p in block.projections)
    q, k, v = (y @ np.asarray(w).T + np.asarray(b) for w, b in (q, k, v))
    mixed = np.zeros((6, 4))
    for head in (slice(0, 2), slice(2, 4)):
        scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(2))
        mixed[:, head] = scores / scores.sum(1, keepdims=True) @ v[:, head]
    expected = np.asarray(x) + np.asarray(gate) * (mixed @ np.asarray(out[0]).T + np.asarray(out[1])).reshape(3, 2, 4)
    np.testing.assert_allclose(block(x, e, 0.0, None), expected, atol=1e-6)  # the softmax is in single precision


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda key: NetworkDenoiser.create((5,), UNetConfig(**UNET), key=key), "height, width, channels"),
        (lambda key: UNetConfig(channels=(4, 8), blocks=(1,), heads=(0, 0)), "one entry per level"),
        (lambda key: UNetConfig(channels=(4, 6), blocks=(1, 1), heads=(0, 4)), "must divide"),
        (lambda key: MLPConfig(width=0), "greater than 0"),
        (lambda key: MLPConfig(wide=3), "Extra inputs"),  # type: ignore
    ],
)
def test_impossible_settings_say_why(make, words, getkey):
    with pytest.raises(ValueError, match=words):
        make(getkey())
