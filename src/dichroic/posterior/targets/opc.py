"""Guidance by measured covariances."""

from typing import Literal

from dichroic.posterior.modelled import Model
from dichroic.posterior.targets.guided import ModelledTarget

__all__ = ["OPC"]


class OPC(ModelledTarget):
    r"""Optimal posterior covariance: guidance with variances that were learned along a basis,

    .. math:: D_s + \sigma_t^2 J_s^\top A_s^\top \Big(I + \sum_c A_c \bar V_c(\sigma_t) A_c^\top\Big)^{-1} r ,

    with the mean covariance :math:`\bar V_s` of a denoiser's errors along the principal directions of its source, as
    they were measured after training (`dichroic.diffusion.Spread`): no further fit is needed. Exact for Gaussian
    sources. One network evaluation and one product a step.

    Source: Peng, Zheng, Dai, Xiao, Li, Zou and Xiong, ICML 2024, arXiv 2402.02149 (there entry by entry, or
    along a wavelet basis).
    """

    target: Literal["opc"] = "opc"
    """How the likelihood enters."""

    def covariance(self, denoiser, sigma):
        known = denoiser.moments_given(sigma)
        return None if known is None else Model(*known)
