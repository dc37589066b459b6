"""Backgrounds made anew where no observed one fits: gaps, noise maps, operators and shapes of their own."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from dichroic.algebra import Gaussian
from dichroic.closed import GaussianFit
from dichroic.diffusion import Scaling
from dichroic.law import LearnedPosterior, MixturesConfig, find_contrast, refusals
from dichroic.law.conditional import ViewDenoiser
from dichroic.law.regression import Regression
from dichroic.operators import Convolve, Dense, PerSample, Poisson
from dichroic.problem import Problem, Source, View
from dichroic.run import RunError, fit
from dichroic.run.mixtures import contrast_of, drawn_from
from dichroic.settings import FitConfig

N, LENGTH = 96, 16
TINY = MixturesConfig(
    rounds=1, start_steps=3, steps=3, batch=4, pairs=16, backgrounds=2, draw_steps=3, moves=25, critic_batch=8,
    alone=(25, 25), held=16, channels=(4, 4), depth=1,
)  # fmt: skip
KEY = jax.random.key(0)


def kernel(width):
    """A point spread function along a series."""
    k = np.exp(-0.5 * (np.arange(-2, 3) / width) ** 2)
    return Convolve((k / k.sum()).astype(np.float32), (LENGTH,))


def problem(seed=0):
    """Walks and pulses through one spread in the first view, another in the second; noise of its own for every sample,
    and a tenth of all values missing in both.
    """
    rng = np.random.default_rng(seed)
    walks = rng.normal(size=(2 * N, LENGTH)).cumsum(1).astype(np.float32) / 4
    pulses = (rng.random((N, LENGTH)) < 0.1).astype(np.float32)
    std = rng.uniform(0.05, 0.3, (2 * N, LENGTH)).astype(np.float32)
    sharp, broad = kernel(0.3), kernel(1.0)
    clean = [jax.vmap(sharp)(walks[:N]), jax.vmap(broad)(walks[N:]) + jax.vmap(broad)(pulses)]
    y = np.concatenate(clean) + std * rng.normal(size=std.shape)
    y[rng.random(y.shape) < 0.1] = np.nan
    views = {
        "alone": View(y[:N], {"walk": sharp}, PerSample(std[:N])),
        "both": View(y[N:], {"walk": broad, "pulse": broad}, PerSample(std[N:]), truth={"pulse": pulses}),
    }
    return Problem({"walk": Source((LENGTH,)), "pulse": Source((LENGTH,), range=(0, 1))}, views), walks


def test_a_background_is_seen_as_its_observation_is():
    p, walks = problem()
    contrast = find_contrast(p, "pulse", Scaling(), lambda view: {"walk": walks[:N]})
    assert (contrast.view, contrast.alone, contrast.redrawn is None) == ("both", "alone", False)
    view, i = p.views["both"], 5
    keys = jax.random.split(KEY, 20_000)
    b = np.asarray(jax.vmap(lambda key: contrast.beside(i, key))(keys)) * float(contrast.unit)
    seen = view.observed[i]
    assert (b[:, ~seen] == 0).all()
    A = np.asarray(jax.vmap(view.mixing["walk"])(np.eye(LENGTH, dtype=np.float32))).T
    mean = walks[:N].mean(0) @ A.T - float(contrast.centre)
    variance = np.diag(A @ np.cov(walks[:N].T, bias=True) @ A.T) + np.asarray(view.noise.value.std[i]) ** 2
    np.testing.assert_allclose(b.mean(0)[seen], mean[seen], atol=5 * np.sqrt(variance.max() / len(b)))
    np.testing.assert_allclose(b.var(0)[seen], variance[seen], rtol=5 * np.sqrt(2 / len(b)))


def test_sources_behind_the_other_view_are_drawn_from_the_gaussian_stage():
    p, _ = problem()
    white = Gaussian(np.zeros(LENGTH), np.zeros((LENGTH, 0)), np.zeros(0), 1.0)
    priors = {"walk": GaussianFit({"walk": white}, [], True).prior("walk", (LENGTH,), FitConfig().schedule)}
    contrast = contrast_of(p, (), FitConfig(law="mixtures"), None, drawn_from(priors, 0))
    x, view = np.asarray(contrast.redrawn.draws["walk"]), p.views["alone"]
    assert x.shape == (N, LENGTH)
    r = (view.y - np.asarray(jax.vmap(view.mixing["walk"])(x))) / np.asarray(view.noise.value.std)
    assert np.mean(r[view.observed] ** 2) == pytest.approx(1, abs=5 * np.sqrt(2 / view.observed.sum()))
    assert contrast_of(p, (), FitConfig(law="auto")) is None  # this was not measured


def test_what_is_kept_makes_the_same_backgrounds(tmp_path):
    p, walks = problem()
    contrast = find_contrast(p, "pulse", Scaling(), lambda view: {"walk": walks[:N]})
    network = TINY.network
    regression = Regression.create(contrast, network, precise=True, key=KEY)
    denoiser = ViewDenoiser.create(contrast, network, precise=True, key=KEY)
    LearnedPosterior(contrast, regression, denoiser, TINY).save(tmp_path / "both.safetensors")
    read = LearnedPosterior.load(tmp_path / "both.safetensors").contrast
    view = p.views["both"]
    again, own = read.of(view), contrast.of(view)
    np.testing.assert_array_equal(again.beside(3, KEY), own.beside(3, KEY))
    other, _ = problem(1)  # other noise maps and gaps, the same spread
    assert len(read.of(other.views["both"])) == N
    with pytest.raises(ValueError, match="sample 0"):
        read.of(replace(view, mixing={"walk": kernel(0.3), "pulse": kernel(0.3)}).bind(p.sources))


def test_why_not_is_said_in_words():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4, N, LENGTH)).astype(np.float32)
    sources = {s: Source((LENGTH,)) for s in ("walk", "pulse")}
    both = {"walk": 1.0, "pulse": 1.0}

    def said(**views):
        return "; ".join(refusals(Problem(sources, views)))

    assert "does not show exactly" in said(first=View(y[0], both, 0.1), second=View(y[1], both, 0.1))
    counts = View(np.abs(y[0]).round(), both, Poisson(1.0))
    assert "depends on all that is seen" in said(alone=View(y[1], {"walk": 1.0}, 0.1), both=counts)
    image = Source((4, 4))
    p = Problem(
        {"walk": Source((LENGTH,)), "pulse": image},
        {
            "alone": View(y[0], {"walk": 1.0}, 0.1),
            "both": View(y[1], {"walk": 1.0, "pulse": Dense(np.eye(LENGTH, dtype=np.float32), (4, 4))}, 0.1),
        },
    )
    assert "1 axes, and the source has 2" in "; ".join(refusals(p))
    with pytest.raises(RunError, match="'both' over what 'alone' shows"):
        fit(p, FitConfig(law="mixtures", allow_unidentified=True), out="unused")


@pytest.mark.slow
def test_a_fit_through_gaps_noise_maps_and_a_spread(tmp_path, monkeypatch):
    monkeypatch.setattr("dichroic.run.mixtures.BEYOND", -1.0)  # a network of three steps is kept, too
    p, _ = problem()
    config = FitConfig(law="mixtures", mixtures=TINY, draws=2, mean_share=1.0, judged="never")
    run = fit(p, config, out=tmp_path / "run")
    separated = run.separate(p, draws=2, share=1.0)
    draws = separated.draws("both", "pulse")
    assert draws.shape == (N, 2, LENGTH) and draws.min() >= 0 and draws.max() <= 1
    assert 0.2 < np.mean(separated.chi_square["both"]) < 2
