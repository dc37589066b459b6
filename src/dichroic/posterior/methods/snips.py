"""Langevin dynamics along singular vectors."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from pydantic import PositiveInt

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Target
from dichroic.posterior.method import Share
from dichroic.posterior.methods.spectral import Spectral, SpectralStep, Spectrum

__all__ = ["SNIPS"]


class SNIPS(Spectral):
    r"""Annealed Langevin dynamics with a conditional score that is exact, given the priors' own: of the noise of a
    state and that of the data, one is a part of the other. Coordinate by coordinate of the singular vectors, with
    :math:`\omega = \min(\sigma^2 / e^2, 1)` (zero where nothing is seen),

    .. math:: \bar x \leftarrow \bar x + \kappa \big(\omega (\bar y - \bar x) + (1 - \omega)(\hat x - \bar x)\big) +
        \sqrt{2 \kappa\, \alpha}\, \epsilon , \qquad
        \alpha = \begin{cases} \sigma^2 (1 - \omega) & \sigma < e , \\ \sigma^2 - e^2 & \sigma \ge e , \end{cases}

    `rounds` times a level: the preconditioned gradient of the paper, whose factors :math:`|1 - \sigma^2 a^2|` cancel.
    Its coupling makes it exact for many rounds of short moves. `rounds` network evaluations a step, no product; a
    decomposition as for DDRM.

    Source: Kawar, Vaksman and Elad, NeurIPS 2021, arXiv 2105.14951, algorithm 1.
    """

    stability: ClassVar[tuple[str, ...]] = ("length",)

    kind: Literal["snips"] = "snips"
    length: Share = 0.2
    """Kind snips: length of a move, as a share of the way to where it goes."""
    rounds: PositiveInt = 3
    """Kind snips: moves at every noise level."""

    @property
    def walk(self) -> "SNIPSStep":
        return SNIPSStep(self.length, self.rounds)


class SNIPSStep(SpectralStep):
    """The step of `SNIPS`: Langevin moves at the new level, the priors' estimate at level zero."""

    length: float
    rounds: int = eqx.field(static=True)

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        assert isinstance(target, Spectrum)

        def move(k, state):
            x, info = state
            D, new = target.mean(x, sigma_s)
            epsilon = jax.random.normal(jax.random.fold_in(key, k), target.y.shape, target.y.dtype)
            moved = self.coordinates(target, target.into(x), target.into(D), sigma_t, sigma_s, epsilon)
            return target.back(moved), info.merge(new)

        return jax.lax.cond(
            sigma_s > 0,
            lambda: jax.lax.fori_loop(0, self.rounds, move, (x_t, Info.none())),
            lambda: target.mean(x_t, sigma_t),
        )

    def coordinates(self, target, x, D, sigma_t, sigma_s, epsilon):
        share = jnp.where(target.seen, jnp.minimum(sigma_s**2 / target.e**2, 1), 0)
        variance = jnp.where(share < 1, sigma_s**2 * (1 - share), sigma_s**2 - target.e**2)
        drift = share * (target.y - x) + (1 - share) * (D - x)
        return x + self.length * drift + jnp.sqrt(2 * self.length * variance) * epsilon

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (self.rounds * (steps + (not to_zero)) + to_zero)
