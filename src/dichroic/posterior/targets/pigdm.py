"""Pseudo-inverse guidance."""

from math import prod
from typing import Literal

import jax.numpy as jnp
from pydantic import PositiveFloat

from dichroic.posterior.modelled import Model
from dichroic.posterior.targets.guided import ModelledTarget

__all__ = ["PiGDM"]


class PiGDM(ModelledTarget):
    r"""Pseudo-inverse guidance, with one variance for all directions,

    .. math:: D_s + \sigma_t^2 J_s^\top A_s^\top \Big(I + r_t^2 \sum_c A_c A_c^\top\Big)^{-1} r , \qquad
        r_t^2 = \frac{c\, \sigma_t^2}{c + \sigma_t^2} .

    Exact where sources are isotropic Gaussians of the variance `c`. One network evaluation and one product a step.

    Source: Song, Vahdat, Mardani and Kautz, ICLR 2023, "Pseudoinverse-guided diffusion models" (there `c = 1`).
    """

    target: Literal["pigdm"] = "pigdm"
    """How the likelihood enters."""
    variance: PositiveFloat = 1.0
    """Target pigdm: variance of a source's entries, in its own units."""

    def covariance(self, denoiser, sigma):
        size = prod(denoiser.shape)
        rest = self.variance * sigma**2 / (self.variance + sigma**2)
        return Model(jnp.zeros((size, 0), sigma.dtype), jnp.zeros(0, sigma.dtype), rest)
