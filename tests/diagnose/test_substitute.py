"""Whether a fast sampler may stand in for a slow one: students that are wrong in known ways, and one that is right."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

from dichroic import Dense, Problem, Source, View
from dichroic.diagnose import may_stand_in
from dichroic.diagnose.white import generator

NOISE = 0.8


@dataclass(frozen=True)
class Scalar:
    """One number, of equal components at `means`, seen through noise; draws `width` times as wide as the exact ones of
    a component, `shift` of their standard deviations off, and of the likeliest component alone where `seeking`.
    """

    means: tuple[float, ...]
    std: float
    width: float = 1.0
    shift: float = 0.0
    seeking: bool = False

    @property
    def shapes(self):
        return {"x": (1,)}

    def sample(self, source, n, key):
        rng = generator(key)
        return rng.choice(self.means, (n, 1)) + self.std * rng.standard_normal((n, 1))

    def given(self, name, view):
        y, means, v = np.asarray(view.y, float), np.asarray(self.means), self.std**2
        total = v + NOISE**2
        log_r = -0.5 * (y - means) ** 2 / total
        r = np.exp(log_r - log_r.max(1, keepdims=True))
        r /= r.sum(1, keepdims=True)
        centres, std = means + v / total * (y - means), np.sqrt(v * NOISE**2 / total)

        def draw(key):
            rng = generator(key)
            chosen = r.argmax(1) if self.seeking else (rng.random((len(y), 1)) > r.cumsum(1)).sum(1)
            e = self.width * rng.standard_normal(len(y)) + self.shift
            return {"x": (centres[np.arange(len(y)), np.minimum(chosen, len(means) - 1)] + std * e)[:, None]}

        return draw


GAUSSIAN, MODES = Scalar((0.0,), 1.0), Scalar((-1.0, 1.0), 0.3)


def failures(slow, seed=0, n=200, **wrong):
    rng = np.random.default_rng(seed)
    x = rng.choice(slow.means, (n, 1)) + slow.std * rng.standard_normal((n, 1))
    y = (x + NOISE * rng.standard_normal((n, 1))).astype(np.float32)
    problem = Problem({"x": Source((1,))}, {"v": View(y, {"x": Dense(np.eye(1, dtype=np.float32))}, NOISE)})
    fast = Scalar(slow.means, slow.std, **wrong)
    return may_stand_in(fast, slow, problem, key=jax.random.key(seed))


@pytest.mark.parametrize("slow", [GAUSSIAN, MODES])
@pytest.mark.parametrize("seed", range(2))
def test_an_exact_student_may(slow, seed):
    assert failures(slow, seed) == []


@pytest.mark.parametrize(
    "slow, wrong",
    [
        (GAUSSIAN, {"width": 0.9}),
        (GAUSSIAN, {"width": 0.8}),
        (GAUSSIAN, {"width": 0.6}),
        (GAUSSIAN, {"width": 1.2}),
        (GAUSSIAN, {"shift": 0.3}),
        (MODES, {"seeking": True}),
    ],
)
def test_a_student_that_is_wrong_may_not(slow, wrong):
    found = failures(slow, **wrong)
    assert found
    assert found[0].sentence.startswith(("sbc, ", "tarp, ", "chi_square, "))


def test_a_student_as_wrong_as_the_slow_sampler_may():
    slow = Scalar((0.0,), 1.0, width=0.6)
    assert failures(slow, width=0.6) == []
    assert any(failure.slow is not None for failure in failures(slow, width=0.4))
