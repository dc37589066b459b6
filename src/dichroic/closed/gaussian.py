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
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from threadpoolctl import threadpool_limits

from dichroic.algebra import Components, Gaussian
from dichroic.closed.accelerate import Ascent, Lap
from dichroic.closed.evidence import Evidence
from dichroic.closed.family import Family
from dichroic.closed.moment_start import FLOOR, moment_start
from dichroic.closed.reweighted import reweighted
from dichroic.closed.routes import bind_views
from dichroic.closed.stationary import family_of
from dichroic.closed.statistics import Statistics
from dichroic.closed.units import in_units, units_of
from dichroic.diffusion import DenoiserPrior, Prior, Scaling, Schedule
from dichroic.kinds import Settings
from dichroic.problem import Problem

__all__ = ["GaussianConfig", "GaussianFit", "gaussian_em"]

_REWEIGHTED = 2  # times that other noise is looked at again
_THREADS = 256  # numbers in a source above which matrix products are worth several threads


class GaussianConfig(Settings):
    """Settings of the Gaussian stage.

    It stops after `laps`, or when the log-likelihood per observed value that is still to gain, as the last laps let
    expect (`still_to_gain`), is less than `tolerance`; an E-step counts as a lap, wasted ones too. `ties` is how
    many observations per dimension an isotropic prior of the covariance counts for (0: maximum likelihood). `rank`
    restricts the covariances to that many directions plus a multiple of the identity (probabilistic PCA; not those of
    stationary sources); images too
    large for dense covariances get rank `large_rank` and at most `large_subset` observations per view. `refits` say
    what is not known of the populations (`gaussian_refits`).

    With the default tolerance, 2,048 observations a view of two sources on manifolds take 36 laps, to variances within
    1.2 % of those of 200 laps; digits over grass take 19, to within 1.4e-5 per value, where variances of pixels hardly
    ever lit may still be 20 % off.
    """

    laps: NonNegativeInt = 128
    """At most so many laps of the Gaussian stage; 0 for isotropic populations of the size of the data."""
    tolerance: PositiveFloat = 1e-5
    """Log-likelihood per value still to gain, below which the Gaussian stage stops."""
    ties: NonNegativeFloat = 0.03
    """Observations per dimension that an isotropic prior of the covariance counts for."""
    rank: PositiveInt | None = None
    """Directions of a Gaussian covariance, the rest being isotropic."""
    large_rank: PositiveInt = 64
    """The same for images too large for dense covariances."""
    large_subset: PositiveInt = 512
    """Observations per view for such images."""
    refits: NonNegativeInt = 0
    """Fits to observations drawn with replacement, by which exact posteriors of scarce data are widened; 0 or 2 on."""


@dataclass(frozen=True)
class GaussianFit:
    """Result of `gaussian_em`: the population of every source, and the log-likelihood per observed value of every lap.

    `log_likelihood[k]` is the best that laps up to `k` started from; the list is empty where the matrix-free path,
    which does not compute it, was needed.

    **Fields:** `remaining`, the log-likelihood per observed value (with the log-prior of the ties) that more laps are
    expected to gain, and `change`, by what part of itself they may change a variance at most: how far what has not
    converged may be off. Infinite where nothing is known.
    """

    populations: Mapping[str, Gaussian]
    log_likelihood: list[float] = field(default_factory=list)
    converged: bool = False
    remaining: float = np.inf
    change: float = np.inf

    @property
    def shortfall(self) -> str:
        """How far it may be off, in words."""
        if not np.isfinite(self.remaining):
            return "too few laps to say by how much"
        gain = f"about {self.remaining:.1g} of log-likelihood per value still to gain"
        return gain + (f", variances off by up to {100 * self.change:.2g} %" if np.isfinite(self.change) else "")

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
    start: Mapping[str, Gaussian] | None = None,
    seed: int = 0,
    report: Callable[[int, int, float], None] | None = None,
) -> GaussianFit:
    """Fits a Gaussian to every source of a problem, from the mixtures alone.

    Where noise is not Gaussian, it is fitted again with what stands for it near what other values say (`reweighted`).

    **Arguments:** `fixed`, populations that are known and stay as they are; `start`, populations that learning
    begins at; `seed`, for the matrix-free path, which draws; `report(lap, laps, log_likelihood)` is called
    after every lap.

    **Returns:** a `GaussianFit`, in the user's units.
    """
    fit = _gaussian_em(problem, config, fixed, start, seed, report)
    for _ in range(_REWEIGHTED if any(view.has_own_likelihood for view in problem.views.values()) else 0):
        known = reweighted(problem, fit.populations)
        fit = _gaussian_em(known, config, fixed, fit.populations, seed, report)
    return fit


def _gaussian_em(
    problem: Problem,
    config: GaussianConfig | None,
    fixed: Mapping[str, Gaussian] | None,
    start: Mapping[str, Gaussian] | None,
    seed: int,
    report: Callable[[int, int, float], None] | None,
) -> GaussianFit:
    """The same with the Gaussians near the data of other noise."""
    config, fixed = config or GaussianConfig(), fixed or {}
    shapes = {s: source.real_shape for s, source in problem.sources.items()}
    families = {s: family_of(source) for s, source in problem.sources.items()}
    units = units_of(list(problem.views.values()), list(shapes))
    scaled_views = [in_units(view, units) for view in problem.views.values()]
    views = bind_views(scaled_views, shapes, config.large_subset, seed)
    drawn = any(view.draws_only for view in views)
    ranks = {s: config.large_rank if drawn else None if x.full_rank else config.rank for s, x in families.items()}
    history: list[float] = []
    converged, count = False, 1.0
    # BLAS's own threads pay for large matrices only, and wait for each other where the machine is busy
    threads = None if max(int(np.prod(shape)) for shape in shapes.values()) > _THREADS else 1
    with threadpool_limits(threads, "blas"):
        known = {s: x.scaled(0.0, 1 / units[s]) for s, x in fixed.items()}
        populations = _best_start(views, shapes, known, families) if config.laps else {**_start(views, shapes), **known}
        populations |= {s: x.scaled(0.0, 1 / units[s]) for s, x in (start or {}).items() if s not in fixed}
        ends = {s: x for s, x in populations.items() if s not in fixed}
        ascent = Ascent({} if drawn else {s: Components.of(x) for s, x in ends.items()}, families)
        for lap in range(config.laps):
            log_likelihood, count, pooled = _expectation(views, populations, lap)
            found = {s: families[s].population(populations[s], pooled[s], ranks[s], config.ties) for s in ends}
            kept = drawn or ascent.tell(_lap(log_likelihood, found, families, config.ties))
            ends = found if kept else ends
            if not drawn:
                history.append(ascent.value / count)
            if report is not None:
                report(lap + 1, config.laps, history[-1] if history else 0.0)
            if not drawn and ascent.remaining() < config.tolerance * count:
                converged = True
                break
            # the plain lap's, or what the secant step asks for
            asked = ends if drawn or ascent.plain else {s: _gaussian(x, ranks[s]) for s, x in ascent.ask.items()}
            if config.rank is not None and not drawn:
                ascent.ask = {s: Components.of(x) for s, x in asked.items()}
            populations = {**populations, **asked}
    found = {s: fixed[s] if s in fixed else ends[s].scaled(0.0, units[s]) for s in shapes}
    return GaussianFit(found, history, converged, ascent.remaining() / count, ascent.change())


def _expectation(
    views: list[Evidence], populations: Mapping[str, Gaussian], lap: int
) -> tuple[float, float, dict[str, Statistics]]:
    """Log-likelihood, number of values, and the statistics of every source over all views."""
    beliefs = [view.believe({s: populations[s] for s in view.sources}, lap) for view in views]
    pooled = {}
    for s in populations:
        pooled[s] = Statistics.pool([belief.statistics[s] for belief in beliefs if s in belief.statistics])
    return sum(belief.log_likelihood for belief in beliefs), sum(belief.count for belief in beliefs), pooled


def _lap(value: float, found: Mapping[str, Gaussian], families: Mapping[str, Family], ties: float) -> Lap:
    """A lap for `Ascent`; its prior is the conjugate one of the ties, about the level that this lap found."""

    def log_prior(point: Mapping[str, Components]) -> float:
        total = 0.0
        for s, x in found.items() if ties else ():
            d = len(x.mean)
            target = x.total_variance / d * np.eye(d)
            total += families[s].tied_log_density(point[s].covariances[0], target, ties * d)
        return total

    return Lap(value, {s: Components.of(x) for s, x in found.items()}, log_prior)


def _gaussian(components: Components, rank: int | None) -> Gaussian:
    return Gaussian.of(components.means[0], components.covariances[0], rank)


def _best_start(
    views: list[Evidence],
    shapes: Mapping[str, tuple[int, ...]],
    fixed: Mapping[str, Gaussian],
    families: Mapping[str, Family],
) -> dict[str, Gaussian]:
    """The likelier start: isotropic populations, or, where there are moments, those that fit them."""
    isotropic = {**_start(views, shapes), **fixed}
    groups = [view.moments() for view in views]
    found = [group for part in groups if part is not None for group in part]
    if any(part is None for part in groups) or any(len(group.A) == 0 for group in found):
        return isotropic
    matched = moment_start(found, {s: int(np.prod(shape)) for s, shape in shapes.items()}, fixed)
    for s in (s for s in matched if families[s].symmetric):
        x = families[s].nearest(Components.of(matched[s]))
        S = families[s].at_least(x.covariances[0], FLOOR * float(np.trace(x.covariances[0])) / x.means.shape[1])
        matched[s] = Gaussian.of(x.means[0], S)
    matched = {s: {**matched, **fixed}.get(s, isotropic[s]) for s in shapes}

    def log_likelihood(populations: Mapping[str, Gaussian]) -> float:
        return sum(view.believe({s: populations[s] for s in view.sources}, 0).log_likelihood for view in views)

    return matched if log_likelihood(matched) > log_likelihood(isotropic) else isotropic


def _start(views: list[Evidence], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Gaussian]:
    """Isotropic populations that explain the size of the data."""
    populations = {}
    for s, shape in shapes.items():
        power = [view.power(s) for view in views if s in view.sources]
        size = int(np.prod(shape))
        variance = float(np.mean(power)) or 1.0  # of no power at all, in units of the source
        populations[s] = Gaussian(np.zeros(size), np.zeros((size, 0)), np.zeros(0), variance)
    return populations
