r"""Likelihoods that are not Gaussian: at every noise level a Gaussian observation stands for them.

What stands for :math:`p(y \mid m)` near a mean has its score there, so iterating

.. math:: \hat x \leftarrow \mathrm E\big[x \mid x_t, \tilde y(\hat m)\big], \qquad \hat m = \sum_s A_s \hat x_s ,

from what the Gaussian near the data says on ends where the posterior given :math:`x_t` is largest (iteratively
reweighted least squares, Gauss and Newton). For a draw the auxiliary variables of the likelihood are drawn given
:math:`\hat m`, then the sources given them: data augmentation (Tanner and Wong, 1987), exact in the limit of many turns
where :math:`p(x_0 \mid x_t)` is a Gaussian. A noise level takes one, for it begins where the one before ended. Where it
has several modes its mean lies in none of them, and good data are taken for outliers: then the turns are draws as well.
"""

from dataclasses import replace

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import Cost, MomentTarget, Target
from dichroic.posterior.sampler import Build
from dichroic.white import WhitenedObservation

__all__ = ["Linearised", "linearised"]

_ROUNDS = 2  # of the mean; two and one draw after them do as well as more of either
_TURNS = 4  # of draws

Sources = dict[str, Array]


class Linearised(MomentTarget):
    r"""The joint posterior of one observation of any likelihood.

    **Arguments:** `build`, makes the target of a Gaussian observation; `observation`, with its own likelihood;
    `several`, whether :math:`p(x_0 \mid x_t)` has several modes.
    """

    build: Build
    observation: WhitenedObservation
    several: bool = eqx.field(static=True, default=False)

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        x, info = self.build(self._near, False).mean(x_t, sigma)
        for _ in range(_ROUNDS - 1):
            x, new = self.build(self.observation.at(x), False).mean(x_t, sigma)
            info = info.merge(new)
        return x, info

    def draw(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        auxiliary_key, draw_key = jax.random.split(key)
        if self.several:
            return self._turns(x_t, sigma, key)
        x, info = self.mean(x_t, sigma)
        x, new = self._moments(self.observation.at(x, auxiliary_key)).draw(x_t, sigma, draw_key)
        return x, info.merge(new)

    def _turns(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        def turn(k, state):
            x, info = state
            auxiliary_key, draw_key = jax.random.split(jax.random.fold_in(key, k))
            x, new = self._moments(self.observation.at(x, auxiliary_key)).draw(x_t, sigma, draw_key)
            return x, info.merge(new)

        first = self._moments(self._near).draw(x_t, sigma, jax.random.fold_in(key, _TURNS))
        return jax.lax.fori_loop(0, _TURNS, turn, first)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return self.build(self._near, False).start(sigma, key)

    def _moments(self, observation: WhitenedObservation) -> MomentTarget:
        target = self.build(observation, False)
        assert isinstance(target, MomentTarget)  # steps that draw are refused for others
        return target

    @property
    def _near(self) -> WhitenedObservation:
        return replace(self.observation, stated=None)

    @property
    def mean_cost(self) -> Cost:
        return self.build(self._near, False).mean_cost * _ROUNDS

    @property
    def draw_cost(self) -> Cost:
        one = self._moments(self._near).draw_cost
        return one * (1 + _TURNS) if self.several else self.mean_cost + one


def linearised(build: Build, observation: WhitenedObservation, several: bool = False) -> Target | None:
    """The target of an observation whose likelihood is not Gaussian; None for others."""
    return None if observation.stated is None else Linearised(build, observation, several)
