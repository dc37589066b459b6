r"""Candidates weighed by their joint likelihood, for sources of few dimensions.

Moment matching replaces :math:`p(x_0 \mid x_t)` by one Gaussian, which at intermediate noise it is not: a manifold
passes the same place twice, and the Gaussian covers what lies between. Here every source is a mixture
:math:`\sum_k w_k \mathcal N(\mu_k, C_k)` (:func:`dichroic.diffusion.components_of`), so that given :math:`x_t` it is a
mixture again, with responsibilities :math:`r_k` and components :math:`\mathcal N(\mu'_k, C'_k)`. `K` of each source are
candidates, of weight :math:`r_k / q_k`, tuples of which are weighed by their likelihood
(:mod:`dichroic.posterior.weighed`): those with the largest perturbed :math:`\log r_k + \text{Gumbel noise}`; `q` is the
probability that the perturbed value exceeds the largest one left out. This is sampling without replacement whose
weighted sums are unbiased (Kool, van Hoof and Welling, arXiv 1903.06059), and with all components as candidates the
draw is exact for the mixture, at any noise level. No network is evaluated.
"""

from collections.abc import Mapping
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from pydantic import PositiveInt

from dichroic.diffusion import (
    COMPONENTS_LEVEL,
    ComponentsDenoiser,
    Cost,
    Decoupled,
    Denoiser,
    components_cost,
    components_of,
    own_share,
)
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.linearised import linearised
from dichroic.posterior.method import Task
from dichroic.posterior.sampler import Build
from dichroic.posterior.weighed import TUPLES, Weighable, WeighedPosterior
from dichroic.white.observation import WhitenedObservation

__all__ = ["CandidatePosterior", "Candidates"]

_SHARED = 2**32 - 1  # folded into the key for what all observations share: no observation has this index


class CandidatePosterior(WeighedPosterior):
    """The joint posterior of one observation, by components.

    `draw` takes random candidates. `mean` takes the most responsible ones, for it has nothing random; where there are
    more components than candidates it is good only at noise levels at which few of them matter.
    """

    mixtures: dict[str, ComponentsDenoiser]
    counts: dict[str, int] = eqx.field(static=True)

    @classmethod
    def create(
        cls, denoisers: Mapping[str, Denoiser], observation: WhitenedObservation, tuples: int = TUPLES
    ) -> "CandidatePosterior":
        """Forms the small matrices once, for all noise levels.

        **Arguments:** `denoisers`, of which the components are known (`Denoiser.components`);
        `tuples`, how many combinations of candidates are weighed at most.

        **Raises:** `ValueError` for a denoiser without a mixture.
        """
        mixtures = {s: denoisers[s].components() for s in observation.shapes}
        bare = [s for s, mixture in mixtures.items() if mixture is None]
        if bare:
            raise ValueError(
                f"posterior 'candidates' needs a mixture for source {bare[0]!r}, and its denoiser, a "
                f"{type(denoisers[bare[0]]).__name__}, has none; see dichroic.diffusion.components_of"
            )
        sizes = {s: len(mixture.log_weights) for s, mixture in mixtures.items()}  # pyright: ignore
        return cls(observation, observation.matrices(), observation.y, mixtures, _counts(sizes, tuples))  # pyright: ignore

    @property
    def mean_cost(self) -> Cost:
        return Cost()

    @property
    def draw_cost(self) -> Cost:
        return Cost()

    def candidates(self, source, x_t, sigma, key):
        """Components of one source given `x_t`; the most responsible ones where there is no key."""
        mixture, count = self.mixtures[source], self.counts[source]
        log_r, coordinates = mixture.responsibilities(x_t, sigma)
        log_r, B = jax.nn.log_softmax(log_r), len(log_r)
        perturbed = log_r if key is None else log_r + jax.random.gumbel(key, log_r.shape, log_r.dtype)
        if count == B:
            index, log_w = jnp.arange(B), log_r
        else:
            top, index = jax.lax.top_k(perturbed, count + 1)
            index, log_w = index[:count], log_r[index[:count]]
            if key is not None:
                # log of 1 - exp(-exp(log r - threshold)), the chance of being among the candidates
                log_w = log_w - jnp.log(-jnp.expm1(-jnp.exp(log_w - top[count])))
        mu, roots = mixture.given(coordinates, sigma, index)
        return Weighable(log_w, mu, roots)


def _counts(sizes: Mapping[str, int], tuples: int) -> dict[str, int]:
    """As many candidates of every source as the number of tuples allows; small mixtures leave their share to others."""
    counts: dict[str, int] = {}
    left = tuples
    for number, s in enumerate(sorted(sizes, key=lambda s: sizes[s])):
        share = int(left ** (1 / (len(sizes) - number)) + 1e-9)
        counts[s] = max(1, min(sizes[s], share))
        left //= counts[s]
    return {s: counts[s] for s in sizes}


class Candidates(Stepped):
    """Components of every prior, weighed by their joint likelihood; for few sources of few numbers.

    A mixture of `components` Gaussians is made of every prior that is none already, once for all draws. Draws anneal
    with it in `steps` steps, weighing `tuples` combinations at each of them; more steps than the usual ones gain
    nothing. They end where the source is made of Gaussians, in a draw of one.
    """

    any_likelihood = True

    kind: Literal["candidates"] = "candidates"
    components: PositiveInt = 512
    """Gaussians that are made of every prior."""
    tuples: PositiveInt = TUPLES
    """Combinations weighed at every step."""
    steps: PositiveInt = 8
    """Steps of a draw from pure noise."""

    def legs(self, task, high=None, low=None, *, afresh=False):
        mixtures, shared, _ = self.mixtures(task)
        way = leg(
            _Weighed(mixtures, self.tuples),
            Decoupled(),
            self,
            task.schedule,
            task.size,
            high,
            low,
            afresh=afresh,
            bottom=COMPONENTS_LEVEL,
        )
        return way, shared

    def mixtures(self, task: Task) -> tuple[dict[str, ComponentsDenoiser], Cost, float]:
        """Every source as a mixture; the largest cost of one; the largest share of what a component covers that no
        other does.

        **Raises:** `ValueError` for a source that is too large.
        """
        made = ("mixtures", self.components)
        if made in task.made:
            return task.made[made]
        found: dict[str, ComponentsDenoiser] = {}
        cost, largest = Cost(), 0.0
        for number, (s, denoiser) in enumerate(task.denoisers(self.kind).items()):
            mixture = denoiser.components()
            if mixture is None:
                key = jax.random.fold_in(jax.random.fold_in(task.key, _SHARED), number)
                mixture = components_of(denoiser, task.schedule, key=key, size=self.components)
                cost = max(cost, components_cost(denoiser, self.components), key=lambda c: c.total)
                largest = max(largest, float(own_share(mixture, COMPONENTS_LEVEL)))
            found[s] = mixture
        task.made[made] = found, cost, largest
        return task.made[made]


class _Weighed(Build):
    """Candidates of the mixtures of all sources."""

    mixtures: dict[str, ComponentsDenoiser]
    tuples: int = eqx.field(static=True)

    def __call__(self, observation, alike):
        if (found := linearised(self, observation)) is not None:
            return found
        return CandidatePosterior.create(self.mixtures, observation, self.tuples)
