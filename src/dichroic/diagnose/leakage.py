r"""Leakage: is what was put into one source given back by it, and by no other?

Held-out observations are separated once, one source is taken out and a known sample of it put in,

.. math:: y'_\text{new} = y' - A'_s x_s + A'_s x^*_s, \qquad x^*_s \sim p_s ,

so that the background and the noise stay those of real data; then it is separated again. In a sound result
:math:`x^*_s` and the new draws of it are exchangeable. In units of what was put in, with :math:`v = A'_s (x^*_s -
\mu_s)`, the part that returns in source `t` is the slope

.. math:: b_{ts} = \sum_i \langle A'_t (\bar x_t - \mu_t), v \rangle_i \Big/ \sum_i \langle v, v \rangle_i .

Even an exact posterior gives :math:`b_{ss} < 1` and :math:`b_{ts} \ne 0`: what the data do not say comes from the
priors. How much, the draws say themselves: with one of them in the place of the known sample, the slope must be the
same. That difference is tested; the slopes are reported.
"""

from collections.abc import Mapping

import numpy as np

from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.ranks import mean_test
from dichroic.diagnose.result import Question, Result, conclude
from dichroic.diagnose.white import WhiteView

__all__ = ["leakage"]

_POOL = 512


def leakage(case: Case, report: Report) -> Result:
    """Injection and recovery in held-out observations, for every source of every view."""
    total, draws = case.budget.leakage
    chosen = case.share(total)
    jobs = [(v, s) for v in chosen for s in case.views[v].sources]
    parts, arrays, counted, failed = [], {}, 0, 0
    for done, (name, s) in enumerate(jobs):
        rows = chosen[name]
        white = case.part_of(name, rows)
        first = {t: x[rows] for t, x in case.first_draw(name).items()}
        truth = case.model.sample(s, len(rows), case.key_for("injected", name, s))
        # a draw that failed leaves the observation out below, and nothing to inject into
        swapped = white.y + white.mix({s: truth - np.where(np.isfinite(first[s]), first[s], 0)})
        sampler = case.model.given(name, white.with_data(swapped))
        recovery = _Recovery(white, s, truth, {t: case.prior_pool(t, _POOL).mean(0) for t in white.sources})
        for draw in range(draws):
            recovery.add(sampler(case.key_for("leakage", name, s, draw)))
            report((done + (draw + 1) / draws) / len(jobs))
        usable = recovery.usable & np.isfinite(first[s].reshape(len(rows), -1)).all(1) & (white.count > 0)
        counted, failed = counted + int(usable.sum()), failed + int((~recovery.usable).sum())
        for t, (slope, expected, p) in recovery.slopes(usable).items():
            what = "recovered" if t == s else "leaked"
            parts.append(Question(f"{name}: {s} into {t}", what, slope, expected, p, 0.03, 0.15))
            arrays[f"{name}/{s}/{t}"] = np.array([slope, expected])
        along, size = recovery.along(s)[usable], recovery.size[usable]
        arrays[f"{name}/{s}/returned"] = np.stack([np.sqrt(size), along / np.sqrt(np.maximum(size, 1e-30))])
    diverged = failed / max(counted + failed, 1)
    return conclude("leakage", parts, case.checks, diverged, observations=counted, draws=draws, arrays=arrays)


class _Recovery:
    """Products of injected and recovered mixtures, collected draw by draw: no draw is kept."""

    def __init__(self, white: WhiteView, source: str, truth: np.ndarray, means: Mapping[str, np.ndarray]):
        self.white, self.source = white, source
        self.means = {t: mean.reshape(white.shapes[t]) for t, mean in means.items()}
        self.v = white.mix({source: truth - self.means[source]})
        self.size = (self.v**2).sum(1)
        self.sums = {t: np.zeros_like(self.v) for t in white.sources}
        self.same = {t: np.zeros(len(self.v)) for t in white.sources}  # products of sources of one draw
        self.draws = 0
        self.usable = np.ones(len(truth), bool)

    def add(self, x: Mapping[str, np.ndarray]) -> None:
        """One draw of every source."""
        mixed = {t: self.white.mix({t: x[t] - self.means[t]}) for t in self.sums}
        self.usable &= np.all([np.isfinite(w).all(1) for w in mixed.values()], axis=0)
        mixed = {t: np.where(np.isfinite(w), w, 0) for t, w in mixed.items()}
        for t, w in mixed.items():
            self.sums[t] += w
            self.same[t] += (w * mixed[self.source]).sum(1)
        self.draws += 1

    def along(self, t: str) -> np.ndarray:
        """The product of the mean of a source's draws with what was injected, per observation."""
        return (self.sums[t] * self.v).sum(1) / self.draws

    def slopes(self, usable: np.ndarray) -> dict[str, tuple[float, float, float]]:
        """`{source: (slope, the same if the result is sound, p)}`."""
        # whitened, so that the floor has no unit: far below what any noise shows
        unit = max(float(self.size[usable].mean()), 1e-30) if usable.any() else 1.0
        found = {}
        for t, total in self.sums.items():
            # every draw in the place of the known sample, against all draws but itself
            others = (total * self.sums[self.source]).sum(1) - self.same[t]
            again = others / max(self.draws * (self.draws - 1), 1)
            known, again = self.along(t)[usable], again[usable]
            found[t] = float(known.mean()) / unit, float(again.mean()) / unit, mean_test(known - again)[1]
        return found
