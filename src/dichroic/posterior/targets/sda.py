"""Guidance by a variance of the data that grows with the noise level."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat

from dichroic.algebra import Info
from dichroic.diffusion import Cost
from dichroic.posterior.targets.guided import GuidedTarget, sum_of

__all__ = ["SDA"]


class SDA(GuidedTarget):
    r"""Score-based data assimilation,

    .. math:: D_s + \sigma_t^2 J_s^\top A_s^\top \big(I + \sigma_t^2 \Gamma\big)^{-1} r , \qquad
        \Gamma = \gamma\, \mathrm{diag}\Big(\sum_c A_c A_c^\top\Big) ,

    so that :math:`\gamma` has no unit. Exact nowhere but where :math:`A V A^\top = \sigma_t^2 \Gamma`. One network
    evaluation and one product a step; once a draw, as many transposed products with the operators as there are data.

    Source: Rozet and Louppe, NeurIPS 2023, arXiv 2306.10574, section 3.
    """

    evaluations: ClassVar[Cost] = Cost(1, 1)

    target: Literal["sda"] = "sda"
    """How the likelihood enters."""
    gamma: PositiveFloat = 0.1
    """Target sda: growth of the data's variance with the noise level's."""

    def estimate(self, target, x_t, sigma):
        D, back = target.linearised(x_t, sigma)
        return sum_of(D, back(target.residual(D) / (1 + sigma**2 * self.gamma * target.system.powers()))), Info.none()
