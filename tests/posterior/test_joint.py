"""Functions of several sources: against quadrature, and two layers of which the front one hides the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import Problem, Source, View, load_problem
from dichroic.design.joint import check_bending
from dichroic.diffusion import DenoiserPrior, Empirical, GaussianDenoiser, Scaling
from dichroic.faults import ProblemError
from dichroic.operators import Response, take
from dichroic.posterior import MomentMatching, observation_keys

SHAPE, STD, SPREAD = (1, 3), 0.05, 0.25


def unit(d):
    return GaussianDenoiser(np.zeros(d), np.zeros((*d, 0)).reshape(int(np.prod(d)), 0), np.zeros(0), np.ones(()))


def gaussian(shape, mean, std):
    return DenoiserPrior(unit(shape), scaling=Scaling(mean, std))


def product(a, b):
    return a * b


def occlude(front, back):
    opaque = jax.nn.sigmoid((front - 0.5) / 0.1)
    return opaque * front + (1 - opaque) * back


@pytest.mark.parametrize(("y", "std"), [pytest.param(0.6, 0.3, marks=pytest.mark.slow), (0.6, 0.05)])
def test_a_product_has_the_moments_of_quadrature(y, std, getkey):
    n, priors = 1024, {"a": (1.0, 0.4), "b": (0.4, 0.5)}
    sources = {s: Source((1,)) for s in priors}
    view = Problem(sources, {"v": View(np.full((n, 1), y, np.float32), {("a", "b"): product}, std)}).views["v"]
    known = {s: gaussian((1,), *p) for s, p in priors.items()}
    x = MomentMatching(steps=12).bind(view, known, key=getkey()).draw(observation_keys(getkey(), n)).samples
    grid = {s: np.linspace(m - 6 * w, m + 6 * w, 1201) for s, (m, w) in priors.items()}
    log_p = -((y - np.outer(grid["a"], grid["b"])) ** 2) / 2 / std**2
    for (s, (m, w)), shape in zip(priors.items(), ((-1, 1), (1, -1)), strict=True):
        log_p = log_p - ((grid[s] - m) ** 2 / 2 / w**2).reshape(shape)
    p = np.exp(log_p)
    for axis, s in enumerate(priors):
        marginal = p.sum(1 - axis) / p.sum()
        mean = marginal @ grid[s]
        spread = np.sqrt(marginal @ (grid[s] - mean) ** 2)
        assert abs(x[s].mean() - mean) < (0.05 + 4 / np.sqrt(n)) * spread
        assert abs(x[s].std() / spread - 1) < 0.05 + 4 / np.sqrt(2 * n)


@pytest.mark.slow
def test_the_back_has_the_width_of_its_prior_under_the_front(getkey, rng):
    """Atoms in front, white noise behind: given the atom everything is linear, and known exactly."""
    atoms = np.zeros((3, *SHAPE), np.float32)
    atoms[0, 0, 1], atoms[1, 0, 2], atoms[2, 0, 0] = 1.0, 0.9, 1.1
    n, shape, front = 1024, SHAPE, atoms[0]
    back = 0.5 + SPREAD * rng.normal(size=shape)
    seen = np.asarray(occlude(front, back)) + STD * rng.normal(size=shape)
    view = Problem(
        {"front": Source(shape), "back": Source(shape)},
        {"v": View(np.broadcast_to(seen.astype(np.float32), (n, *shape)), {("front", "back"): occlude}, STD)},
    ).views["v"]
    known = {"front": Empirical.of(atoms), "back": gaussian(shape, 0.5, SPREAD)}
    x = MomentMatching(steps=12).bind(view, known, key=getkey()).draw(observation_keys(getkey(), n)).samples
    shows = 1 - np.asarray(jax.nn.sigmoid((front - 0.5) / 0.1))
    exact = 1 / np.sqrt(1 / SPREAD**2 + (shows / STD) ** 2)
    mean = 0.5 + exact**2 * shows / STD**2 * (seen - (1 - shows) * front - shows * 0.5)
    hidden = front > 0.5
    assert abs(x["back"].std(0)[hidden].mean() / SPREAD - 1) < 0.05
    assert abs(x["back"].std(0)[~hidden].mean() / exact[~hidden].mean() - 1) < 0.05
    assert np.abs((x["back"].mean(0) - mean) / exact).max() < 0.25


@pytest.mark.slow
def test_a_square_leaves_two_modes_of_equal_weight(getkey):
    """Strong, and symmetric: turns of the chain, and no tangent, find both ends."""
    n, noise = 2048, Response(0.1, lambda m: m**2)
    view = Problem({"x": Source((1,))}, {"v": View(np.full((n, 1), 1.2, np.float32), {"x": 1.0}, noise)}).views["v"]
    bound = MomentMatching(steps=12, mcmc=4).bind(view, {"x": gaussian((1,), 0.0, 1.0)}, key=getkey())
    x = bound.draw(observation_keys(getkey(), n)).samples["x"]
    grid = np.linspace(0, 5, 4001)
    p = np.exp(-(grid**2) / 2 - (1.2 - grid**2) ** 2 / 2 / 0.1**2)
    mean = p @ grid / p.sum()
    assert abs((x > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    assert abs(np.abs(x).mean() / mean - 1) < 0.01
    assert abs(np.abs(x).std() / np.sqrt(p @ (grid - mean) ** 2 / p.sum()) - 1) < 0.05 + 4 / np.sqrt(2 * n)


FILE = """
sources.front.shape = [1, 3]
sources.back.shape = [1, 3]
[views.v]
y = "x.npz:y"
noise = 0.05
mixing.pair = {{ function = "mine.py:{name}", sources = ["front", "{other}"]{more} }}
"""
CODE = """
def occlude(front, back):
    return front**2 * front + (1 - front**2) * back
def faded(front, back, share):
    return front + 0.01 * share * back
def short(front, back):
    return (front + back)[0]
"""


def read(folder, name, other="back", more=""):
    np.savez(folder / "x.npz", y=np.random.default_rng(0).normal(size=(40, 1, 3)).astype(np.float32), share=np.ones(40))
    (folder / "mine.py").write_text(CODE)
    (folder / "problem.toml").write_text(FILE.format(name=name, other=other, more=more))
    return load_problem(folder, allow_code=True).problem


def test_a_problem_file_names_the_function_and_the_check_measures_it(tmp_path):
    problem = read(tmp_path, "occlude")
    view = problem.views["v"]
    assert set(view.mixing) == {"front", "back"} and not view.is_gaussian and view.gaussian.is_gaussian
    one = take(view.select(np.arange(7, 9)).observations, 1)
    x = {s: jnp.full((1, 3), value, jnp.float32) for s, value in (("front", 0.5), ("back", 2.0))}
    np.testing.assert_allclose(one.mixture(x), 0.5**3 + 0.75 * 2)
    near = one.gaussian_at(x)
    np.testing.assert_allclose(near.y - near.mixture(x), one.y - one.mixture(x), atol=1e-6)
    (found,) = check_bending("v", view)
    assert (found.level, found.code) == ("amber", "DC124")
    more = ', parameters = { array = "x.npz:share", per_sample = true }'
    (found,) = check_bending("v", read(tmp_path, "faded", more=more).views["v"])
    assert found.level == "green"
    assert problem.fingerprint() != read(tmp_path, "faded", more=more).fingerprint()
    with pytest.raises(ProblemError, match="--allow-code"):
        load_problem(tmp_path)
    with pytest.raises(ProblemError, match="it returns shape"):
        read(tmp_path, "short")
    with pytest.raises(ProblemError, match="unknown source 'bakc'"):
        read(tmp_path, "occlude", "bakc")
    with pytest.raises(ProblemError, match="enters twice"):
        View(np.zeros((2, 3)), {("a", "b"): product, "a": 1.0}, 0.1)
