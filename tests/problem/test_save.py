"""Saved problems come back the same."""

import numpy as np
import pytest

from dichroic.operators import (
    AsComplex,
    BlockProject,
    Convolve,
    Dense,
    DenseNoise,
    DiagonalNoise,
    Downsample,
    FourierSample,
    GaussianNoise,
    Identity,
    LinearFunction,
    Mask,
    PerSample,
    Scale,
)
from dichroic.problem import Problem, ProblemError, Source, View, load_problem, save_problem

RNG = np.random.default_rng(0)
N = 3
IMAGE = RNG.normal(size=(N, 4, 4, 1))
ROOT = RNG.normal(size=(16, 16))
COVARIANCE = ROOT @ ROOT.T + np.eye(16)
MASK = RNG.random((N, 4, 4, 1)) < 0.7

IMAGES = {
    "number": (1.0, 0.1),
    "whole number": (2, 1),
    "small number": (np.float32(0.1), np.float32(0.1)),
    "identity": (Identity((4, 4, 1)), np.full((4, 4, 1), 0.1)),
    "mask": (Mask(MASK[0]), DiagonalNoise(np.float32(0.3))),
    "masks": (PerSample(Mask(MASK)), PerSample(np.full(N, 0.2, np.float32))),
    "amplitudes": (PerSample(np.arange(3)), PerSample(np.full((N, 4, 4, 1), 0.2))),
    "blocks": (PerSample(BlockProject(np.array([1, 2, 4]), (1, 2, 4), (4, 4, 1))), 0.1),
    "blur": (Convolve(RNG.random((3, 3)), (4, 4, 1), "wrap"), 0.1),
    "chain": (PerSample(Mask(MASK)) @ Convolve(RNG.random(3), (4, 4, 1)) @ Identity((4, 4, 1)), 0.1),
    "sum": (Identity((4, 4, 1)) + PerSample(Mask(MASK)), 0.1),
    "covariance": (1.0, DenseNoise.from_covariance(COVARIANCE)),
    "covariances": (1.0, PerSample(DenseNoise.from_covariance(np.stack([COVARIANCE, 2 * COVARIANCE, np.eye(16)])))),
}


def _problem(operator, noise, **rest):
    return Problem(
        {"a source": Source((4, 4, 1), "mJy")}, {"a view.": View(IMAGE, {"a source": operator}, noise, **rest)}
    )


def _same(problem, folder):
    path = save_problem(problem, folder)
    loaded = load_problem(path)
    assert loaded.held_out is None and loaded.fit == {}
    again = loaded.problem
    assert again.fingerprint() == problem.fingerprint()
    assert again.title == problem.title
    assert again.sources == problem.sources
    for name, view in problem.views.items():
        assert set(again.views[name].truth) == set(view.truth)
        for source, x in view.truth.items():
            np.testing.assert_array_equal(again.views[name].truth[source], x)
    return again


@pytest.mark.parametrize("observed", [None, MASK, MASK[0]], ids=["complete", "masks", "one mask"])
@pytest.mark.parametrize("name", IMAGES)
def test_there_and_back(tmp_path, name, observed):
    operator, noise = IMAGES[name]
    problem = _problem(operator, noise, observed=observed, truth={"a source": 2 * IMAGE})
    again = _same(problem, tmp_path / "new" / "folder")
    _same(again, tmp_path / "again")


def test_other_shapes_and_types(tmp_path):
    y = (RNG.normal(size=(N, 4)) + 1j * RNG.normal(size=(N, 4))).astype(np.complex64)
    problem = Problem(
        {"pair": Source((4, 2)), "vector": Source((5,)), "signal": Source((8, 1))},
        {
            "complex": View(y, {"pair": AsComplex((4, 2)), "vector": Dense(np.ones((4, 5)) * 1j)}, 0.1),
            "sampled": View(y, {"pair": FourierSample(np.array([1, 0, 1, 1]), (4,)) @ AsComplex((4, 2))}, 0.1),
            "rotated": View(
                y, {"vector": Dense(1j * np.ones((4, 5)), (5,)), "pair": Scale(1j, (4,)) @ AsComplex((4, 2))}, 0.1
            ),
            "real": View(np.ones((N, 8)), {"signal": Dense(np.eye(8), (8, 1))}, 0.1),
            "coarse": View(np.ones((N, 2, 1)), {"pair": Downsample(2, (4, 2))}, 0.1),
        },
        title='A "title" with\nlines, \\ and Ü',
    )
    _same(problem, tmp_path)


def test_saving_over_an_older_problem(tmp_path):
    save_problem(_problem(1.0, 0.1), tmp_path)
    _same(_problem(2.0, 0.2), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["arrays.npz", "problem.toml"]


def test_a_loaded_file_can_be_saved(folder, tmp_path):
    _same(load_problem(folder).problem, tmp_path / "copy")


def test_functions_are_refused(tmp_path):
    problem = _problem(LinearFunction(lambda x, p: 2 * x, (4, 4, 1)), 0.1)
    message = r"view 'a view.': source 'a source': a LinearFunction is Python code and is not written to a file"
    with pytest.raises(ProblemError, match=message):
        save_problem(problem, tmp_path / "new")
    assert not (tmp_path / "new").exists()


class Own(GaussianNoise):
    """A user's own noise."""

    def whiten(self, r):
        return r

    def unwhiten(self, z):
        return z

    def solve(self, r):
        return r

    def log_det(self, observed):
        return 0.0


def test_other_noise_is_refused(tmp_path):
    with pytest.raises(ProblemError, match=r"view 'a view.': noise of the class Own cannot be written to a file"):
        save_problem(_problem(1.0, Own()), tmp_path)
