"""Priors as files: what was saved is what is loaded, and nothing else passes for a prior."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dichroic.diffusion import (
    DDIM,
    ComponentsDenoiser,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    Prior,
    Scaling,
    Schedule,
    UNetConfig,
)
from dichroic.diffusion.prior import _CLOSED_FORM, FORMAT_VERSION
from oracles import random_covariance


def gaussian(rng, shape=(4,)):
    d = int(np.prod(shape))
    S = random_covariance(rng, d)
    full = GaussianDenoiser.from_covariance(rng.normal(size=shape), S, rank=2)
    return jax.tree.map(lambda a: np.asarray(a, np.float32), full)


MAKERS = {
    "gaussian": lambda rng, key: gaussian(rng),
    "low_rank_gaussian": lambda rng, key: LowRankGaussianDenoiser(
        np.zeros((2, 2, 1), np.float32), np.ones(4, np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    ),
    "gaussian_mixture": lambda rng, key: jax.tree.map(
        lambda a: np.asarray(a, np.float32),
        ComponentsDenoiser.from_covariances(np.ones(2), rng.normal(size=(2, 3)), np.stack([np.eye(3)] * 2)),
    ),
    "mlp": lambda rng, key: NetworkDenoiser.create((3,), MLPConfig(width=8, depth=2, conditioning="film"), key=key),
    "unet": lambda rng, key: NetworkDenoiser.create(
        (5, 4, 2), UNetConfig(channels=(4, 4), blocks=(1, 1), heads=(0, 2), embedding=4), key=key
    ),
    "mlp on a gaussian, bfloat16": lambda rng, key: NetworkDenoiser.create(
        (4,), MLPConfig(width=8, depth=1), key=key, base=gaussian(rng), precision="bfloat16"
    ),
}


def test_every_kind_of_denoiser_has_an_example():
    assert set(_CLOSED_FORM) <= set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_roundtrip(name, tmp_path, rng, getkey):
    denoiser = MAKERS[name](rng, getkey())
    prior = Prior(denoiser, Schedule(2e-3, 50.0), Scaling(1.5, 0.25), {"laps": 3, "why": "test"})
    path = tmp_path / "source.safetensors"
    prior.save(path)
    found = Prior.load(path)
    assert type(found.denoiser) is type(denoiser)
    assert found.shape == prior.shape
    assert (found.schedule, found.scaling) == (prior.schedule, prior.scaling)
    assert dict(found.provenance) == {"laps": 3, "why": "test"}
    before, after = jax.tree.leaves(denoiser), jax.tree.leaves(found.denoiser)
    assert jax.tree.structure(denoiser) == jax.tree.structure(found.denoiser)
    for a, b in zip(before, after, strict=True):
        assert np.shape(a) == b.shape
        np.testing.assert_array_equal(a, b)
    x = jax.random.normal(getkey(), denoiser.shape)
    run = eqx.filter_jit(lambda denoiser: denoiser(x, jnp.asarray(0.3)))
    np.testing.assert_array_equal(run(found.denoiser), run(denoiser))


def test_saving_twice_writes_the_same_bytes(tmp_path, rng):
    prior = Prior(gaussian(rng))
    prior.save(tmp_path / "a")
    Prior.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def header_of(path) -> dict:
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        return json.loads(file.metadata()["dichroic"])


@pytest.fixture
def saved(tmp_path, rng):
    path = tmp_path / "prior.safetensors"
    Prior(gaussian(rng)).save(path)
    return path


def rewrite(path, arrays=None, **changes):
    from safetensors.numpy import load_file

    header = {**header_of(path), **changes}
    save_file(load_file(path) if arrays is None else arrays, path, metadata={"dichroic": json.dumps(header)})


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no prior at"):
        Prior.load(tmp_path / "nothing")


def test_not_safetensors(tmp_path):
    path = tmp_path / "text"
    path.write_text("hello, this is no prior at all")
    with pytest.raises(ValueError, match="not a prior file"):
        Prior.load(path)


def test_half_a_file(saved):
    saved.write_bytes(saved.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a prior file"):
        Prior.load(saved)


def test_somebody_elses_safetensors(tmp_path):
    save_file({"weights": np.ones(3)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not a prior written by dichroic"):
        Prior.load(tmp_path / "other")


def test_a_newer_format(saved):
    rewrite(saved, version=FORMAT_VERSION + 1)
    with pytest.raises(ValueError, match=f"format {FORMAT_VERSION + 1}; this version reads up to {FORMAT_VERSION}"):
        Prior.load(saved)


def test_missing_arrays(saved):
    rewrite(saved, arrays={".mean": np.zeros(4, np.float32)})
    with pytest.raises(ValueError, match="lacks or has unexpected arrays"):
        Prior.load(saved)


def test_what_cannot_be_saved_says_so(tmp_path):
    from oracles import MatrixDenoiser

    with pytest.raises(TypeError, match="MatrixDenoiser cannot be saved"):
        Prior(MatrixDenoiser(jnp.eye(2))).save(tmp_path / "x")


def test_scaling_goes_both_ways(rng):
    scaling, x = Scaling(3.0, 0.5), rng.normal(size=4)
    np.testing.assert_allclose(scaling.to_scaled(scaling.to_user(x)), x)
    np.testing.assert_allclose(scaling.to_user(np.zeros(2)), 3.0)
    np.testing.assert_allclose(scaling.to_scaled(np.array([3.5])), 1.0)


def test_draws_have_the_variance_of_what_was_learned(getkey):
    """Priors are compared with data by their draws: a sampler that narrows them would look like a narrow prior."""
    variances, n = np.array([0.03, 0.3, 1.0, 1.7]), 100_000
    prior = Prior(GaussianDenoiser.from_covariance(np.zeros(4), np.diag(variances)), Schedule(5e-3, 2e1))
    found = np.asarray(prior.sample(n, key=getkey())).var(0) / variances
    assert np.all(np.abs(found - 1) < 0.01 + 4.5 * np.sqrt(2 / n))


def test_samples_of_a_loaded_prior_are_those_of_the_saved_one(saved, getkey, rng):
    key = getkey()
    first = Prior.load(saved).sample(3, key=key, step=DDIM(), steps=5)
    second = Prior.load(saved).sample(3, key=key, step=DDIM(), steps=5)
    assert first.shape == (3, 4)
    np.testing.assert_array_equal(first, second)
    assert np.unique(np.asarray(first)[:, 0]).size == 3
