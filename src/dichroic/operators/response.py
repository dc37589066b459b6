r"""A detector whose response to the mixture is no straight line: saturation, a logarithm, a gain curve."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from dichroic.operators.likelihood import GaussianNoise, Likelihood
from dichroic.operators.noise import DiagonalNoise

__all__ = ["Response"]

_FLAT = 1e-3  # slope, of the largest of an observation, below which an entry says next to nothing
_TURNS = 24  # of Gauss and Newton, from the data to a mean that gives them


class Response(Likelihood):
    r""":math:`y \sim \mathcal N(f(m), \sigma^2)`, every entry by itself.

    Near a mean, with the slope :math:`f'` and the residual :math:`r = y - f(m)`, what stands for it is that of Gauss
    and Newton,

    .. math:: \tilde y = m + \frac{f' r}{f'^2 + \epsilon^2}, \qquad
        \Sigma = \frac{\sigma^2}{f'^2 + \epsilon^2} ,

    where :math:`\epsilon` keeps entries finite at which the response is flat: they say nothing. Of an identity it is
    the data and the noise themselves, to the last bit.

    **Arguments:** `std`, :math:`\sigma`, one number or one per entry; `function`, of arrays of any shape, entry by
    entry and differentiable by JAX.

    >>> import jax.numpy as jnp
    >>> noise = Response(0.1, lambda m: m / (1 + m / 4))
    >>> bool(noise.fault(np.array([0.5, 1.0])) is None)
    True
    """

    entrywise = ("std",)
    additive = False

    std: ArrayLike
    function: Callable[[Array], Array] = eqx.field(static=True)

    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        return DiagonalNoise(self.std).log_prob(y, self.function(m), observed)

    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        return DiagonalNoise(self.std).sample(key, self.function(jnp.asarray(m)))

    def gaussian_at(self, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        seen, slope = self.at(m)
        # an identity is to give back the data: their own digits, not those of m + (y - m)
        straight = (slope == 1) & (seen == m)
        most = _largest(slope)
        slope, square = slope / most, jnp.where(straight, 1.0, (slope / most) ** 2 + _FLAT**2)
        unit = jnp.where(straight, 1.0, most)
        moved = m + slope * ((y - seen) / unit) / square
        std = jnp.asarray(self.std).astype(slope.dtype)
        return jnp.where(straight, y, moved), DiagonalNoise(std / unit / jnp.sqrt(square))

    def gaussian_near(self, y: Any, m: Any = None, v: Any = None) -> tuple[Any, GaussianNoise]:
        """Of a mean of which nothing is known: near one that gives the data."""
        return self.gaussian_at(y, self.inverse(y) if m is None else m)

    def at(self, m: Any) -> tuple[Array, Array]:
        """The response and its slope at a mean."""
        m = jnp.asarray(m)
        return jax.jvp(self.function, (m,), (jnp.ones_like(m),))

    def inverse(self, y: Any) -> Array:
        """A mean that gives the data, or comes nearest: damped steps of Gauss and Newton from the data themselves."""

        def turn(_, state):
            m, damping, worst = state
            seen, slope = self.at(m)
            r = slope / most
            new = m + r * ((y - seen) / most) / (r**2 + damping * (r**2 + _FLAT))
            off = jnp.abs(y - self.function(new))
            better = jnp.isfinite(off) & (off <= worst)
            damping = jnp.where(better, damping / 4, damping * 8)
            return jnp.where(better, new, m), damping, jnp.where(better, off, worst)

        start = jnp.asarray(y)
        start = jnp.where(jnp.isfinite(self.function(start)), start, 1.0)  # a logarithm of data below zero
        most = _largest(self.at(start)[1])
        begin = start, jnp.full_like(start, 0.1), jnp.abs(jnp.asarray(y) - self.function(start))
        return jax.lax.fori_loop(0, _TURNS, turn, begin)[0]

    def fault(self, y: np.ndarray) -> str | None:
        some = jnp.asarray(np.asarray(y, np.float32).ravel()[:64])
        try:
            seen = self.at(some)[0]
        except Exception as error:  # what a user's function does under JAX
            return f"the response fails on an array: {str(error).splitlines()[0]}"
        if seen.shape != some.shape:
            return f"the response returns shape {seen.shape} for {some.shape}; it acts on every entry by itself"
        if np.iscomplexobj(y):
            return "a response is for real data"
        others = jnp.roll(some, 1).at[0].set(some[0]) if len(some) > 1 else some
        alone = self.function(others)
        moved = jnp.roll(seen, 1).at[0].set(seen[0]) if len(some) > 1 else seen
        size = float(np.nanmax(np.abs(moved), initial=0))
        if not np.allclose(np.asarray(alone), np.asarray(moved), rtol=1e-4, atol=1e-6 * size, equal_nan=True):
            return "the response mixes entries; it acts on every entry by itself"
        return None


def _largest(slope: Array) -> Array:
    """By which slopes are divided before they are squared, which in single precision not every unit allows."""
    most = jnp.max(jnp.where(jnp.isfinite(slope), jnp.abs(slope), 0))
    return jnp.where(most > 0, most, 1.0)
