"""Guidance by row sums of Tweedie's covariance."""

from typing import ClassVar, Literal

import jax.numpy as jnp

from dichroic.algebra import Info
from dichroic.diffusion import Cost
from dichroic.posterior.targets.guided import GuidedTarget, sum_of

__all__ = ["TMPD"]


class TMPD(GuidedTarget):
    r"""Tweedie moment projection: of the covariance :math:`\sigma_t^2 A J^\top A^\top` its row sums, as a diagonal,

    .. math:: D_s + \sigma_t^2 J_s^\top A_s^\top \Big(I + \mathrm{diag}\big(\sigma_t^2 \textstyle\sum_c A_c J_c^\top
        A_c^\top 1\big)\Big)^{-1} r .

    Exact for Gaussian sources whose :math:`A V A^\top` is diagonal. A row sum may be negative, and counts as zero then.
    One network evaluation and two products a step.

    Source: Boys, Girolami, Pidstrigach, Reich, Mosca and Akyildiz, arXiv 2310.06721, in its diagonal form.
    """

    evaluations: ClassVar[Cost] = Cost(1, 2)

    target: Literal["tmpd"] = "tmpd"
    """How the likelihood enters."""

    def estimate(self, target, x_t, sigma):
        D, back = target.linearised(x_t, sigma)
        sums = target.observation.forward(back(target.observation.observed))
        return sum_of(D, back(target.residual(D) / (1 + jnp.maximum(sums, 0)))), Info.none()
