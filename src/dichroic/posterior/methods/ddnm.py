"""Restoration by the null space."""

from typing import Literal

import jax.numpy as jnp

from dichroic.posterior.methods.spectral import Spectral, SpectralStep

__all__ = ["DDNM"]


class DDNM(Spectral):
    r"""Null-space restoration for noisy data (DDNM+): of the priors' estimate what the data see is replaced by theirs,
    as far as the noise of a step has room for the data's,

    .. math:: x' = \hat x + \Lambda\, (\bar y - \hat x) , \qquad \bar x_s = \bar x_t - \tau (\bar x_t - x') +
        \sqrt{\sigma_s^2 \tau - \tau^2 \Lambda^2 e^2}\, \epsilon , \qquad
        \Lambda = \min\Big(1, \frac{\sigma_s}{\sqrt\tau\, e}\Big) , \quad \tau = 1 - \frac{\sigma_s^2}{\sigma_t^2} ,

    coordinate by coordinate of the singular vectors (:math:`\Lambda = 0` where nothing is seen): the noise of the data
    and what is drawn add up to that of the bridge. Consistent with precise data; a posterior only there and then in the
    directions they see. One network evaluation a step, no product; a decomposition as for DDRM.

    Source: Wang, Yu and Zhang, ICLR 2023, arXiv 2212.00490, section 3.3.
    """

    kind: Literal["ddnm"] = "ddnm"

    @property
    def walk(self) -> "DDNMStep":
        return DDNMStep()


class DDNMStep(SpectralStep):
    """The step of `DDNM`."""

    def coordinates(self, target, x, D, sigma_t, sigma_s, epsilon):
        tau = 1 - (sigma_s / sigma_t) ** 2
        # tau is zero where a run repeats its last level
        room = sigma_s / jnp.sqrt(jnp.maximum(tau, jnp.finfo(x.dtype).tiny)) / target.e
        share = jnp.where(target.seen, jnp.minimum(1, room), 0)
        rest = jnp.maximum(sigma_s**2 * tau - (tau * share * target.e) ** 2, 0)
        return x - tau * (x - D - share * (target.y - D)) + jnp.sqrt(rest) * epsilon
