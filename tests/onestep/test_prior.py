"""A generator as a prior: what was saved is what is loaded, and it draws in one evaluation."""

from dataclasses import replace

import equinox as eqx
import numpy as np
import pytest

from dichroic.diffusion import ConvConfig, GaussianDenoiser, MLPConfig, Prior, Scaling, denoisers_of
from dichroic.onestep import Generator, GeneratorPrior


def made(key, shape=(2,), network=None, levels=()):
    d = int(np.prod(shape))
    base = GaussianDenoiser(
        np.zeros(shape, np.float32), np.eye(d, dtype=np.float32), np.ones(d, np.float32), np.zeros((), np.float32)
    )
    network = network or MLPConfig(width=8, depth=1, embedding=4)
    return GeneratorPrior(
        Generator.create(base, network, stochastic=bool(levels), key=key), levels, Scaling(2.0, 3.0), {"from": "x"}
    )


@pytest.mark.parametrize(
    "options", [{}, {"levels": (4.0, 1.0)}, {"shape": (4, 4, 1), "network": ConvConfig(channels=(4, 4), depth=1)}]
)
def test_what_is_saved_is_loaded(options, tmp_path, getkey):
    prior, key = made(getkey(), **options), getkey()
    prior.save(tmp_path / "prior")
    found = Prior.load(tmp_path / "prior")
    assert isinstance(found, GeneratorPrior)
    assert (found.levels, found.scaling, found.provenance) == (prior.levels, prior.scaling, {"from": "x"})
    assert found.fingerprint() == prior.fingerprint()
    np.testing.assert_array_equal(found.sample(3, key=key), prior.sample(3, key=key))


def test_draws_are_in_the_users_units(getkey):
    x = np.asarray(made(getkey()).sample(4000, key=getkey()))
    np.testing.assert_allclose([x.mean(), x.std()], [2, 3], atol=0.15)


def test_its_gaussian_is_that_of_its_draws(getkey):
    # a last layer that adds one to all noise moves the mean, which the Gaussian it corrects knows nothing of
    prior, shift = made(getkey()), np.ones_like
    moved = eqx.tree_at(lambda g: g.network.network.last.bias, prior.generator, replace_fn=shift)
    gaussian = replace(prior, generator=moved).gaussian()
    np.testing.assert_allclose(gaussian.mean, [1, 1], atol=0.08)
    np.testing.assert_allclose(np.sort(gaussian.values), [1, 1], atol=0.12)


def test_what_is_no_generator_is_refused(tmp_path, getkey):
    prior = made(getkey())
    entries, arrays = prior.content()
    for changed, match in (
        ({"shape": [3]}, "has an array"),
        ({"shape": [0]}, "shape"),
        ({"levels": [1.0]}, "has an array"),
        ({"network": {"kind": "unet"}}, "cannot be built"),
    ):
        with pytest.raises(ValueError, match=match):
            GeneratorPrior.from_content({**entries, **changed}, arrays, Scaling(), {})
    with pytest.raises(ValueError, match="unexpected arrays"):
        GeneratorPrior.from_content(entries, {**arrays, "more": np.zeros(2)}, Scaling(), {})
    with pytest.raises(ValueError, match="lacks the array"):
        GeneratorPrior.from_content(entries, dict(list(arrays.items())[1:]), Scaling(), {})


def test_a_method_that_anneals_refuses_it(getkey):
    with pytest.raises(ValueError, match="a prior of kind 'generator'"):
        denoisers_of({"x": made(getkey())}, "method 'annealed'")
