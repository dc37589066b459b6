r"""The law of the mixtures: can a classifier tell held-out observations from simulated ones?

For every held-out observation :math:`y_i`, sources are drawn from the priors and sent through its own operators and
noise, :math:`z_{ir} = \sum_s A_{is} x_{isr} + n_{ir}`, :math:`r = 1 \ldots R`. A classifier learns to tell :math:`y`
from :math:`z` in one half of the observations and scores the other half, and the other way round, so that every
observation is scored by one that has not seen it. With the scores `f`, the area under its curve is

.. math:: \mathrm{AUC} = \overline{[f(y_i) > f(z_{jr})]} + \tfrac12 \overline{[f(y_i) = f(z_{jr})]} ,

one half where the laws are equal, whatever the classifier. With the shares :math:`V_i` of simulations below
:math:`f(y_i)` and :math:`V_{ir}` of observations above :math:`f(z_{ir})`, the variance of either half is that of
:math:`V_i + \overline{V_{ir}}` over their number (DeLong, DeLong and Clarke-Pearson 1988, an observation paired with
its simulations, which share its operators). The halves depend on each other through what both were trained on: the
p-value is twice the smaller one of the two, which holds however they do.

It sees what no residual shows. Where the design can be learned, equal laws of all views mean equal sources, while
chi-square and the prediction of hidden entries are content long before (Lopez-Paz and Oquab 2017, arXiv 1610.06545).
"""

import numpy as np

from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.classifier import Inputs, train_and_score
from dichroic.diagnose.result import Question, Result, conclude

__all__ = ["LEAST", "area", "law"]

_POOL = 512  # prior draws that say where observations are expected
LEAST = 32  # observations, below which there is nothing to learn from


def law(case: Case, report: Report) -> Result:
    """Held-out observations against simulated ones, view by view."""
    total, replicates = case.budget.law
    chosen = case.share(total)
    parts, arrays, counted = [], {}, 0
    for done, (name, rows) in enumerate(chosen.items()):
        white = case.part_of(name, rows)
        if len(white) < LEAST:
            continue
        rng, simulated = case.rng("law", name), []
        for r in range(1 + replicates):  # those of the first say what units are, and take no part
            x = {s: case.model.sample(s, len(white), case.key_for("law", name, s, r)) for s in white.sources}
            simulated.append(white.replayed(x, rng))
            report((done + (r + 1) / (1 + replicates) / 2) / len(chosen))
        pools = {s: case.prior_pool(s, _POOL) for s in white.sources}
        inputs = Inputs.of(white, simulated[1:], simulated[0], pools)
        order = rng.permutation(len(white))
        halves = np.array_split(order, 2)
        values, p, variance = [], [], []
        for half, other in (halves, halves[::-1]):
            f = train_and_score(inputs, half[: len(white) // 2], case.key_for("law", name, len(values)))
            found = area(f[other, 0], f[other, 1:])
            for each, value in zip((values, p, variance), found, strict=True):
                each.append(value)
        auc = float(np.mean(values))
        parts.append(Question(name, "AUC", auc, 0.5, min(1.0, 2 * min(p)), 0.03, 0.25))
        half_width = 1.96 * float(np.sqrt(np.mean(variance)))
        arrays[f"{name}/auc"] = np.clip([auc - half_width, auc, auc + half_width], 0, 1)
        counted += len(white)
        report((done + 1) / len(chosen))
    return conclude("law", parts, case.checks, observations=counted, draws=replicates, arrays=arrays)


def area(real: np.ndarray, simulated: np.ndarray) -> tuple[float, float, float]:
    """The area under the curve of scores `(n,)` against those `(n, R)` of simulations of the same observations, the
    p-value of its being above one half, and its variance.
    """
    from scipy import stats

    def shares(of: np.ndarray, among: np.ndarray) -> np.ndarray:
        among = np.sort(among.ravel())
        return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / (2 * among.size)

    d = shares(real, simulated) + (1 - shares(simulated, real)).mean(1)
    auc, variance = float(d.mean() / 2), float(d.var(ddof=1) / len(d))
    if variance <= 0:  # all scores are one, or all are apart
        return auc, 1.0 if auc <= 0.5 else 0.0, 0.0
    return auc, float(stats.t.sf((auc - 0.5) / np.sqrt(variance), len(d) - 1)), variance
