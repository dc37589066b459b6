"""Annealed Langevin dynamics on the data."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import PositiveFloat, PositiveInt

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser, Step, Target, noise_like
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.constraint import Constrained, Constraint, squared_gains
from dichroic.posterior.modelled import Sources
from dichroic.posterior.sampler import Build
from dichroic.white import WhitenedObservation

__all__ = ["ModifiedBASIS"]


class ModifiedBASIS(Stepped):
    r"""BASIS on the constraint that the data are, :math:`y = \sum_s A_s x_s` without noise: at every level `rounds` of

    .. math:: x_s \leftarrow x_s + \eta M_s \nabla \log p_s(x_s; \sigma) + \sqrt{2 \eta M_s T}\, \epsilon , \qquad
        x \leftarrow x + M A^\top (A M A^\top)^{-1} (y - A x) ,

    with :math:`M_s = a_1^2 / a_s^2`, so that every source moves in units of its gain. For two sources that is the
    published form, which eliminates the second; there the noise is that of :math:`T = 1 / 2 \kappa`, with
    :math:`\kappa` the gain of the second over that of the first. At a fixed level and `T = 1` draws are of
    :math:`\prod_s p_s(x_s; \sigma)` on the constraint for short moves. `rounds` network evaluations a step, no product.

    Source: the comparisons of Jayashankar et al., arXiv 2306.14411, in their programs.
    """

    takes_exact: ClassVar[bool] = True
    needs_exact: ClassVar[bool] = True
    stability: ClassVar[tuple[str, ...]] = ("length",)

    kind: Literal["modified_basis"] = "modified_basis"
    rounds: PositiveInt = 100
    """Kinds basis and modified_basis: moves at every noise level."""
    length: PositiveFloat = 0.2
    """Kinds basis and modified_basis: length of a move, as a share of the way to where it goes; unstable from 2 on."""
    temperature: PositiveFloat = 1.0
    """Kind modified_basis: of the noise of a move; draws are colder the lower it is."""

    @property
    def walk(self) -> "ProjectedLangevin":
        """The step that is taken from level to level."""
        return ProjectedLangevin(self.length, self.temperature, self.rounds)

    def legs(self, task, high=None, low=None, *, afresh=False):
        denoisers = task.denoisers(self.kind)
        build = _OnData(denoisers, tuple(denoisers))
        return leg(build, self.walk, self, task.schedule, task.size, high, low, afresh=afresh), Cost()


class _OnData(Build):
    """The priors on the data; `names` as in `dichroic.posterior.methods.soft.Soft`."""

    denoisers: dict[str, Denoiser]
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, observation: WhitenedObservation, alike: bool) -> "OnData":
        gains = squared_gains(observation)
        first = gains[next(s for s in self.names if s in gains)]
        constraint = Constraint(observation, {s: first / g for s, g in gains.items()})
        return OnData({s: self.denoisers[s] for s in observation.shapes}, constraint)


class OnData(Constrained):
    """The priors of all sources, and the data of one observation."""

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        return {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}, Info.none()


class ProjectedLangevin(Step):
    """Moves at the new level, each of which ends on the data; the state of the last level is the sample."""

    length: float
    temperature: float
    rounds: int = eqx.field(static=True)

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        assert isinstance(target, OnData)
        metric = target.constraint.weights
        tau = self.length / jnp.max(jnp.stack(list(metric.values())))

        def move(k, state):
            x, info = state
            D, _ = target.mean(x, sigma_s)
            epsilon, moved = noise_like(jax.random.fold_in(key, k), x), {}
            for s, M in metric.items():
                scatter = sigma_s * jnp.sqrt(2 * tau * M * self.temperature)
                moved[s] = x[s] + tau * M * (D[s] - x[s]) + scatter * epsilon[s]
            moved, new = target.constraint(moved)
            return moved, info.merge(new)

        return jax.lax.fori_loop(0, jnp.where(sigma_s > 0, self.rounds, 0), move, (x_t, Info.none()))

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (self.rounds * (steps + (not to_zero)))
