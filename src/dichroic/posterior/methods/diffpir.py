"""Plug-and-play image restoration by diffusion."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveFloat

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Step, Target, noise_like
from dichroic.posterior.method import Share
from dichroic.posterior.modelled import Sources, isotropic
from dichroic.posterior.targets.guided import Guided, sum_of

__all__ = ["DiffPIR", "Renoised"]


class DiffPIR(Guided):
    r"""Half-quadratic splitting at every noise level: the estimate nearest to the data and to the priors' own,

    .. math:: x' = \arg\min_x \tfrac12 \|y - A x\|^2 + \tfrac{\lambda}{2 \sigma_t^2} \|x - D\|^2
        = D + \tfrac{\sigma_t^2}{\lambda} A^\top \Big(I + \tfrac{\sigma_t^2}{\lambda} A A^\top\Big)^{-1} r ,

    and then :math:`x_s = x' + \sigma_s \big(\sqrt{1 - \zeta}\, (x_t - x') / \sigma_t + \sqrt\zeta\, \epsilon\big)`.
    An estimate is put where a draw belongs, so that draws are too narrow. One network evaluation a step, no product.

    Source: Zhu et al., CVPR workshops 2023, arXiv 2305.08995, algorithm 1.
    """

    kind: Literal["diffpir"] = "diffpir"
    weight: PositiveFloat = 1.0
    """Kinds diffpir and red_diff: weight of the priors beside the data."""
    fresh: Share = 1.0
    """Kind diffpir: share of the noise that every step draws anew."""

    @property
    def walk(self) -> Step:
        return Renoised(self.fresh)

    def estimate(self, target, x_t, sigma):
        D = target.denoised(x_t, sigma)
        moved, info = target.system.pull(
            isotropic(target.observation.shapes, sigma**2 / self.weight), target.residual(D)
        )
        return sum_of(D, moved), info


class Renoised(Step):
    """The noise of a state about the estimate, scaled down, with a share `zeta` of its variance drawn anew."""

    zeta: float

    def __call__(
        self, target: Target, x_t: Sources, sigma_t: Float[Array, ""], sigma_s: Float[Array, ""], key: PRNGKeyArray
    ) -> tuple[Sources, Info]:
        mean, info = target.mean(x_t, sigma_t)
        kept, fresh = jnp.sqrt(1 - self.zeta) / sigma_t, jnp.sqrt(self.zeta)
        noisy = jax.tree.map(
            lambda x, m, e: m + sigma_s * (kept * (x - m) + fresh * e), x_t, mean, noise_like(key, x_t)
        )
        return noisy, info

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (steps + 1)
