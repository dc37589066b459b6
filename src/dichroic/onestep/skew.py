r"""The alpha-skew divergence between the law `p` of the data and the law `q` of a generator.

With the mixture :math:`m_\alpha = \alpha p + (1 - \alpha) q` and the ratio :math:`r = p / q`,

.. math:: \mathrm{JS}_\alpha(q, p) = \frac1\alpha \mathrm{KL}(q \,\|\, m_\alpha)
    + \frac1{1 - \alpha} \mathrm{KL}(p \,\|\, m_\alpha) ,

forward KL as :math:`\alpha \to 0`, reverse KL as :math:`\alpha \to 1`, four times the Jensen-Shannon divergence at 1/2.
For a generator :math:`x = g_\theta(z)` of law `q`, whose scores are :math:`s_\alpha = \nabla \log m_\alpha`,

.. math:: \nabla_\theta \mathrm{JS}_\alpha = \frac1\alpha \mathrm E_z\big[J_g^\top (s_0 - s_\alpha)\big]
    = \mathrm E_z\big[J_g^\top\, h_\alpha (s_q - s_p)\big], \qquad
    h_\alpha = \frac{D_\alpha}\alpha = \frac r{\alpha r + 1 - \alpha}, \qquad
    s_\alpha = D_\alpha s_p + (1 - D_\alpha) s_q .

The two terms that differentiating the laws adds, over :math:`m_\alpha` and `q`, are means of scores, which are zero.
All skews move a sample along one line; they differ in what it counts for: samples where the generator has too few
(`r > 1`) count for more.

Source: Jayashankar, Score-of-Mixture Training (arXiv 2502.09609), propositions 1 to 4; his thesis, 8.1 to 8.5.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Skews", "logit", "share", "skew_divergence", "skew_weight"]

_GRID = 1000  # skews between 0 and 1


def logit(alpha: Float[Array, ""] | float) -> Float[Array, ""]:
    """`log alpha / (1 - alpha)`, finite at the ends."""
    inside = jnp.clip(alpha, 0.5 / _GRID, 1 - 0.5 / _GRID)
    return jnp.log(inside) - jnp.log1p(-inside)


def share(log_ratio: Float[Array, "..."], alpha: Float[Array, ""] | float) -> Float[Array, "..."]:
    r""":math:`D_\alpha`: how likely a draw of the mixture came from the data, given the log-ratio `log p/q`."""
    return jnp.where(alpha <= 0, 0.0, jnp.where(alpha >= 1, 1.0, jax.nn.sigmoid(log_ratio + logit(alpha))))


def skew_weight(log_ratio: Float[Array, "..."], alpha: Float[Array, ""] | float) -> Float[Array, "..."]:
    r""":math:`h_\alpha = r / (\alpha r + 1 - \alpha)`: between 0 and 1 / alpha."""
    return jnp.exp(log_ratio - jnp.logaddexp(jnp.log(alpha) + log_ratio, jnp.log1p(-alpha)))


def skew_divergence(log_p: np.ndarray, log_q: np.ndarray, alpha: float, cell: np.ndarray | float) -> float:
    """The divergence of two laws by quadrature: their log-densities at points that stand for volumes `cell`."""
    p, q = np.exp(log_p), np.exp(log_q)
    log_m = np.logaddexp(np.log(alpha) + log_p, np.log1p(-alpha) + log_q)
    return float(np.sum(cell * (q * (log_q - log_m) / alpha + p * (log_p - log_m) / (1 - alpha))))


class Skews(eqx.Module):
    """Skews to train at: a share `zero` of them 0, the others on a grid from `low` to `high`."""

    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True, default=1.0)
    zero: float = eqx.field(static=True, default=0.0)

    def __call__(self, key: PRNGKeyArray) -> Float[Array, ""]:
        first, second = jax.random.split(key)
        alpha = jnp.round(jax.random.uniform(first, minval=self.low, maxval=self.high) * _GRID) / _GRID
        return jnp.where(jax.random.uniform(second) < self.zero, 0.0, alpha)
