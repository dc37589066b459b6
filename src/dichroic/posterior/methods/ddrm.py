"""Restoration by singular values."""

from typing import Literal

import jax.numpy as jnp

from dichroic.posterior.method import Share
from dichroic.posterior.methods.spectral import Spectral, SpectralStep

__all__ = ["DDRM"]


class DDRM(Spectral):
    r"""Denoising diffusion restoration, coordinate by coordinate of the singular vectors: with what the data say,
    :math:`\bar y \pm e`, and the priors' estimate :math:`\hat x`,

    .. math:: \bar x_s = \begin{cases}
        \hat x + \sqrt{1 - \eta^2}\, \sigma_s (\bar x_t - \hat x) / \sigma_t + \eta \sigma_s \epsilon & \text{unseen},\\
        \hat x + \sqrt{1 - \eta^2}\, \sigma_s (\bar y - \hat x) / e + \eta \sigma_s \epsilon & \sigma_s < e ,\\
        (1 - \eta_b)\, \hat x + \eta_b\, \bar y + \sqrt{\sigma_s^2 - \eta_b^2 e^2}\, \epsilon & \sigma_s \ge e .
        \end{cases}

    What one coordinate says of others goes through the network alone. One network evaluation a step, no product; once a
    draw (or once for all, where observations share operators) a decomposition.

    Source: Kawar, Elad, Ermon and Song, NeurIPS 2022, arXiv 2201.11793, section 3.
    """

    kind: Literal["ddrm"] = "ddrm"
    eta: Share = 0.85
    """Kind ddrm: share of the noise that is drawn anew."""
    eta_data: Share = 1.0
    """Kind ddrm: share of the data where they are more precise than the state."""

    @property
    def walk(self) -> "DDRMStep":
        return DDRMStep(self.eta, self.eta_data)


class DDRMStep(SpectralStep):
    """The step of `DDRM`."""

    eta: float
    eta_data: float

    def coordinates(self, target, x, D, sigma_t, sigma_s, epsilon):
        y, e, fresh = target.y, target.e, self.eta * sigma_s * epsilon
        kept = jnp.sqrt(1 - self.eta**2) * sigma_s
        noise = jnp.sqrt(jnp.maximum(sigma_s**2 - (self.eta_data * e) ** 2, 0)) * epsilon
        precise = (1 - self.eta_data) * D + self.eta_data * y + noise
        seen = jnp.where(sigma_s < e, D + kept * (y - D) / e + fresh, precise)
        return jnp.where(target.seen, seen, D + kept * (x - D) / sigma_t + fresh)
