"""What separates with one source eliminated, along the probability flow or from a mixture, and score distillation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from dichroic.diffusion import DenoiserPrior, GaussianDenoiser, Schedule
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import (
    MSDM,
    PUBLISHED_LEVELS,
    DiracMSDM,
    ReverseDiffusion,
    ScoreDistillation,
    observation_keys,
    read_method,
)
from dichroic.posterior.method import Task
from dichroic.problem import Source, View
from dichroic.settings import FitConfig
from posterior_cases import whiten

D = 3
VARIANCES = {"x": np.array([1.0, 0.3, 2.0]), "n": np.array([0.5, 1.0, 0.2])}
MATRICES = {
    "x": 2 * np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0],  # of squared gain 4, every way
    "n": np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0] * np.array([2.5, 3.0, 4.0]),
}
Y = np.array([1.0, -2.0, 0.5])
EXACT = ["modified_basis", "msdm_dirac"]
OTHERS = ["msdm", "basis", "reverse_diffusion", "score_distillation"]


def known(variances=VARIANCES):
    return {s: GaussianDenoiser(np.zeros(D), np.eye(D), v, np.zeros(())) for s, v in variances.items()}


def priors(variances=VARIANCES):
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), known(variances))
    return {s: DenoiserPrior(d, Schedule(0.01, 10.0)) for s, d in single.items()}


def view(n=1, noise=0.0, matrices=MATRICES, **settings):
    mixing = {s: Dense(A.astype(np.float32)) for s, A in matrices.items()}
    y = np.tile(Y, (n, 1)).astype(np.float32)
    return View(y, mixing, noise, **settings).bind({s: Source((D,)) for s in matrices})


def core_of(method, exact=True):
    """The leg, or what draws, of double-precision priors."""
    doubles = {s: DenoiserPrior(d, Schedule(0.01, 10.0)) for s, d in known().items()}
    return method.sampler(Task(view().noisy, doubles, jax.random.key(0), exact=exact))[0]


@pytest.mark.usefixtures("float64")
def test_directions_of_the_probability_flow_are_their_formulas(rng):
    sigma, std = 0.7, 0.4
    level = jnp.asarray(sigma)
    x = {s: rng.normal(size=D) for s in ("x", "n")}
    A, B = MATRICES["x"], MATRICES["n"]
    score = {s: -x[s] / (VARIANCES[s] + sigma**2) for s in x}
    pivot = np.linalg.solve(B, Y - A @ x["x"])
    of_pivot = -pivot / (VARIANCES["n"] + sigma**2)
    r = Y - A @ x["x"] - B @ x["n"]
    width = std**2 + 0.25 * sigma**2 * 4
    expected = {
        "dirac": score["x"] - (np.linalg.inv(B) @ A).T @ of_pivot,
        "gaussian": score["x"] + A.T @ r / width,
        "by gains": score["x"] + A.T @ np.linalg.solve(std**2 * np.eye(D) + 0.25 * sigma**2 * (A @ A.T + B @ B.T), r),
        "without noise": score["n"] + B.T @ r / (sigma**2 * 4),
    }

    @jax.jit
    def run(x):
        mixing = {s: Dense(a) for s, a in MATRICES.items()}
        noisy, exact = whiten(Y, mixing, DiagonalNoise(std)), whiten(Y, mixing, DiagonalNoise(1.0))
        eliminated = core_of(DiracMSDM()).legs[0].build(exact, False)
        return {
            "dirac": eliminated.mean(x, level)[0],
            "gaussian": core_of(MSDM(gamma=0.5, width="level"), False).legs[0].build(noisy, False).mean(x, level)[0],
            "by gains": core_of(MSDM(gamma=0.5), False).legs[0].build(noisy, False).mean(x, level)[0],
            "without noise": core_of(MSDM(width="level")).legs[0].build(exact, False).mean(x, level)[0],
        }, eliminated.settled(x, level, jax.random.key(0))["n"]

    found, left = run(jax.tree.map(jnp.asarray, x))
    for name, mean in found.items():
        s = "n" if name == "without noise" else "x"
        np.testing.assert_allclose((mean[s] - x[s]) / sigma**2, expected[name], rtol=1e-8, err_msg=name)
    np.testing.assert_allclose(left, pivot, rtol=1e-8)


@pytest.mark.usefixtures("float64")
def test_score_distillation_settles_where_its_loss_is_least():
    """Of Gaussian sources, averaged over levels and noise: equation (7) with each level's own weight."""
    levels = np.array(PUBLISHED_LEVELS)
    core = replace(core_of(ScoreDistillation(steps=400)), average=True, rate=3.0)
    whitened = whiten(Y, {s: Dense(a) for s, a in MATRICES.items()}, DiagonalNoise(1.0))
    x = jax.jit(lambda key: core.draw(whitened, {}, False, False, key=key)[0])(jax.random.key(0))
    P = {s: (levels / (v[:, None] + levels**2)).mean(1) for s, v in VARIANCES.items()}
    K = np.linalg.solve(MATRICES["n"], MATRICES["x"])  # what is left for the other falls by it
    fixed = np.linalg.solve(
        np.diag(P["x"]) + K.T @ np.diag(P["n"]) @ K, K.T @ (P["n"] * np.linalg.solve(MATRICES["n"], Y))
    )
    np.testing.assert_allclose(x["x"], fixed, atol=1e-5)
    with pytest.raises(ValidationError, match="'score_distillation' gives one estimate per observation"):
        FitConfig(sampling=ScoreDistillation())


@pytest.mark.parametrize("noise", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_reverse_diffusion_is_exact_where_the_other_source_is_white(noise):
    n, white = 1024, {"x": np.ones(D), "n": VARIANCES["n"]}
    matrices = {"x": MATRICES["x"], "n": 3 * np.eye(D)}
    drawn = (
        ReverseDiffusion(steps=64, batch=n)
        .bind(view(n, noise, matrices), priors(white), key=jax.random.key(0))
        .draw(observation_keys(jax.random.key(1), n))
    )
    v = 1 / (1 / VARIANCES["n"] + 9 / (4 + noise**2))
    x = drawn.samples["n"]
    np.testing.assert_allclose(x.mean(0), v * 3 / (4 + noise**2) * Y, atol=4 * np.sqrt(v.max() / n) + 0.01)
    np.testing.assert_allclose(x.var(0), v, rtol=4 * np.sqrt(2 / n) + 0.03)
    if not noise:
        np.testing.assert_allclose(drawn.samples["x"] @ MATRICES["x"].T + 3 * x, np.tile(Y, (n, 1)), atol=1e-4)


@pytest.mark.parametrize("kind", [*EXACT, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)])
def test_draws_do_not_depend_on_their_batch_and_meet_the_data(kind):
    table = {"kind": kind, "steps": 4, **({"rounds": 3} if "basis" in kind else {})}
    n, method, data = 6, read_method(table), view(6)
    keys = observation_keys(jax.random.key(1), n)
    bound = method.bind(data, priors(), key=jax.random.key(0))
    drawn, rows = bound.draw(keys), np.array([5, 2])
    some = bound.draw(keys[rows], rows)
    assert drawn.cost.forward == (12 if "basis" in kind else 4 if kind[0] in "rs" else 5)
    for s in data.mixing:
        np.testing.assert_allclose(some.samples[s], drawn.samples[s][rows], rtol=1e-4, atol=1e-5)
    mixed = sum(drawn.samples[s] @ A.T for s, A in MATRICES.items())
    if kind in ("msdm", "basis"):
        assert np.abs(mixed - Y).max() > 1e-2
    else:
        np.testing.assert_allclose(mixed, np.tile(Y, (n, 1)), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "data", "words"),
    [
        (DiracMSDM(), view(2, 0.1), "is for data without noise"),
        (DiracMSDM(pivot="z"), view(2), "no source 'z' in this view; there are: x, n"),
        (DiracMSDM(), view(2, matrices={"x": MATRICES["x"]}), "and here is 'x' alone"),
        (
            DiracMSDM(),
            view(2, observed=np.array([True, False, True])),
            "it has 3 numbers, and an observation 3, of which some are missing",
        ),
        (ReverseDiffusion(), view(2, matrices={"x": MATRICES["x"]}), "here are 1"),
    ],
)
def test_what_cannot_be_eliminated_is_refused(method, data, words):
    with pytest.raises(ValueError, match=words):
        method.bind(data, priors(), key=jax.random.key(0))
