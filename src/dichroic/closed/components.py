r"""EM for Gaussian components: the second stage of every plan, in closed form, from the mixtures alone.

Starting from the Gaussian stage, every component of a source is split in two along its principal axis, EM moves all
sources of all views to a higher likelihood, and the split is kept if observations that were not learned from have
become more likely. With the derivatives :math:`n_k, g_k, G_k` of the log-likelihood by the components of one source
(`ComponentStatistics`), a lap of EM is

.. math:: w_k \leftarrow \frac{n_k}{\sum_j n_j}, \qquad \delta_k = \frac{S_k g_k}{n_k}, \qquad
    \mu_k \leftarrow \mu_k + \delta_k, \qquad S_k \leftarrow S_k + \frac{S_k G_k S_k}{n_k} - \delta_k \delta_k^\top .

Few observations belong to each component, and so its covariance is tied by a conjugate prior that counts for
:math:`\tau` observations, to the mean :math:`\bar S` of all, and this to what the Gaussian stage found (:math:`S_0`),
less what lies between the components,

.. math:: S_k \leftarrow \frac{n_k S_k + \tau T}{n_k + \tau}, \qquad T = \frac{n \bar S + \tau W}{n + \tau},
    \qquad W = \Big[S_0 - \sum_k w_k (\mu_k - \bar\mu)(\mu_k - \bar\mu)^\top\Big]_+ .

The ties are loosened as far as held-out observations gain from it: in the last laps always, and for more splits where
`looser` says so, if held-out observations are likelier by more than the error of that. A source of one component stays
what it was. No network and no sampling takes part, and modes that a diffusion model would need tens of laps to sort out
are told apart by exact responsibilities.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt

from dichroic import memory
from dichroic.algebra import Components, Gaussian
from dichroic.closed.accelerate import Ascent, Lap
from dichroic.closed.evidence import ComponentStatistics, Evidence
from dichroic.closed.family import Family
from dichroic.closed.reweighted import reweighted
from dichroic.closed.routes import NoRoute, bind_components
from dichroic.closed.stationary import family_of
from dichroic.closed.units import in_units, units_of
from dichroic.kinds import Settings
from dichroic.problem import Problem

__all__ = ["ComponentsConfig", "ComponentsFit", "components_em"]

_FLOOR = 1e-6  # of the mean variance: the least variance of a component along any direction
_APART = 0.7  # standard deviations between a component's mean and those of its halves
_UNEVEN = 0.5  # by what part of themselves the covariances of halves differ from their mean, under symmetries
_GAIN = 0.01  # of held-out log-likelihood per observation, below which nothing has changed
_SURE = 2.0  # standard errors by which looser ties have to be better


class ComponentsConfig(Settings):
    """Settings of the components stage.

    `components` is the most a source may have (1: no components stage); `laps` of EM follow every change, and up to
    `polish` the last one; `ties` is how many observations per dimension the mean covariance counts for at first, and
    with each of `looser` splitting goes on from there, until held-out observations do not gain. Views give at most
    `subset` observations, and splitting ends where a lap would cost more than `budget` floating-point operations.
    """

    components: PositiveInt = 32
    """At most so many Gaussians per source; 1 for no components stage."""
    laps: PositiveInt = 8
    """At most so many laps of EM after components were split."""
    polish: PositiveInt = 40
    """At most so many after the last split."""
    ties: PositiveFloat = 8.0
    """Observations per dimension that the components' mean covariance counts for at first."""
    looser: tuple[PositiveFloat, ...] = ()
    """Ties to go on splitting with, one after another, as long as held-out observations gain beyond the error."""
    subset: PositiveInt = 16384
    """At most so many observations per view."""
    budget: PositiveFloat = 3e11
    """Floating-point operations of a lap above which no component is split."""


@dataclass(frozen=True)
class ComponentsFit:
    """Result of `components_em`: components of every source, and the log-likelihood per observed value of every lap.

    **Fields:** `held_out`, the log-likelihood per observation of the held-out ones, with the components of every
    learned source it was reached with, one entry for every change that was kept; `ties`, those that components were
    split with last; `refused`, why nothing was done.
    """

    components: Mapping[str, Components]
    log_likelihood: list[float] = field(default_factory=list)
    held_out: list[tuple[dict[str, int], float]] = field(default_factory=list)
    ties: float = 0.0
    refused: str = ""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of components of every source."""
        return {s: len(x) for s, x in self.components.items()}


def components_em(
    problem: Problem,
    start: Mapping[str, Components | Gaussian],
    config: ComponentsConfig | None = None,
    *,
    held_out: Problem | None = None,
    fixed: Sequence[str] = (),
    seed: int = 0,
    report: Callable[[float], None] | None = None,
    kept: Callable[[ComponentsFit], None] | None = None,
) -> ComponentsFit:
    """Fits a mixture of Gaussians to every source of a problem, from the mixtures alone.

    Where noise is not Gaussian, what stands for it near what other values say, given the start, does (`reweighted`).

    **Arguments:** `start`, for every source, as a rule the Gaussian stage's; `held_out`, which
    judges (without it, the Bayesian information criterion does); `fixed`, sources that stay as they are; `report`,
    called after every lap with the share of what may have to be done; `kept`, called with what was reached after every
    change that is kept.

    **Returns:** a `ComponentsFit`, in the user's units: the start, and why, where there is nothing to do or no exact
    route leads through some view.
    """
    config = config or ComponentsConfig()
    learned = [s for s in problem.sources if s not in fixed]
    as_given = {s: x for s, x in start.items() if isinstance(x, Components)}
    if config.components == 1 or not learned:
        return ComponentsFit(
            as_given, refused="all sources are known" if learned == [] else "one for every source is asked for"
        )
    shapes = {s: source.real_shape for s, source in problem.sources.items()}
    units = units_of(list(problem.views.values()), list(shapes))

    def bind(problem: Problem, most: int | None = None) -> list[Evidence]:
        found = []
        for name, view in problem.views.items():
            try:
                found.append(bind_components(in_units(view.subset(most or len(view), seed), units), shapes))
            except NoRoute as error:
                raise NoRoute(f"view '{name}': {error}") from None
        return found

    def in_the_users(fit: ComponentsFit) -> ComponentsFit:
        return replace(fit, components={s: x.scaled(0.0, units[s]) for s, x in fit.components.items()})

    problem, held_out = reweighted(problem, start), held_out and reweighted(held_out, start)
    try:
        views, judges = bind(problem, config.subset), [] if held_out is None else bind(held_out)
    except NoRoute as error:
        return ComponentsFit(as_given, refused=str(error))  # no matrix was made of a Gaussian
    tell = None if kept is None else lambda fit: kept(in_the_users(fit))
    families = {s: family_of(source) for s, source in problem.sources.items()}
    search = _Search(views, judges, learned, families, config, report, tell)
    return in_the_users(search.run({s: Components.of(x).scaled(0.0, 1 / units[s]) for s, x in start.items()}))


class _Search:
    """Splits, EM laps and ties, judged by observations that are not learned from."""

    def __init__(
        self,
        views: list[Evidence],
        judges: list[Evidence],
        learned: list[str],
        families: Mapping[str, Family],
        config: ComponentsConfig,
        report: Callable[[float], None] | None,
        kept: Callable[[ComponentsFit], None] | None,
    ):
        self.views, self.judges, self.learned, self.config = views, judges, learned, config
        self.families, self.report, self.tell = families, report, kept
        self.history: list[float] = []
        self.kept: list[tuple[dict[str, int], float]] = []
        self.values = sum(v.values for v in views)

    def run(self, components: dict[str, Components]) -> ComponentsFit:
        self.start = dict(components)
        ties, best = self.config.ties, self._judge(components)
        components, best, accepted = self._fitted(components, best, ties)
        for looser in self.config.looser:
            trial = copy(self)
            trial.kept, trial.tell = [], None
            found, top, last = trial._fitted(*trial._polish(components, best, looser)[:2], looser)
            if not self._surely(found, components):
                break
            components, best, ties, accepted = found, top, looser, last
            self._keep(components, best)
        loosened = ties
        while accepted:  # without further splits
            loosened /= 8
            components, best, accepted = self._polish(components, best, loosened)
        return ComponentsFit(components, self.history, self.kept, ties)

    def _fitted(
        self, components: dict[str, Components], best: float, ties: float
    ) -> tuple[dict[str, Components], float, bool]:
        """Splits with such ties, and a last round of EM, as long as the judge gains."""
        return self._polish(*self._grow(components, best, ties), ties)

    def _grow(self, components: dict[str, Components], best: float, ties: float) -> tuple[dict[str, Components], float]:
        """Splits, as long as the judge gains."""
        growing = list(self.learned)
        while growing:
            # all of them at once if that is for the better, or else one by one
            for chosen in [growing, *([s] for s in growing if len(growing) > 1)]:
                proposal = {**components, **{s: _split(components[s], self.families[s]) for s in chosen}}
                if not self._allowed(proposal):
                    continue
                before = components
                components, best, accepted = self._try(components, proposal, best, ties, self.config.laps)
                if accepted:
                    components, growing = self._undo_idle(before, components, chosen, best)
                    break
            else:
                break
        return components, best

    def _polish(
        self, components: dict[str, Components], best: float, ties: float
    ) -> tuple[dict[str, Components], float, bool]:
        """More laps for what is there, if that is more than a Gaussian for every source."""
        if max(len(components[s]) for s in self.learned) == 1:
            return components, best, False
        return self._try(components, components, best, ties, self.config.polish)

    def _try(
        self, before: dict[str, Components], components: dict[str, Components], best: float, ties: float, laps: int
    ) -> tuple[dict[str, Components], float, bool]:
        """EM from a proposal, ended when the judge sees no more gain; what was there before, unless it was beaten."""
        top, found = best, None
        last = -np.inf
        grown = [s for s in self.learned if len(components[s]) > 1]
        ascent = Ascent({s: components[s] for s in grown}, self.families)
        for lap in range(laps):
            kept = ascent.tell(self._lap({**components, **ascent.ask}, grown, ties))
            self.history.append(ascent.value / self.values)
            if not kept:
                continue
            components = {**components, **ascent.reached}
            score = self._judge(components)
            if score > top + _GAIN:
                top, found = score, components
            # right after a split, likelihoods are lower than before it: only a fall from lap to lap is an end
            if lap >= 2 and score < last + _GAIN:
                break
            last = score
        if found is None:
            return before, best, False
        self._keep(found, top)
        return found, top, True

    def _keep(self, found: dict[str, Components], score: float) -> None:
        self.kept.append(({s: len(found[s]) for s in self.learned}, score))
        if self.tell is not None:
            self.tell(ComponentsFit(found, list(self.history), list(self.kept)))

    def _undo_idle(
        self, before: dict[str, Components], after: dict[str, Components], chosen: list[str], best: float
    ) -> tuple[dict[str, Components], list[str]]:
        """Takes back the splits that others have paid for; what is left goes on growing."""
        growing = list(chosen)
        for s in chosen if len(chosen) > 1 else []:
            without = {**after, s: before[s]}
            if self._judge(without) > best - _GAIN:
                after = without
                growing.remove(s)
        return after, growing

    def _lap(self, components: dict[str, Components], grown: list[str], ties: float) -> Lap:
        total, pooled = 0.0, {}
        for view in self.views:
            value, statistics = view.statistics(components)
            total += value
            for s, part in statistics.items():
                pooled[s] = pooled[s] + part if s in pooled else part
        if self.report is not None:
            self.report(min(0.95, (len(self.history) + 1) / (self.config.laps * 12)))
        after, targets = {}, {}
        for s in grown:
            after[s], targets[s] = _update(components[s], pooled[s], ties, self.start[s], self.families[s])

        def log_prior(point: Mapping[str, Components]) -> float:
            each = [(self.families[s], S, T) for s, T in targets.items() for S in point[s].covariances]
            return sum(family.tied_log_density(S, T, ties * len(T)) for family, S, T in each)

        return Lap(total, after, log_prior)

    def _judge(self, components: dict[str, Components]) -> float:
        """Log-likelihood per observation: of held-out data, or of the data less what the parameters are worth."""
        return float(self._scores(components).mean())

    def _surely(self, after: dict[str, Components], before: dict[str, Components]) -> bool:
        """Whether the judge prefers one to another by more than the error of that, observation by observation."""
        gain = self._scores(after) - self._scores(before)
        return float(gain.mean()) > max(_GAIN, _SURE * float(gain.std()) / len(gain) ** 0.5)

    def _scores(self, components: dict[str, Components]) -> Float[np.ndarray, " n"]:
        """What `_judge` has of every observation."""
        judges = self.judges or self.views
        scores = np.concatenate([np.asarray(view.log_likelihood(components), float) for view in judges])
        if self.judges:
            return scores
        sizes = {s: components[s].means.shape[1] for s in self.learned}
        free = sum(len(components[s]) * (1 + d + self.families[s].parameters) for s, d in sizes.items())
        return scores - 0.5 * free * np.log(len(scores)) / len(scores)

    def _allowed(self, components: dict[str, Components]) -> bool:
        cost = sum(v.cost(components) for v in self.views)
        held = all(memory.fits(x.covariances.nbytes) for x in components.values())
        return held and cost <= self.config.budget and max(map(len, components.values())) <= self.config.components


def _update(
    components: Components, statistics: ComponentStatistics, ties: float, start: Components, family: Family
) -> tuple[Components, Float[np.ndarray, "d d"]]:
    """One lap of EM for one source, its covariances tied to each other and to those of `start`; `T`, what ties them."""
    moved = family.maximised(components, statistics)
    n, S = np.maximum(statistics.count, 1e-9)[:, None, None], moved.covariances
    total, tau = n.sum(), ties * S.shape[-1]
    mean, within = (n * S).sum(0) / total, start.moments()[1] - moved.between()
    target = (total * mean + tau * family.at_least(within, 0.0)) / (total + tau)
    S = family.at_least((n * S + tau * target) / (n + tau), _FLOOR * float(np.trace(mean)) / S.shape[-1])
    return replace(moved, covariances=S), target


def _split(components: Components, family: Family) -> Components:
    """Every component as two halves along its principal axis, with its mean and covariance together."""
    step = _APART * family.principal(components.covariances)
    S = components.covariances - step[:, :, None] * step[:, None, :]
    # means that symmetries hold in place hardly tell halves apart
    uneven = _UNEVEN if family.symmetric else 0.0
    return Components(
        np.concatenate([components.weights, components.weights]) / 2,
        np.concatenate([components.means + step, components.means - step]),
        np.concatenate([(1 + uneven) * S, (1 - uneven) * S]),
    )
