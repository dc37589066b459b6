"""CLVM-VAE, and the blind methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from baseline_cases import channels, half_amplitude
from dichroic import Problem, ProblemError, Source, View
from dichroic.baselines import BASELINES, CLVMVAE, CLVMVAEConfig, load_baseline
from dichroic.baselines.channels import assign
from dichroic.baselines.coders import ConvCoderConfig, MLPCoderConfig, make_decoder, make_encoder
from dichroic.diffusion import TrainingConfig
from dichroic.operators import LinearFunction


def settings(network, steps=600, **changes) -> CLVMVAEConfig:
    training = TrainingConfig(steps=steps, batch=64, rate=5e-3)
    return CLVMVAEConfig(components=1, network=network, training=training, **changes)


def slope(fit, held_out) -> float:
    """Of the estimated target against the true one: 1 where the amplitude is right."""
    x, truth = fit.separate(held_out, draws=0).mean("both", "star"), held_out.views["both"].truth["star"]
    return float(np.polyfit(truth.ravel(), x.ravel(), 1)[0])


def test_the_vae_climbs_and_finds_the_amplitude(fitted):
    held_out, fit = half_amplitude(200, seed=1), fitted["clvm-vae"]
    elbo = fit.record["elbo"]
    assert elbo[-1] > elbo[12] > elbo[0]
    assert slope(fit, held_out) == pytest.approx(1, abs=0.05)  # the prior of the latents takes 0.01
    found = fit.separate(held_out, draws=4)
    assert np.mean(found.chi_square["both"]) < 2  # the noise is explained
    with pytest.raises(ProblemError, match="no encoder of source 'sky' in a view 'other'"):
        fit.separate(Problem({"sky": Source((4,))}, {"other": held_out.views["empty"]}))


@pytest.mark.slow
def test_the_published_amplitudes_are_wrong_by_two():
    problem, held_out = half_amplitude(500), half_amplitude(100, seed=1)
    network = MLPCoderConfig(width=16, depth=1, dropout=0.0)
    fit = CLVMVAE.fit(problem, settings(network, 300, amplitudes="published", encoders="shared"))
    # what the model takes for the background enters at half its amplitude, and the data cannot be explained
    assert np.mean(fit.separate(held_out, draws=0).chi_square["both"]) > 5


@pytest.mark.slow
def test_convolutions_for_images(tmp_path):
    problem = half_amplitude(60, shape=(5, 4, 1))
    fit = CLVMVAE.fit(problem, settings(ConvCoderConfig(channels=(4, 4)), 32))
    assert fit.separate(problem, draws=2).draws("both", "star").shape == (60, 2, 5, 4, 1)
    fit.save(tmp_path)
    again = load_baseline(tmp_path)
    np.testing.assert_array_equal(again.sample("star", 2), fit.sample("star", 2))
    assert fit.record["elbo"][-1] > fit.record["elbo"][0]


def test_convolutions_are_for_images():
    with pytest.raises(ProblemError, match=r"with convolutions needs images .*: source 'sky', 'star'"):
        CLVMVAE.fit(half_amplitude(10), settings(ConvCoderConfig()))

    def pass_through(key):
        config = ConvCoderConfig(channels=(2, 3, 4))
        encoder = make_encoder(config, (5, 4, 2), 6, key)
        return encoder(jnp.ones((5, 4, 2))), make_decoder(config, 3, (5, 4, 1), key)(jnp.ones(3))

    code, image = jax.eval_shape(pass_through, jax.random.key(0))
    assert code.shape == (6,)
    assert image.shape == (5, 4, 1)


@pytest.mark.parametrize("name, tolerance", [("fastica", 0.02), ("nmf", 0.1)])
def test_blind_methods_find_names_signs_and_scales(name, tolerance, fitted):
    held_out = channels(50, seed=1)
    assert fitted[name].record["converged"]
    found = fitted[name].separate(held_out)
    for s in held_out.sources:
        x, truth = found.mean("channel1", s).ravel(), held_out.views["channel1"].truth[s].ravel()
        assert np.corrcoef(x, truth)[0, 1] > 0.98
        assert np.polyfit(truth, x, 1)[0] == pytest.approx(1, abs=tolerance)
        np.testing.assert_array_equal(found.mean("channel0", s), found.mean("channel1", s))


def test_channels_of_one_view():
    problem = channels(200)
    stack = np.stack([view.y for view in problem.views.values()], 1)
    gains = {"a": np.array([1.0, 0.05, 0.8]), "b": np.array([0.05, 1.0, 0.8])}
    mixing = {s: LinearFunction(lambda x, g: g[:, None].astype(x.dtype) * x, (6,), g) for s, g in gains.items()}
    single = Problem(problem.sources, {"all": View(stack, mixing, 0.01)})
    cls = BASELINES["fastica"]
    one, three = cls.fit(single).separate(single), cls.fit(problem, cls.Config(paired=True)).separate(problem)
    np.testing.assert_allclose(one.mean("all", "a"), three.mean("channel0", "a"), atol=1e-4)


def test_components_are_given_to_the_nearest_source():
    gains = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = np.arange(6.0).reshape(3, 2)
    named, cosines = assign(found, gains[:, ::-1] * [-2.0, 3.0], gains)
    np.testing.assert_allclose(named, found[:, ::-1] * [3.0, -2.0])
    np.testing.assert_allclose(cosines, 1)


@pytest.mark.parametrize("name", ["fastica", "nmf"])
def test_what_blind_methods_cannot_do(name):
    cls, y = BASELINES[name], np.abs(np.random.default_rng(0).normal(size=(5, 3)))
    sources = {"a": Source((3,)), "b": Source((3,))}

    def fails(views, match, **config):
        with pytest.raises(ProblemError, match=match):
            cls.fit(Problem(sources, views), cls.Config(**config))

    both = View(y, {"a": 1.0, "b": 0.5}, 0.1)
    fails({"v": both}, "got 1 channels of rank 1 for 2 sources")
    fails({"v": both, "w": View(y, {"a": 1.0}, 0.1)}, "view 'w': .* 'b' is not in", paired=True)
    fails(
        {"v": both, "w": View(y[:4], {"a": 0.5, "b": 1.0}, 0.1)},
        r"one number of observations, got \[4, 5\]",
        paired=True,
    )
    holes = np.where(y < 0.5, np.nan, y)
    fails({"v": both, "w": View(holes, {"a": 0.5, "b": 1.0}, 0.1)}, "view 'w': .* complete data", paired=True)
    if name == "nmf":
        fails({"v": both, "w": View(-y, {"a": 0.5, "b": 1.0}, 0.1)}, "not negative but for noise", paired=True)
        fails({"v": both, "w": View(y, {"a": -0.5, "b": 1.0}, 0.1)}, "amplitudes that are not negative", paired=True)
