"""Annealed Langevin dynamics of all sources together."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from pydantic import PositiveFloat, PositiveInt

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Step, Target, noise_like
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.methods.soft import Soft, SoftTarget

__all__ = ["BASIS", "Langevin"]


class BASIS(Stepped):
    r"""Bayesian annealed signal source separation: at every noise level `rounds` moves of all sources together,

    .. math:: x \leftarrow x + \eta \big(\nabla \log p(x; \sigma) + A^\top G^{-1} (y - A x)\big) + \sqrt{2 \eta}\,
        \epsilon , \qquad \eta\, (\sigma^{-2} + \|A^\top G^{-1} A\|) = \text{length} ,

    with :math:`G = \Sigma + \sigma^2 A A^\top`, the noise of the data and of all sources' states. Published is
    `width = "level"`, :math:`G = \Sigma + \sigma^2 a_1^2 I`, whatever the gains; and of two forms in print the one with
    the sign that converges. At a fixed level draws are of :math:`p(x; \sigma)\, \mathcal N(y; A x, G)` for short moves;
    through falling levels they lag behind, the less the more rounds. `rounds` network evaluations a step, no product.

    Source: Jayaram and Thickstun, ICML 2020, arXiv 2002.07942, algorithm 1.
    """

    takes_exact: ClassVar[bool] = True
    stability: ClassVar[tuple[str, ...]] = ("length", "width")

    kind: Literal["basis"] = "basis"
    rounds: PositiveInt = 100
    """Kinds basis and modified_basis: moves at every noise level."""
    length: PositiveFloat = 0.2
    """Kinds basis and modified_basis: length of a move, as a share of the way to where it goes; unstable from 2 on."""
    width: Literal["gains", "level"] = "gains"
    """Kinds basis and msdm: how uncertain data are about noisy states: by the gains of all sources, or by the level
    alone."""

    @property
    def walk(self) -> "Langevin":
        """The step that is taken from level to level."""
        return Langevin(self.length, self.rounds)

    def legs(self, task, high=None, low=None, *, afresh=False):
        denoisers = task.denoisers(self.kind)
        build = Soft(denoisers, tuple(denoisers), self.width == "gains", 1.0, task.exact)
        return leg(build, self.walk, self, task.schedule, task.size, high, low, afresh=afresh), Cost()


class Langevin(Step):
    """Moves at the new level; the state of the last level is the sample."""

    length: float
    rounds: int = eqx.field(static=True)

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        assert isinstance(target, SoftTarget)
        tau = self.length / (1 + target.stiffness(sigma_s))

        def move(k, state):
            x, info = state
            mean, new = target.mean(x, sigma_s)
            epsilon = noise_like(jax.random.fold_in(key, k), x)
            scatter = sigma_s * jnp.sqrt(2 * tau)
            return jax.tree.map(lambda a, m, e: a + tau * (m - a) + scatter * e, x, mean, epsilon), info.merge(new)

        return jax.lax.fori_loop(0, jnp.where(sigma_s > 0, self.rounds, 0), move, (x_t, Info.none()))

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (self.rounds * (steps + (not to_zero)))
