r"""Where the answer comes from the data and where from the prior, and which sources are confused.

Per entry, over held-out observations and their draws: the *contraction*

.. math:: 1 - \overline{\mathrm{Var}[x \mid y]} \,/\, \mathrm{Var}[x] ,

1 where the data say everything and 0 where the prior does; and for two sources of one shape the posterior correlation
of their entries, near -1 where only their sum is known. These describe the result, they do not judge it: an exact
posterior may have any values here.
"""

from itertools import combinations

import numpy as np

from dichroic.design.finding import Finding
from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.codes import WEAKLY_INFORMED
from dichroic.diagnose.result import Result, conclude

__all__ = ["maps"]

_POOL = 512
_WEAK = 0.1  # contraction below which the prior is all there is


def maps(case: Case, report: Report) -> Result:
    """Contraction and correlation maps of every view."""
    total, draws = case.budget.maps
    draws = max(draws, 2)
    chosen = case.share(total)
    arrays, notes, counted, failed, steps = {}, [], 0, 0, 0
    for name, rows in chosen.items():
        white = case.part_of(name, rows)
        sampler = case.model.given(name, white.view)
        pairs = [(s, t) for s, t in combinations(white.sources, 2) if white.shapes[s] == white.shapes[t]]
        sums: dict[str, np.ndarray] = {}
        products: dict[tuple[str, str], np.ndarray] = {}
        usable = np.ones(len(rows), bool)
        for draw in range(draws):
            x = {s: np.asarray(u, float) for s, u in sampler(case.key_for("maps", name, draw)).items()}
            usable &= np.all([np.isfinite(u.reshape(len(u), -1)).all(1) for u in x.values()], axis=0)
            for s, u in x.items():
                sums[s] = sums.get(s, 0) + u
            for s, t in [*((s, s) for s in x), *pairs]:
                products[s, t] = products.get((s, t), 0) + x[s] * x[t]
            steps += 1
            report(steps / (draws * len(chosen)))
        counted, failed = counted + int(usable.sum()), failed + int((~usable).sum())
        if not usable.any():
            continue

        def covariance(s: str, t: str, sums=sums, products=products, usable=usable) -> np.ndarray:
            one = (products[s, t] - sums[s] * sums[t] / draws) / (draws - 1)
            return one[usable].mean(0)

        for s in white.sources:
            prior = np.maximum(case.prior_pool(s, _POOL).var(0, ddof=1).reshape(white.shapes[s]), 1e-300)
            posterior = covariance(s, s)
            arrays[f"{name}/{s}/contraction"] = 1 - posterior / prior
            whole = float(1 - posterior.sum() / prior.sum())
            arrays[f"{name}/{s}/whole"] = np.asarray(whole)
            if whole < _WEAK:
                text = f"one observation says little about '{s}' ({max(whole, 0):.0%} of its variance): draws are prior"
                notes.append(Finding("green", f"view '{name}'", text, WEAKLY_INFORMED))
        for s, t in pairs:
            scale = np.sqrt(np.maximum(covariance(s, s) * covariance(t, t), 1e-300))
            arrays[f"{name}/{s}/{t}/correlation"] = covariance(s, t) / scale
    diverged = failed / max(counted + failed, 1)
    return conclude("maps", [], case.checks, diverged, notes=notes, observations=counted, draws=draws, arrays=arrays)
