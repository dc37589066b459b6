r"""What is not known of Gaussian populations: fits to observations drawn with replacement.

Posteriors are narrow where populations are learned from few observations, for they are those of populations taken as
known. By the law of total variance, with the parameters :math:`\theta` of all populations,

.. math:: \mathrm{Var}[x \mid y] = \mathrm E_\theta \mathrm{Var}[x \mid y, \theta]
    + \mathrm{Var}_\theta \mathrm E[x \mid y, \theta] .

Fits :math:`\theta_k` to as many observations of every view, drawn with replacement, stand for what is not known of
:math:`\theta` (Efron 1979; as a posterior of it, Rubin 1981). All sources of one fit belong together: what one has too
little of, another has too much of.
"""

from collections.abc import Callable, Mapping

import numpy as np

from dichroic.algebra import Gaussian
from dichroic.closed.gaussian import GaussianConfig, GaussianFit, gaussian_em
from dichroic.problem import Problem

__all__ = ["gaussian_refits", "scarce"]

_ENOUGH = 32  # observations for every number of a source, from which on populations are as good as known


def scarce(problem: Problem, learned: Mapping[str, Gaussian]) -> bool:
    """Whether some source is learned from few observations for its size."""
    seen = {s: sum(len(view) for view in problem.views.values() if s in view.mixing) for s in learned}
    return any(seen[s] < _ENOUGH * len(x.mean) for s, x in learned.items())


def gaussian_refits(
    problem: Problem,
    fit: GaussianFit,
    config: GaussianConfig,
    *,
    fixed: Mapping[str, Gaussian] | None = None,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> list[dict[str, Gaussian]]:
    """As many fits as `config.refits`, each of all sources, beginning at one to all observations.

    **Arguments:** as of `gaussian_em`; `report(done, total)` is called before every fit.

    **Returns:** their populations, in the user's units.
    """
    found = []
    for k in range(config.refits):
        if report is not None:
            report(k, config.refits)
        rng = np.random.default_rng([seed, 23, k])
        rows = {name: np.sort(rng.integers(len(view), size=len(view))) for name, view in problem.views.items()}
        again = gaussian_em(problem.select(rows), config, fixed=fixed, start=fit.populations, seed=seed)
        found.append(dict(again.populations))
    return found
