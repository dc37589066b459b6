"""Receivers of the radio bench against printed tables and closed forms (section 14 of the description)."""

import jax
import numpy as np
import pytest
from scipy.stats import binomtest

from dichroic.diffusion import describe_prior
from dichroic.metrics import binomial_interval
from dichroic.posterior import LMMSE, MatchedFilter, SuccessiveCancellation, observation_keys
from dichroic.studies.radio import (
    SIGNAL,
    SIRS,
    bits_of,
    complex_covariance,
    demodulated,
    gain,
    interference,
    linear_receiver,
    matched_filter_error_rate,
    radio_mixtures,
    symbols_of,
)

MF_BPSK = (0.383, 0.345, 0.297, 0.234, 0.152, 0.0681, 0.0128, 2.2e-4)
MF_QPSK = (0.396, 0.358, 0.304, 0.233, 0.148, 0.0675, 0.0134, 2.1e-4)
LMMSE_DB = (-0.54, -0.94, -1.56, -2.48, -3.79, -5.55, -7.72, -10.23)
LMMSE_QPSK = (0.360, 0.314, 0.261, 0.196, 0.123, 0.055, 0.0105, 1.7e-4)
T = 2560


@pytest.fixture(scope="module")
def signal():
    return describe_prior(SIGNAL, (T, 2), True)


def published(alphabet):
    return describe_prior(interference(alphabet, prefix=True), (T, 2), True)


def as_complex(x):
    x = np.asarray(x)
    return x[..., 0] + 1j * x[..., 1]


def off(rate, expected, bits, printed):
    """By how many standard errors a rate is off, of our own and of the printed one's bits, and its rounding."""
    return (abs(rate - expected) - 0.5 * 10 ** -(4 if expected < 0.1 else 3)) / np.sqrt(
        expected * (1 - expected) * (1 / bits + 1 / printed)
    )


def test_gains_are_the_printed_ones(signal):
    n = published("bpsk")
    assert signal.power == pytest.approx(1) and n.power == pytest.approx(0.875)
    for sir, kappa in ((-24.0, 16.943), (-6.0, 2.1330), (-3.0, 1.5101)):
        assert gain(sir, signal, n) == pytest.approx(kappa, abs=5e-4)


def test_the_matched_filter_in_white_noise(signal, rng):
    """Check 14: equation 14 and its printed values, which 2560 samples with cut pulses meet."""
    mixtures = 200
    x = np.asarray(signal.sample(mixtures, key=jax.random.key(1)))
    white = rng.normal(size=x.shape) / 2**0.5
    for sir, printed in ((-12, 0.15751), (-9, 0.07791), (-6, 0.02249)):
        kappa = 10 ** (-sir / 20)
        assert matched_filter_error_rate(kappa) == pytest.approx(printed, abs=5e-6)
        wrong = (bits_of(signal, x + kappa * white) != bits_of(signal, x)).sum()
        assert abs(wrong / (320 * mixtures) - printed) < 3 * (printed * (1 - printed) / (320 * mixtures)) ** 0.5


def matched_rates(signal, alphabet, mixtures, sirs):
    other, rates = published(alphabet), []
    keys = jax.random.split(jax.random.key(2))
    x, n = (np.asarray(prior.sample(mixtures, key=k)) for prior, k in zip((signal, other), keys, strict=True))
    sent, z_x, z_n = bits_of(signal, x), symbols_of(signal, x), symbols_of(signal, n)
    for sir in sirs:
        received = (z_x + gain(sir, signal, other) * z_n > 0).reshape(mixtures, -1)
        rates.append((received != sent).mean())
    return np.array(rates)


@pytest.mark.parametrize("alphabet, printed", [("bpsk", MF_BPSK), ("qpsk", MF_QPSK)])
def test_the_table_of_the_matched_filter(signal, alphabet, printed):
    """Check 15, its first two rows, of 2000 mixtures there: errors come by mixture, and a bit in ten counts alone."""
    mixtures = 200
    rates = matched_rates(signal, alphabet, mixtures, SIRS)
    for rate, expected in zip(rates, printed, strict=True):
        assert off(rate, expected, 320 * mixtures, 320 * 2000) < 3, (rates, printed)


def linear_rows(signal, sirs, mixtures, alphabet="qpsk"):
    other = published(alphabet)
    C = complex_covariance(other)
    keys = jax.random.split(jax.random.key(3))
    x, n = (np.asarray(prior.sample(mixtures, key=k)) for prior, k in zip((signal, other), keys, strict=True))
    sent, x, n = bits_of(signal, x), as_complex(x), as_complex(n)
    rows = []
    for sir in sirs:
        kappa = gain(sir, signal, other)
        receiver = linear_receiver(signal, C, kappa)
        z = receiver(x + kappa * n)
        found = (np.stack([z.real, z.imag], -1) > 0).reshape(mixtures, -1)
        rows.append((10 * np.log10(receiver.error), (found != sent).mean()))
    return np.array(rows)


def test_the_covariance_of_ofdm_is_that_of_its_autocorrelation(signal):
    """In closed form, windows and phases at random; and brute force where blocks are known."""
    f, lag = np.array([*range(-28, 0), *range(1, 29)]), np.arange(-79, 80)
    r = (80 - np.abs(lag)) / 80 / 64 * np.exp(2j * np.pi * np.outer(lag, f) / 64).sum(1)
    C = complex_covariance(describe_prior(interference("bpsk", prefix=True), (200, 2), True))
    expected = np.zeros((200, 200), complex)
    for k, value in zip(lag, r, strict=True):
        expected += value * np.eye(200, k=-k)
    np.testing.assert_allclose(C, expected, atol=1e-6)
    table = {"alphabet": [1.0, 2.0], "weights": [1, 3], "ofdm": 8, "carriers": [-1, 2], "prefix": 2}
    prior = describe_prior(table, (20, 2), True)
    x = np.asarray(prior.sample(20_000, key=jax.random.key(0)), float).reshape(20_000, -1)
    mean, S = prior.moments()
    error = np.sqrt(np.diag(S).max() / len(x))
    assert np.abs(x.mean(0) - mean).max() < 5 * error + 1e-6
    np.testing.assert_allclose(np.cov(x.T), S, atol=5 * S.max() * (2 / len(x)) ** 0.5)


@pytest.mark.slow
def test_the_table_of_the_linear_estimate_at_a_ratio(signal):
    """Check 15, its last two rows, at -9 dB."""
    ((db, rate),) = linear_rows(signal, [-9.0], 50)
    assert db == pytest.approx(-5.55, abs=0.05)
    assert off(rate, 0.055, 320 * 50, 320 * 400) < 3, rate


@pytest.mark.slow
def test_the_tables_of_the_linear_estimate(signal):
    """Check 15, its last two rows."""
    rows = linear_rows(signal, SIRS, 400)
    np.testing.assert_allclose(rows[:, 0], LMMSE_DB, atol=0.05)
    for rate, expected in zip(rows[:, 1], LMMSE_QPSK, strict=True):
        assert off(rate, expected, 320 * 400, 320 * 400) < 3, rows
    np.testing.assert_allclose(linear_rows(signal, SIRS, 1, "bpsk")[:, 0], LMMSE_DB, atol=0.05)


@pytest.fixture(scope="module")
def synchronous():
    """Mixtures of 512 samples under OFDM on all carriers, without a prefix."""
    problem, _ = radio_mixtures(64, seed=1, sir=(-24.0, -15.0), length=512)
    tables = {"signal": SIGNAL, "interference": interference()}
    return problem, {s: describe_prior(table, (512, 2), True) for s, table in tables.items()}


def drawn(method, view, priors):
    found = method.bind(view, priors, key=jax.random.key(0)).draw(observation_keys(jax.random.key(1), len(view)))
    assert not found.diverged.any()
    return found


def rate_of(priors, view, found, source="signal"):
    return (bits_of(priors[source], found.samples[source]) != bits_of(priors[source], view.truth[source])).mean()


def test_successive_cancellation_finds_what_the_matched_filter_does_not(synchronous):
    """The printed rates of synchronous OFDM: 0.4004 in theory and 0 at -24 dB, 0.128 at -15 dB where carriers err."""
    problem, priors = synchronous
    far, near = problem.views.values()
    matched, cancelled = (drawn(m, far, priors) for m in (MatchedFilter(), SuccessiveCancellation()))
    bits = 64 * 64
    expected = matched_filter_error_rate(10 ** (24 / 20))
    assert expected == pytest.approx(0.4004, abs=5e-5)
    assert abs(rate_of(priors, far, matched) - expected) < 4 * (expected * (1 - expected) / bits) ** 0.5
    assert rate_of(priors, far, cancelled) <= 0.003 and rate_of(priors, far, cancelled, "interference") <= 0.002
    assert np.median(cancelled.chi_square) < 1e-6  # both signals explain the data
    assert abs(rate_of(priors, near, drawn(SuccessiveCancellation(), near, priors)) - 0.128) < 0.03


def test_under_white_interference_the_linear_estimate_is_the_matched_filter(synchronous):
    problem, priors = synchronous
    view = problem.views["SIR -15 dB"]
    found = drawn(LMMSE(), view, priors)
    H, kappa = np.asarray(priors["signal"].matrix, float), 10 ** (15 / 20)
    expected = as_complex(view.y[..., None].view(np.float32)) @ np.linalg.solve(
        H @ H.T + kappa**2 * np.eye(len(H)), H @ H.T
    )
    np.testing.assert_allclose(as_complex(found.samples["signal"]), expected, atol=1e-4)
    left = as_complex(found.samples["signal"]) + kappa * as_complex(found.samples["interference"])
    np.testing.assert_allclose(left, view.y, atol=1e-3)
    rows = np.array([5, 2])
    bound = LMMSE().bind(view, priors, key=jax.random.key(0))
    some = bound.draw(observation_keys(jax.random.key(1), 2), rows)
    np.testing.assert_allclose(some.samples["signal"], found.samples["signal"][rows], atol=1e-5)


def test_what_receivers_cannot_do_is_refused_in_words(synchronous):
    problem, priors = synchronous
    view = problem.views["SIR -15 dB"]
    smooth = {s: describe_prior({"gaussian": {"std": 1.0}}, (512, 2), True) for s in priors}
    for method, known, match in (
        (MatchedFilter(), smooth, "none of these sources is discrete"),
        (SuccessiveCancellation(), priors | {"signal": smooth["signal"]}, "source 'signal' is not discrete"),
        (LMMSE(), priors | {"interference": opaque()}, "the prior of source 'interference' does not say its own"),
    ):
        with pytest.raises(ValueError, match=match):
            method.bind(view, known, key=jax.random.key(0))
    with pytest.raises(ValueError, match="letters are not told apart"):
        bits_of(describe_prior({"alphabet": "8psk"}, (4, 2), True), np.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match="columns of this signal are not orthogonal"):
        bits_of(published("qpsk"), np.zeros((1, T, 2)))


def opaque():
    table = {"alphabet": [0.5, 1.0], "ofdm": 64, "offset": True}
    return describe_prior(table, (512, 2), True)


def test_what_is_not_decided_is_what_the_rest_leaves():
    """The matched filter needs a closed form of the signal alone."""
    problem, _ = radio_mixtures(3, seed=2, sir=(6.0,), length=512, prefix=True)
    (view,) = problem.views.values()
    signal = describe_prior(SIGNAL, (512, 2), True)
    found = drawn(MatchedFilter(), view, {"signal": signal, "interference": opaque()})
    assert rate_of({"signal": signal}, view, found) == 0
    kappa = gain(6.0, signal, published("qpsk"))
    np.testing.assert_allclose(found.samples["interference"], view.truth["interference"], atol=0.05 / kappa)


def test_samples_of_ofdm_are_demodulated_wherever_they_begin():
    """Letters of unit power up to one turn of all of them, and nothing on the empty carriers."""
    prior = describe_prior(interference("qpsk", prefix=True), (512, 2), True)
    carriers, begins = demodulated(as_complex(prior.sample(6, key=jax.random.key(4))).astype(complex))
    assert carriers.shape == (6, 5, 64) and len(set(begins)) > 1
    np.testing.assert_allclose(np.abs(carriers[..., :56]), 1, atol=1e-4)
    np.testing.assert_allclose(carriers[..., 56:], 0, atol=1e-4)
    fourth = carriers[..., :56] ** 4  # the same for all four letters
    np.testing.assert_allclose(fourth, np.broadcast_to(fourth[:, :1, :1], fourth.shape), atol=1e-3)


def test_intervals_of_error_rates():
    low, rate, high = binomial_interval(5, 200)
    expected = binomtest(5, 200).proportion_ci(0.95, "exact")
    assert (low, rate, high) == pytest.approx((expected.low, 0.025, expected.high), rel=1e-9)
    assert binomial_interval(20, 20)[1:] == (1.0, 1.0)
    with pytest.raises(ValueError, match="expected errors among trials"):
        binomial_interval(3, 2)
