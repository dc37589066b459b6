"""Data without noise are a constraint: methods that take it separate, and all else refuses them in words."""

import jax
import numpy as np
import pytest

from dichroic.baselines import BASELINES
from dichroic.posterior import AlphaRGS, MomentMatching
from dichroic.problem import Problem, ProblemError, Source, View
from dichroic.run import RunError, fit, separate
from dichroic.run.known import known_priors


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x, n = (rng.choice([-1.0, 1.0], size=(20, 3)) for _ in range(2))
    sources = {s: Source((3,)) for s in ("x", "n")}
    return Problem(sources, {"v": View(x + 2 * n, {"x": 1.0, "n": 2.0}, 0.0, truth={"x": x, "n": n})})


def test_what_learns_refuses_them(problem, tmp_path):
    with pytest.raises(ProblemError, match=r"view 'v' has no noise .*: a fit needs some; only separating takes it"):
        fit(problem, out=tmp_path / "run")
    with pytest.raises(ProblemError, match="view 'v' has no noise"):
        BASELINES["wiener"].fit(problem)


def test_they_are_separated_without_a_fit(problem):
    priors = known_priors({s: {"alphabet": "bpsk"} for s in ("x", "n")}, problem)
    found = separate(problem, priors, key=jax.random.key(0), sampling=AlphaRGS(batch=32))
    assert found.point
    for s, x in problem.views["v"].truth.items():
        np.testing.assert_allclose(np.asarray(found.samples["v"][s])[:, 0], x, atol=1e-5)
    with pytest.raises(RunError, match="'annealed' needs noise, and these data have none; without noise: "):
        separate(problem, priors, key=jax.random.key(0), sampling=MomentMatching())
