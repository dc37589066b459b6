r"""Replay: does the model make the data?

For every held-out observation, sources are drawn from the priors and sent through its own operators and noise,
:math:`z = \sum_s A'_s x_s + n'`; each observation is then ranked among its replays. Ranked are

* the Mahalanobis norm :math:`q = (z - \bar z)^\top C^{-1} (z - \bar z)` with the covariance `C` of replays of the same
  observation, which for Gaussian priors is the evidence up to a constant: the best single question, asked of its mean
  too;
* the fourth powers of :math:`C^{-1/2}(z - \bar z)`, which see tails and sparseness;
* the leading entries of :math:`z`, which see what is brighter or fainter than it should be.

Replays of different observations have no source in common, so the ranks are independent, and their p-values exact. Long
observations are first projected on the leading directions of their replays and on random ones. It is EM's own aim,
tested on data it has not seen, and says nothing about the sampler.
"""

import numpy as np

from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.ranks import RankCounter, mean_test, normal_scores, score_tests
from dichroic.diagnose.result import Question, Result, conclude
from dichroic.diagnose.white import WhiteView
from dichroic.problem import blocks_of

__all__ = ["replay"]

_POOL = 512  # prior draws that say how replays vary
_DIRECTIONS = 24  # of long observations, half leading and half random
_SAMPLES = 96  # replays per observation that its covariance is taken from, where operators are not formed
_ENTRIES = 8  # ranked one by one
_MAIN = 40.0  # weight of the best single question


def replay(case: Case, report: Report) -> Result:
    """Held-out observations ranked among replays of themselves."""
    parts, arrays, total = [], {}, 0
    for done, (name, white) in enumerate(case.views.items()):
        seen = white.count > 0
        total += int(seen.sum())
        standard = _Standard(case, name, white)
        asked = standard.ask(white.y)
        counters = {q: RankCounter(np.where(seen, value, np.nan)) for q, value in asked.items()}
        rng, sums = case.rng("replay", name), np.zeros(len(white))
        for k in range(case.budget.replicates):
            x = {s: case.model.sample(s, len(white), case.key_for("replay", name, s, k)) for s in white.sources}
            again = standard.ask(white.replayed(x, rng))
            for q, value in again.items():
                counters[q].add(value)
            sums += again["norm"]
            report((done + (k + 1) / case.budget.replicates) / len(case.views))
        for q, counter in counters.items():
            u = counter.uniform(rng)
            parts += _parts(name, q, u)
            if q == "norm":
                arrays[f"{name}/ranks"] = np.histogram(u[np.isfinite(u)], np.linspace(0, 1, 21))[0]
        norm, replayed = asked["norm"][seen] / standard.size, (sums / case.budget.replicates)[seen] / standard.size
        parts.append(_size(name, norm, replayed))
        arrays |= {f"{name}/norm": norm, f"{name}/replayed": replayed}
    draws = case.budget.replicates
    return conclude("replay", parts, case.checks, observations=total, draws=draws, arrays=arrays)


def _parts(view: str, quantity: str, u: np.ndarray) -> list[Question]:
    tests = score_tests(normal_scores(u))
    limits = {"bias": (0.0, 0.06, 0.35), "spread": (1.0, 0.06, 0.3), "shape": (0.0, 0.06, 0.2)}
    return [
        Question(view, f"{quantity}, {what}", value, limits[what][0], p, *limits[what][1:])
        for what, (value, p) in tests.items()
    ]


def _size(view: str, norm: np.ndarray, replayed: np.ndarray) -> Question:
    """The best single question, with most of the permitted alarms: means see what ranks forgive, a heavy tail."""
    p = mean_test(norm - replayed)[1]
    # of whitened observations: the floor has no unit
    ratio = float(norm.mean() / max(float(replayed.mean()), 1e-30)) if len(norm) else float("nan")
    return Question(view, "size", ratio, 1.0, p, 0.02, 0.3, _MAIN)


class _Standard:
    """What is asked of an observation, in coordinates in which its replays are white. No test data enters it."""

    def __init__(self, case: Case, name: str, white: WhiteView):
        pools = {s: case.prior_pool(s, _POOL) for s in white.sources}
        shapes = white.shapes
        n, m = len(white), white.observed.shape[1]
        rng = case.rng("replay directions", name)
        self.P = None
        if m > _DIRECTIONS:
            rows = rng.integers(n, size=_POOL)
            replays = white.mix({s: pools[s].reshape(-1, *shapes[s]) for s in pools}, rows)
            leading = np.linalg.svd(replays - replays.mean(0), full_matrices=False)[2][: _DIRECTIONS // 2]
            random = rng.standard_normal((_DIRECTIONS - len(leading), m))
            self.P = np.linalg.qr(np.concatenate([leading, random]).T)[0]
        self.size = m if self.P is None else _DIRECTIONS
        self.mean = self._project(
            white.mix({s: np.broadcast_to(p.mean(0).reshape(shapes[s]), (n, *shapes[s])) for s, p in pools.items()})
        )
        C = np.broadcast_to(np.eye(self.size), (n, self.size, self.size)) + self._covariance(case, white, pools, rng)
        self.L = np.linalg.inv(np.linalg.cholesky(C))

    def _project(self, z: np.ndarray) -> np.ndarray:
        return z if self.P is None else z @ self.P

    def _covariance(
        self, case: Case, white: WhiteView, pools: dict[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        if white.can_be_dense and len(white) * sum(p.shape[1] for p in pools.values()) < 2**18:
            A = white.matrices()
            A = A if self.P is None else self.P.T @ A
            total = np.zeros((len(A), self.size, self.size))
            for s, at in blocks_of(white.shapes).items():
                block = A[:, :, at]
                total += block @ np.atleast_2d(np.cov(pools[s].T)) @ block.transpose(0, 2, 1)
            return total
        if white.view.shared:
            rows, count = np.zeros(_POOL, int), 1
        else:
            rows, count = np.repeat(np.arange(len(white)), _SAMPLES), len(white)
        each = len(rows) // count
        chosen = {s: np.tile(rng.permutation(_POOL)[:each], count) for s in pools}
        mixed = white.mix({s: pools[s][chosen[s]].reshape(-1, *white.shapes[s]) for s in pools}, rows)
        w = self._project(mixed).reshape(count, each, self.size)
        w = w - w.mean(1, keepdims=True)
        return w.transpose(0, 2, 1) @ w / each

    def ask(self, y: np.ndarray) -> dict[str, np.ndarray]:
        z = self._project(y) - self.mean
        g = (self.L @ z[..., None])[..., 0]
        asked = {"norm": (g**2).sum(1), "tails": (g**4).sum(1)}
        return asked | {f"entry {j}": z[:, j] for j in range(min(_ENTRIES, z.shape[1]))}
