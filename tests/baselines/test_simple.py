"""The simple answers against what one would write in numpy, and the choice among them."""

import jax.numpy as jnp
import numpy as np
import pytest

from baseline_cases import half_amplitude, matrices
from dichroic import PerSample, Problem, ProblemError, Source, View
from dichroic.baselines import BorderMedian, MeanSubtraction, StationaryWiener, simple_answers
from dichroic.baselines.kinds import gains, kind_of, moments
from dichroic.operators import Convolve


def hum_and_hiss(n, seed=0, gain=1.0, beside=1.0, std=0.01, length=32):
    """A series of slow waves, and the same under white noise that is the target."""
    rng = np.random.default_rng(seed)
    slow = np.exp(-(np.fft.rfftfreq(length) ** 2) / 2 / 0.05**2)
    hum = np.fft.irfft(np.fft.rfft(4 * rng.normal(size=(2, n, length))) * slow, n=length)
    hiss = rng.normal(size=(n, length))
    y = [x + std * rng.normal(size=x.shape) for x in (hum[0], beside * hum[1] + gain * hiss)]
    truth = {"hum": hum[1], "hiss": hiss}
    views = {
        "hum": View(y[0], {"hum": 1.0}, std),
        "both": View(y[1], {"hum": beside, "hiss": gain}, std, truth=truth),
    }
    return Problem({"hum": Source((length,)), "hiss": Source((length,))}, views)


def blurred(n, seed=0, size=8):
    """Spots behind a point spread function over a level sky, with noise maps and bad pixels."""
    rng = np.random.default_rng(seed)
    at = np.mgrid[:size, :size] - (size - 1) / 2
    spot = np.exp(-(at**2).sum(0) / 2)[None, ..., None] * rng.uniform(2, 4, (n, 1, 1, 1))
    level = np.broadcast_to(rng.normal(1, 0.3, (2, n, 1, 1, 1)), (2, n, size, size, 1))
    std = 0.05 * rng.uniform(0.5, 1.5, (n, size, size, 1))
    kernel = np.exp(-(np.mgrid[-1:2, -1:2] ** 2).sum(0) / 2)
    P = Convolve((kernel / kernel.sum()).astype(np.float32), (size, size, 1))
    views = {"empty": View(level[0] + std * rng.normal(size=std.shape), {"sky": 1.0}, PerSample(std))}
    seen = np.stack([np.asarray(P(jnp.asarray(x, jnp.float32))) for x in spot])
    y = level[1] + seen + std * rng.normal(size=std.shape)
    y[rng.random(y.shape) < 0.05] = np.nan
    views["both"] = View(y, {"sky": 1.0, "spot": P}, PerSample(std), truth={"sky": level[1], "spot": spot})
    return Problem({s: Source((size, size, 1)) for s in ("sky", "spot")}, views)


def test_the_answers_suit_the_kind_of_data():
    assert list(simple_answers(matrices(50))) == ["mean-subtraction"]
    assert list(simple_answers(hum_and_hiss(300))) == ["mean-subtraction", "stationary-wiener"]
    digits = half_amplitude(100, shape=(6, 6, 1))
    assert list(simple_answers(digits)) == ["mean-subtraction", "border-median", "stationary-wiener"]
    # nobody sharpens by hand: the noise would be all there is
    assert list(simple_answers(blurred(60))) == ["border-median", "stationary-wiener"]
    alone = Problem({"sky": Source((4,))}, {"empty": half_amplitude(9).views["empty"]})
    assert not simple_answers(alone)
    uneven = half_amplitude(100, shape=(40,))
    assert [kind_of(view) for view in (uneven.views["empty"], digits.views["empty"])] == ["vector", "image"]
    with pytest.raises(ProblemError, match="needs image or series data; this is vector data"):
        StationaryWiener.fit(uneven)
    with pytest.raises(
        ProblemError, match=r"needs real data in the shape of the source; it shows 'star' of shape \(5,\)"
    ):
        BorderMedian.fit(matrices(20))


def test_a_complex_record_is_a_series_with_a_complex_mean(rng):
    y = (rng.normal(size=(40, 16)) + 1j * rng.normal(size=(40, 16)) + 2 - 3j).astype(np.complex64)
    view = View(y, {"a": 1.0}, 0.1)
    mean, variance = moments(view)
    np.testing.assert_allclose(mean, y.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, y.var(0), rtol=1e-5)
    assert kind_of(view) == "series"


def test_the_filter_of_a_series_is_three_lines_of_numpy():
    problem, held_out = hum_and_hiss(2000), hum_and_hiss(300, 1)
    found = StationaryWiener.fit(problem).separate(held_out).mean("both", "hiss")
    music, mix, y = problem.views["hum"].y, problem.views["both"].y, held_out.views["both"].y
    P_m, P_y = ((np.abs(np.fft.rfft(x, axis=1)) ** 2).mean(0) for x in (music, mix))
    by_hand = np.fft.irfft(np.fft.rfft(y, axis=1) * np.maximum(P_y - P_m, 0) / P_y, n=y.shape[1], axis=1)
    np.testing.assert_allclose(found, by_hand, atol=0.02)  # which leaves the means where they are


def test_amplitudes_of_either_source_are_taken_out_of_the_filter():
    plain, other = (
        StationaryWiener.fit(hum_and_hiss(4000, 0, *a)).separate(hum_and_hiss(300, 1, *a)).mean("both", "hiss")
        for a in ((1.0, 1.0), (0.5, 0.5))
    )
    np.testing.assert_allclose(plain, other, atol=0.1)
    truth = hum_and_hiss(300, 1).views["both"].truth["hiss"]
    assert np.mean((other - truth) ** 2) < 0.25  # the share of the frequencies that the hum takes


def test_the_median_of_the_border_is_what_is_subtracted():
    problem = blurred(40)
    view, found = problem.views["both"], BorderMedian.fit(problem).separate(problem).mean("both", "spot")
    border = np.ones((8, 8), bool)
    border[2:-2, 2:-2] = False
    y = np.where(view.observed, view.y, np.nan)[..., 0]
    level = np.nanmedian(np.where(border, y, np.nan), axis=(1, 2))
    by_hand = np.nan_to_num(y - level[:, None, None])
    np.testing.assert_allclose(found[..., 0], by_hand, atol=1e-5)  # a kernel of sum 1 is no amplitude
    np.testing.assert_allclose(gains(view, "spot", (8, 8, 1)), 1, atol=1e-5)


def test_half_an_amplitude_is_undone_and_noise_weighs_nothing():
    problem = half_amplitude(200)
    found = MeanSubtraction.fit(problem).separate(problem).mean("both", "star")
    by_hand = (problem.views["both"].y - problem.views["empty"].y.mean(0)) / 0.5
    np.testing.assert_allclose(found, by_hand, atol=1e-4)
    uneven = PerSample(np.linspace(0.1, 5, 200))
    views = {**problem.views, "empty": View(problem.views["empty"].y, {"sky": 1.0}, uneven)}
    again = MeanSubtraction.fit(Problem(problem.sources, views)).separate(problem).mean("both", "star")
    np.testing.assert_allclose(again, found, atol=1e-4)
