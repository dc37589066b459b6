r"""Which of two beliefs about the sources held-out observations are nearer to, observation by observation.

For every observation :math:`y_i`, beliefs `a` and `b` simulate :math:`z^a_{ir}` and :math:`z^b_{ir}` through its
operators, `r = 1 \ldots R`, with the same noise and from the same random numbers. A classifier learns to tell the
second from the first, and never sees an observation. With its scores `f`,

.. math:: g = \tanh(f / 2) , \qquad d_i = g(y_i)
    - \frac{1}{2 R'} \sum_r \left[ g(z^a_{ir}) + g(z^b_{ir}) \right] ,

the sum over the simulations that it did not learn from. Where it is perfect, :math:`g = (p_b - p_a) / (p_b + p_a)`, and
the mean of `d` is zero for a law half-way between the two, :math:`(p_a + p_b) / 2`. Whatever it is, a mean above zero
says that in the respect in which it tells them the observations are nearer to `b`.

Two laps differ by far less than either differs from the data, so that the difference of two areas under curves
(`dichroic.diagnose.law`), each with the error of its own classifier and observations, drowns what is sought; here every
observation is compared with itself, and chance in it falls out. What remains of it in the classifier is measured:
`COPIES` of them learn from simulations of their own, and the error of the mean has their spread in it.
"""

from dataclasses import dataclass

import numpy as np

from dichroic.diagnose.case import Case
from dichroic.diagnose.classifier import Inputs, train_and_score
from dichroic.diagnose.model import Model

__all__ = ["COPIES", "EACH", "Nearer", "nearer"]

COPIES = 4
EACH = 2  # simulations of every observation that one of them learns from
_POOL = 512  # prior draws that say where observations are expected
_DOUBT = 3.0  # standard errors


@dataclass(frozen=True)
class Nearer:
    """The mean of `d` with its standard error, and how far apart the beliefs are: the mean of `g` over simulations of
    `b` less that over those of `a`, with its own.
    """

    gain: float
    error: float
    apart: float
    apart_error: float

    @property
    def told(self) -> bool:
        """Whether the observations could tell `a` and `b` at all."""
        return self.apart > _DOUBT * self.apart_error

    @property
    def errors(self) -> float:
        """The gain in standard errors."""
        return self.gain / max(self.error, 1e-12)  # both are shares of a way

    @property
    def better(self) -> bool:
        """Whether the observations are nearer to `b` beyond doubt."""
        return self.told and self.errors > _DOUBT

    @property
    def worse(self) -> bool:
        """Whether they are nearer to `a`, beyond as much doubt as is usual."""
        return self.errors < -2

    @property
    def place(self) -> float:
        """Where the observations are on the way from `a`, at 0, to `b`, at 1; beyond 1 where `b` is on the way."""
        return 0.5 + self.gain / self.apart if self.apart > 0 else float("nan")


def nearer(case: Case, other: Model, view: str) -> Nearer:
    """Compares the belief of a case with another one, on a view.

    **Arguments:** `other`, the belief `b`; that of the case is `a`. Sources that both believe the same of are drawn
    the same.
    """
    most = case.budget.law[0] // (COPIES * EACH)
    white = case.part_of(view, np.arange(min(most, len(case.views[view]))))
    n, R = len(white), COPIES * EACH

    def simulated(model: Model) -> list[np.ndarray]:
        """One more than take part, for the units: all draws at once, by keys that do not know the belief."""
        x = {s: model.sample(s, n * (1 + R), case.key_for("nearer", view, s)) for s in white.sources}
        parts = {s: np.asarray(v).reshape(1 + R, n, *v.shape[1:]) for s, v in x.items()}
        rng = case.rng("nearer", view)
        return [white.replayed({s: v[r] for s, v in parts.items()}, rng) for r in range(1 + R)]

    (unit, *of_a), (_, *of_b) = simulated(case.model), simulated(other)
    pools = {s: case.prior_pool(s, _POOL) for s in white.sources}
    inputs = Inputs.of(white, [*of_a, *of_b], unit, pools)
    d, apart = np.empty((COPIES, n)), np.empty((COPIES, n))
    for copy in range(COPIES):
        own = np.arange(copy * EACH, (copy + 1) * EACH)
        pairs = 1 + np.stack([R + own, own])
        f = train_and_score(inputs, case.rng("nearer", view, copy).permutation(n), case.key_for(view, copy), pairs)
        g = np.tanh(f / 2)
        fresh = 1 + np.setdiff1d(np.arange(R), own)
        a, b = g[:, fresh].mean(1), g[:, R + fresh].mean(1)
        d[copy], apart[copy] = g[:, 0] - (a + b) / 2, b - a
    return Nearer(*_mean(d), *_mean(apart))


def _mean(x: np.ndarray) -> tuple[float, float]:
    """Of copies `(K, n)`: the error has the spread between observations and that between copies."""
    K, n = x.shape
    observations = x.mean(0).var(ddof=1) / n
    return float(x.mean()), float(np.sqrt(observations + x.mean(1).var(ddof=1) / K))
