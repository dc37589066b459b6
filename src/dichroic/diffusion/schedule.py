r"""Noise levels.

The diffusion is variance exploding, :math:`x_t = x_0 + \sigma_t z` with :math:`z \sim \mathcal N(0, I)`, in the units
of the denoiser, in which a source has unit variance.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Schedule"]


class Schedule(eqx.Module):
    r"""The log-linear schedule :math:`\sigma(t) = \sigma_{\min} (\sigma_{\max} / \sigma_{\min})^t`, :math:`t \in [0,
    1]`.

    Source: DDPRISM (arXiv 2510.05205), eq. 29. Training draws `t` from Beta(3, 3), as DDPRISM and DiEM do; sampling
    places its levels evenly in `t`.
    """

    sigma_min: float = eqx.field(static=True, default=1e-3)
    sigma_max: float = eqx.field(static=True, default=1e2)

    def __check_init__(self):
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"Schedule: expected 0 < sigma_min < sigma_max, got {self.sigma_min}, {self.sigma_max}")

    @classmethod
    def of(cls, ends: Any) -> "Schedule":
        """From its two ends, which may be forged; the usual one of None.

        **Raises:** `ValueError`.
        """
        if ends is None:
            return cls()
        if not (isinstance(ends, list) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)):
            raise ValueError(f"has a schedule that is not two numbers: {ends!r}")
        return cls(*map(float, ends))

    def sigma(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Noise level at time `t`."""
        return jnp.exp((1 - t) * np.log(self.sigma_min) + t * np.log(self.sigma_max))

    def training_sigma(self, key: PRNGKeyArray) -> Float[Array, ""]:
        """A noise level to train at.

        The median of five uniform numbers has the law Beta(3, 3), and compiles in a third of the time.
        """
        a, b, c, d, e = jax.random.uniform(key, (5,))
        low = jnp.maximum(jnp.minimum(a, b), jnp.minimum(c, d))
        high = jnp.minimum(jnp.maximum(a, b), jnp.maximum(c, d))
        return self.sigma(jnp.clip(e, jnp.minimum(low, high), jnp.maximum(low, high)))

    def levels(self, steps: int, start: float | None = None, end: float | None = None) -> Float[np.ndarray, " n"]:
        """The `steps + 1` levels of a sampling run, falling evenly in log sigma from `start` (default `sigma_max`) to
        `end` (default `sigma_min`).
        """
        if steps < 1:
            raise ValueError(f"Schedule: a sampling run needs at least one step, got {steps}")
        start = self.sigma_max if start is None else min(start, self.sigma_max)
        end = self.sigma_min if end is None else max(end, self.sigma_min)
        return np.geomspace(max(start, end), end, steps + 1)
