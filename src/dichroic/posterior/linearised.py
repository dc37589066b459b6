r"""Likelihoods that are not Gaussian: at every noise level a Gaussian observation stands for them.

What stands for :math:`p(y \mid m)` near a mean has its score there, so iterating

.. math:: \hat x \leftarrow \mathrm E\big[x \mid x_t, \tilde y(\hat m)\big], \qquad \hat m = \sum_s A_s \hat x_s ,

from what the Gaussian near the data says on ends where the posterior given :math:`x_t` is largest (iteratively
reweighted least squares, Gauss and Newton). For a draw the auxiliary variables of the likelihood are drawn given
:math:`\hat m`, then the sources given them: data augmentation (Tanner and Wong, 1987), exact in the limit of many turns
where :math:`p(x_0 \mid x_t)` is a Gaussian. A noise level takes one, for it begins where the one before ended.
"""

from dataclasses import replace

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import Cost, MomentTarget, Target
from dichroic.posterior.sampler import Build
from dichroic.white import WhitenedObservation

__all__ = ["Linearised", "linearised"]

_ROUNDS = 2  # of the mean; two and one draw after them do as well as more of either

Sources = dict[str, Array]


class Linearised(MomentTarget):
    """The joint posterior of one observation of any likelihood.

    **Arguments:** `build`, makes the target of a Gaussian observation; `observation`, with its own likelihood.
    """

    build: Build
    observation: WhitenedObservation

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        x, info = self.build(self._near, False).mean(x_t, sigma)
        for _ in range(_ROUNDS - 1):
            x, new = self.build(self.observation.at(x), False).mean(x_t, sigma)
            info = info.merge(new)
        return x, info

    def draw(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        auxiliary_key, draw_key = jax.random.split(key)
        x, info = self.mean(x_t, sigma)
        x, new = self._moments(self.observation.at(x, auxiliary_key)).draw(x_t, sigma, draw_key)
        return x, info.merge(new)

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
        return self.mean_cost + self._moments(self._near).draw_cost


def linearised(build: Build, observation: WhitenedObservation) -> Target | None:
    """The target of an observation whose likelihood is not Gaussian; None for others."""
    return None if observation.stated is None else Linearised(build, observation)
