r"""Exact Gaussian EM over all sources and views: the first stage of every plan.

With :math:`x_s \sim \mathcal N(\mu_s, S_s)`, stacked :math:`u = (x_1, \ldots, x_S)`, whitened data and
:math:`K = (I + A S A^\top)^{-1}`,

.. math:: \mathrm E[u \mid y] = \mu + S A^\top K (y - A \mu), \qquad \mathrm{Cov}[u \mid y] = S - S A^\top K A S ,

.. math:: \mu \leftarrow \overline{\mathrm E[u \mid y]}, \qquad
    S \leftarrow \overline{\mathrm{Cov}[u \mid y] + (\mathrm E[u \mid y] - \mu)(\mathrm E[u \mid y] - \mu)^\top} ,

the bars being means over all observations of all views that contain the source. Source: DDPRISM (arXiv 2510.05205),
section on the Gaussian initialisation, in closed form instead of by sampling.

The likelihood never falls, and that is the trouble with it: pixels that no observation has ever seen lit lose all
variance, and what is learned from few observations has directions without any. A conjugate prior that counts for
:math:`\nu` observations per dimension keeps every direction open (`Statistics.population`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from threadpoolctl import threadpool_limits

from dichroic.algebra import Gaussian
from dichroic.closed.evidence import Evidence
from dichroic.closed.moment_start import moment_start
from dichroic.closed.routes import bind_views
from dichroic.closed.statistics import Statistics
from dichroic.diffusion import DenoiserPrior, Prior, Scaling, Schedule
from dichroic.kinds import Settings
from dichroic.problem import Problem

__all__ = ["GaussianConfig", "GaussianFit", "gaussian_em"]

_THREADS = 256  # numbers in a source above which matrix products are worth several threads


class GaussianConfig(Settings):
    """Settings of the Gaussian stage.

    It stops after `laps`, or when the log-likelihood per observed value changes by less than `tolerance`. `ties` is how
    many observations per dimension an isotropic prior of the covariance counts for (0: maximum likelihood). `rank`
    restricts the covariances to that many directions plus a multiple of the identity (probabilistic PCA); images too
    large for dense covariances get rank `large_rank` and at most `large_subset` observations per view.
    """

    laps: PositiveInt = 128
    """At most so many laps of the Gaussian stage."""
    tolerance: PositiveFloat = 1e-5
    """Change of the log-likelihood per value below which the Gaussian stage stops."""
    ties: NonNegativeFloat = 0.03
    """Observations per dimension that an isotropic prior of the covariance counts for."""
    rank: PositiveInt | None = None
    """Directions of a Gaussian covariance, the rest being isotropic."""
    large_rank: PositiveInt = 64
    """The same for images too large for dense covariances."""
    large_subset: PositiveInt = 512
    """Observations per view for such images."""


@dataclass(frozen=True)
class GaussianFit:
    """Result of `gaussian_em`: the population of every source, and the log-likelihood per observed value of every lap.

    `log_likelihood[k]` belongs to the populations that lap `k` started from; the list is empty where the
    matrix-free path, which does not compute it, was needed.
    """

    populations: Mapping[str, Gaussian]
    log_likelihood: list[float] = field(default_factory=list)
    converged: bool = False

    def scaling(self, source: str) -> Scaling:
        """The scaling that gives a source zero mean and unit variance over its entries."""
        population = self.populations[source]
        mean = np.asarray(population.mean)
        variance = population.total_variance / mean.size + mean.var()
        return Scaling(float(mean.mean()), float(np.sqrt(variance)) or 1.0)

    def prior(self, source: str, shape: tuple[int, ...], schedule: Schedule) -> Prior:
        """The Gaussian prior of a source, in units of unit variance."""
        provenance = {"stage": "gaussian"}
        return DenoiserPrior.of(self.populations[source], shape, schedule, self.scaling(source), provenance)


def gaussian_em(
    problem: Problem,
    config: GaussianConfig | None = None,
    *,
    fixed: Mapping[str, Gaussian] | None = None,
    seed: int = 0,
    report: Callable[[int, int, float], None] | None = None,
) -> GaussianFit:
    """Fits a Gaussian to every source of a problem, from the mixtures alone.

    **Arguments:** `fixed`, populations that are known and stay as they are; `seed`, for the matrix-free path, which
    draws; `report(lap, laps, log_likelihood)` is called after every lap.

    **Returns:** a `GaussianFit`, in the user's units.
    """
    config = config or GaussianConfig()
    shapes = {s: source.real_shape for s, source in problem.sources.items()}
    views = bind_views(list(problem.views.values()), shapes, config.large_subset, seed)
    rank = config.large_rank if any(view.draws_only for view in views) else config.rank
    history: list[float] = []
    converged = False
    # BLAS's own threads pay for large matrices only, and wait for each other where the machine is busy
    threads = None if max(int(np.prod(shape)) for shape in shapes.values()) > _THREADS else 1
    with threadpool_limits(threads, "blas"):
        populations = _best_start(views, shapes, fixed or {})
        for lap in range(config.laps):
            pooled: dict[str, list[Statistics]] = {s: [] for s in shapes}
            log_likelihood, count = 0.0, 0
            for view in views:
                belief = view.believe({s: populations[s] for s in view.sources}, lap)
                for s, statistics in belief.statistics.items():
                    pooled[s].append(statistics)
                log_likelihood, count = log_likelihood + belief.log_likelihood, count + belief.count
            if not any(view.draws_only for view in views):
                history.append(log_likelihood / count)
            if report is not None:
                report(lap + 1, config.laps, log_likelihood / count)
            if len(history) > 1 and abs(history[-1] - history[-2]) < config.tolerance:
                converged = True
                break
            for s, statistics in pooled.items():
                if s not in (fixed or {}):
                    populations[s] = Statistics.pool(statistics).population(rank, config.ties)
    return GaussianFit(populations, history, converged)


def _best_start(
    views: list[Evidence], shapes: Mapping[str, tuple[int, ...]], fixed: Mapping[str, Gaussian]
) -> dict[str, Gaussian]:
    """The likelier start: isotropic populations, or, where there are moments, those that fit them."""
    isotropic = {**_start(views, shapes), **fixed}
    groups = [view.moments() for view in views]
    found = [group for part in groups if part is not None for group in part]
    if any(part is None for part in groups) or any(len(group.A) == 0 for group in found):
        return isotropic
    matched = {**moment_start(found, {s: int(np.prod(shape)) for s, shape in shapes.items()}, fixed), **fixed}
    matched = {s: matched.get(s, isotropic[s]) for s in shapes}

    def log_likelihood(populations: Mapping[str, Gaussian]) -> float:
        return sum(view.believe({s: populations[s] for s in view.sources}, 0).log_likelihood for view in views)

    return matched if log_likelihood(matched) > log_likelihood(isotropic) else isotropic


def _start(views: list[Evidence], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Gaussian]:
    """Isotropic populations that explain the size of the data: the result does not depend on the units."""
    populations = {}
    for s, shape in shapes.items():
        power = [view.power(s) for view in views if s in view.sources]
        size = int(np.prod(shape))
        variance = max(float(np.mean(power)), 1e-12)
        populations[s] = Gaussian(np.zeros(size), np.zeros((size, 0)), np.zeros(0), variance)
    return populations
