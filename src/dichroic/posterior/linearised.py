r"""What is not linear and Gaussian: at every noise level a linear-Gaussian observation stands for it.

What stands for :math:`p(y \mid m)` near a mean has its score there, so iterating

.. math:: \hat x \leftarrow \mathrm E\big[x \mid x_t, \tilde y(\hat m)\big], \qquad \hat m = \sum_s A_s \hat x_s ,

from what the Gaussian near the data says on ends where the posterior given :math:`x_t` is largest (iteratively
reweighted least squares, Gauss and Newton). For a draw the auxiliary variables of the likelihood are drawn given
:math:`\hat m`, then the sources given them: data augmentation (Tanner and Wong, 1987), exact in the limit of many turns
where :math:`p(x_0 \mid x_t)` is a Gaussian. A noise level takes one, for it begins where the one before ended.

Where tangents are not enough, as of functions of several sources, turns of Hamiltonian Monte Carlo follow, for
:math:`\mathcal N(x; D, V)\, p(y \mid x)` itself: decoupled annealing (arXiv 2407.01521) with the priors' moments.
"""

from dataclasses import replace

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import Cost, MomentTarget, Target
from dichroic.operators import joints
from dichroic.posterior.covariance import Moments
from dichroic.posterior.hamiltonian import PATH, PRODUCTS, hamiltonian
from dichroic.posterior.sampler import Build
from dichroic.white import WhitenedObservation

__all__ = ["TURNS", "Linearised", "linearised"]

_ROUNDS = 2  # of the mean; two and one draw after them do as well as more of either
TURNS = 4  # of Hamiltonian Monte Carlo, where they are needed

Sources = dict[str, Array]


class Linearised(MomentTarget):
    """The joint posterior of one observation of any likelihood.

    **Arguments:** `build`, makes the target of a Gaussian observation; `observation`, with its own likelihood; `turns`,
    of Hamiltonian Monte Carlo.
    """

    build: Build
    observation: WhitenedObservation
    turns: int = eqx.field(static=True, default=0)

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        x, info = self._first(x_t, sigma)
        for _ in range(_ROUNDS - 1):
            x, new = self.build(self.observation.at(x), False).mean(x_t, sigma)
            info = info.merge(new)
        return x, info

    def _first(self, x_t: Sources, sigma: Array) -> tuple[Sources, Info]:
        """What the Gaussian near the data says. Of several means that a response makes the same data of that knows one
        alone: where turns can go to any, they begin at the priors' means.
        """
        target = self.build(self._near, False)
        stated = self.observation.stated
        if self.turns and isinstance(target, Moments) and stated is not None and not joints(stated.mixing):
            return target.covariance.mean(x_t, sigma)[0], Info.none()
        return target.mean(x_t, sigma)

    def draw(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        auxiliary_key, draw_key = jax.random.split(key)
        x, info = self.mean(x_t, sigma)
        target = self._moments(self.observation.at(x, auxiliary_key))
        if not (self.turns and isinstance(target, Moments)):
            x, new = target.draw(x_t, sigma, draw_key)
            return x, info.merge(new)
        given, near = target.covariance.draw(x_t, sigma), target.observation
        x, new = target.drawn(given, draw_key)
        centre, noise, _, product = given
        x = hamiltonian(
            x,
            centre,
            noise,
            product,
            lambda x: -self.observation.log_likelihood(x),
            lambda u: near.adjoint(near.forward(u)),
            self.turns,
            key=jax.random.fold_in(key, 1),
        )
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
        target = self._moments(self._near)
        if not (self.turns and isinstance(target, Moments)):
            return self.mean_cost + target.draw_cost
        products = target.covariance.product_cost * (PRODUCTS + self.turns * 2 * PATH)
        return self.mean_cost + target.draw_cost + products


def linearised(build: Build, observation: WhitenedObservation, turns: int | None = 0) -> Target | None:
    """The target of an observation that is not linear and Gaussian; None for others.

    **Arguments:** `turns`, of Hamiltonian Monte Carlo (None: some where sources enter by a function of several).
    """
    if observation.stated is None:
        return None
    if turns is None:
        turns = TURNS if joints(observation.stated.mixing) else 0
    return Linearised(build, observation, turns)
