"""The likelihood of a state under a flat prior."""

from typing import Literal

from dichroic.posterior.modelled import isotropic
from dichroic.posterior.targets.guided import GuidedTarget, sum_of

__all__ = ["DMPS"]


class DMPS(GuidedTarget):
    r"""Diffusion model based posterior sampling, which takes the prior for flat in the likelihood of a noisy state,

    .. math:: D_s + \sigma_t^2 A_s^\top \Big(I + \sigma_t^2 \sum_c A_c A_c^\top\Big)^{-1}
        \Big(y - \sum_c A_c x_{c,t}\Big) .

    Exact in the limit of a flat prior. One network evaluation a step, no product.

    Source: Meng and Kabashima, arXiv 2211.12343, with their uninformative prior.
    """

    target: Literal["dmps"] = "dmps"
    """How the likelihood enters."""

    def estimate(self, target, x_t, sigma):
        models = isotropic(target.observation.shapes, sigma**2)
        moved, info = target.system.pull(models, target.residual(x_t))
        return sum_of(target.denoised(x_t, sigma), moved), info
