"""What is said of a source is doubted where the data contradict it, and nowhere else."""

import numpy as np
import pytest

from dichroic.design.beforehand import check_beforehand
from dichroic.problem import Problem, Source, View

N, D = 400, 8


def problem(target, background=None, **known) -> Problem:
    """A background by itself, and with a target of which something is said."""
    rng = np.random.default_rng(3)
    if background is None:
        background = 0.3 * rng.multivariate_normal(
            np.zeros(D), 0.8 ** np.abs(np.subtract.outer(range(D), range(D))), 2 * N
        )
    target = target(rng)
    noisy = lambda x: x + 0.2 * rng.normal(size=x.shape)  # noqa: E731
    views = {
        "background": View(noisy(background[:N]), {"background": 1.0}, 0.2),
        "both": View(noisy(background[N:] + target), {"background": 1.0, "target": 1.0}, 0.2),
    }
    return Problem({"background": Source((D,), symmetry=["flip", "shift"]), "target": Source((D,), **known)}, views)


def rising(rng):
    """Mirrored pairs in mean, but never in covariance."""
    return 1 + rng.normal(size=(N, D)) * np.linspace(0.2, 2, D)


def even(rng):
    return np.clip(0.5 + 0.25 * rng.normal(size=(N, D)), 0, 1)


def codes(problem):
    return [(finding.code, finding.where) for finding in check_beforehand(problem)]


@pytest.mark.slow
def test_what_holds_is_not_doubted():
    assert codes(problem(even, symmetry=["flip"], range=[0, 1])) == []
    assert codes(problem(even, positive=True)) == []


def test_nothing_said_is_nothing_done(monkeypatch):
    monkeypatch.setattr("dichroic.design.beforehand.gaussian_em", None)
    silent = problem(even)
    assert check_beforehand(Problem({s: Source((D,)) for s in silent.sources}, silent.views)) == []
    assert check_beforehand(silent, known=["background"]) == []


@pytest.mark.parametrize("symmetry", [["flip"], ["shift"]])
def test_a_symmetry_that_does_not_hold(symmetry):
    found = check_beforehand(problem(rising, symmetry=symmetry))
    assert [(finding.code, finding.where, finding.level) for finding in found] == [
        ("DC131", "source 'target'", "amber")
    ]
    assert f"'{symmetry[0]}'" in found[0].text and "standard error" in found[0].text


def test_it_is_said_which():
    def drifting(rng):
        half = rng.normal(size=(N, D // 2)) * np.linspace(0.2, 2, D // 2)
        return np.concatenate([half, half[:, ::-1]], 1)  # its own mirror image, and not stationary

    found = check_beforehand(problem(drifting, symmetry=["flip", "shift"]))
    assert "'shift'" in found[0].text and "'flip'" not in found[0].text


@pytest.mark.parametrize(
    "known, words",
    [
        ({"range": [0, 0.3]}, "lies outside the range [0, 0.3]"),
        ({"range": [None, 0]}, "lies outside the range [-inf, 0]"),
        ({"range": [0.4, 0.6]}, "at most: is it in another unit?"),
    ],
)
def test_a_range_that_does_not_hold(known, words):
    (found,) = check_beforehand(problem(even, **known))
    assert found.code == "DC132" and found.where == "source 'target'"
    assert words in found.text
