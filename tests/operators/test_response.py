"""A response: its tangents, where the data come from, and what it must not do."""

import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import Problem, Source, View, load_problem
from dichroic.design.response import check_response
from dichroic.faults import ProblemError
from dichroic.operators import DiagonalNoise, Response
from likelihood_cases import identity, saturating

Y = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)


def test_an_identity_gives_back_the_data_to_the_last_bit():
    for m in (Y, 0 * Y, Y + 3):
        stand_in, noise = Response(0.3, identity).gaussian_at(Y, m)
        assert np.array_equal(stand_in, Y)
        assert np.all(noise.std == np.float32(DiagonalNoise(0.3).std))


def test_the_inverse_gives_the_data_where_anything_does():
    y = np.linspace(-2.8, 2.8, 41)
    m = Response(0.3, saturating).inverse(y)
    np.testing.assert_allclose(saturating(np.asarray(m)), y, atol=1e-4)
    beyond = Response(0.3, saturating).gaussian_near(jnp.array([5.0]))
    assert np.isfinite(beyond[0]).all() and np.isfinite(beyond[1].std).all()
    logarithm = Response(0.1, jnp.log)
    np.testing.assert_allclose(logarithm.inverse(np.array([-2.0, 0.5, 3.0])), np.exp([-2.0, 0.5, 3.0]), rtol=1e-3)


FILE = """
sources.a.shape = [3]
[views.v]
y = "x.npz:y"
noise = 0.1
response = "mine.py:{name}"
mixing.a = 1.0
"""


def read(folder, name, code="def bent(m):\n    return m + 0.02 * m**2\ndef mixed(m):\n    return m - m.mean()\n"):
    np.savez(folder / "x.npz", y=Y)
    (folder / "mine.py").write_text(code)
    (folder / "problem.toml").write_text(FILE.format(name=name))
    return load_problem(folder, allow_code=True).problem


def test_a_response_of_a_problem_file_runs_where_that_is_allowed(tmp_path):
    view = read(tmp_path, "bent").views["v"]
    assert isinstance(view.noise, Response) and view.noise.std == 0.1
    other = read(tmp_path, "bent", "def bent(m):\n    return m + 0.03 * m**2\n").fingerprint()
    assert other != read(tmp_path, "bent").fingerprint()
    with pytest.raises(ProblemError, match="--allow-code"):
        load_problem(tmp_path)
    with pytest.raises(ProblemError, match="mixes entries"):
        read(tmp_path, "mixed")


@pytest.mark.parametrize("unit", [2.0**-66, 2.0**60])
def test_the_units_of_the_data_do_not_matter(unit):
    y = 2.5 * np.tanh(Y)
    one, other = Response(0.3, saturating), Response(0.3 * unit, lambda m: unit * saturating(m))
    for a, b in zip(one.gaussian_at(y, Y), other.gaussian_at(unit * y, Y), strict=True):
        if isinstance(a, DiagonalNoise):
            a, b = a.std, b.std
        np.testing.assert_allclose(b, a, rtol=1e-5)
    assert "mixes entries" in str(Response(0.1, lambda m: unit * (m - jnp.mean(m))).fault(y))


@pytest.mark.parametrize(
    ("function", "std", "level"),
    [(identity, 0.1, "green"), (saturating, 0.1, "green"), (jnp.tanh, 0.4, "amber"), (lambda m: m**2, 0.1, "amber")],
)
def test_the_check_says_whether_tangents_will_do(function, std, level):
    view = Problem({"a": Source((3,))}, {"v": View(Y, {"a": 1.0}, Response(std, function))}).views["v"]
    found = check_response("v", view)
    assert (found.level, found.code) == (level, "DC123")
