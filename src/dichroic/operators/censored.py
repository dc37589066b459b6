"""Gaussian noise behind a converter: values beyond its limits are clipped, others rounded to its steps."""

from math import inf
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from dichroic.operators.likelihood import GaussianNoise, Likelihood
from dichroic.operators.noise import DiagonalNoise

__all__ = ["Censored"]

_LEAST = 1e-3  # of what unclipped data tell, the least that clipped data are taken to tell


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values))


class Censored(Likelihood):
    r"""What is written of :math:`z \sim \mathcal N(m, \sigma^2)`: :math:`\min(\max(z, l), h)`, rounded to steps.

    An entry says that `z` lies between two bounds, :math:`y \mp \text{step} / 2`, or beyond a limit; where neither is
    there, it is `z` itself. Given the mean, `z` is a truncated Gaussian (Tobin, 1958; Albert and Chib, 1993). Complex
    data are clipped and rounded in their real and in their imaginary part.

    **Arguments:** `std`, :math:`\sigma`, one number or one per entry; `clipped`, the limits `(l, h)`, either of them
    infinite where there is none; `step`, between neighbouring values, 0 where nothing is rounded. Values stand on the
    limits, or on multiples of the step where there are none.
    """

    entrywise = ("std",)
    additive = False

    std: ArrayLike
    clipped: tuple[float, ...] = eqx.field(static=True, default=(-inf, inf), converter=_numbers)
    step: float = eqx.field(static=True, default=0.0, converter=float)

    def __check_init__(self):
        if len(self.clipped) != 2 or not self.clipped[0] < self.clipped[1]:
            raise ValueError(f"clipped: expected the least and the largest value, got {list(self.clipped)}")
        if not 0 <= self.step < inf:
            raise ValueError(f"step: expected a positive number, or 0 where nothing is rounded, got {self.step:g}")

    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        seen = jnp.broadcast_to(jnp.asarray(observed), y.shape)

        def one(y: Array, m: Array) -> Array:
            y, s = jnp.where(seen, y, 0), jnp.asarray(self.std)
            a, b, point = self._bounds(y, m)
            z = jnp.where(point, (y - m) / s, 0)
            density = -(z**2) / 2 - jnp.log(s * (2 * jnp.pi) ** 0.5)
            return jnp.sum(jnp.where(seen, jnp.where(point, density, _log_mass(a, b)), 0))

        return one(y.real, m.real) + one(y.imag, m.imag) if jnp.iscomplexobj(y) else one(y, m)

    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        return _parts(self._written, DiagonalNoise(self.std).sample(key, m))

    def gaussian_at(self, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        s = jnp.asarray(self.std)
        told = jnp.maximum(_parts_least(self._information, m), _LEAST) * s**2 / (s**2 + self.step**2 / 12)

        def one(y: Array, m: Array) -> Array:
            return m + s / told * self._score(y, m)

        return _parts(one, y, m), DiagonalNoise(s / jnp.sqrt(told))

    def gaussian_near(self, y: Any, m: Any = None, v: Any = None) -> tuple[Any, GaussianNoise]:
        """Of a mean of which nothing is known: the noise, and what is rounded away."""
        if m is not None:
            return self.gaussian_at(y, m)
        return y, DiagonalNoise(jnp.sqrt(jnp.asarray(self.std) ** 2 + self.step**2 / 12))

    def gaussian_drawn(self, key: PRNGKeyArray, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        u = jax.random.uniform(key, (2, *jnp.shape(y)), jnp.asarray(y).real.dtype)

        def one(y: Array, m: Array, u: Array) -> Array:
            a, b, point = self._bounds(y, m)
            return jnp.where(point, y, m + jnp.asarray(self.std) * _truncated(a, b, u))

        if jnp.iscomplexobj(y):
            drawn = one(y.real, m.real, u[0]) + 1j * one(y.imag, m.imag, u[1])
        else:
            drawn = one(y, m, u[0])
        return drawn, DiagonalNoise(self.std)

    def fault(self, y: np.ndarray) -> str | None:
        (low, high), slack = self.clipped, self.step / 2
        parts = np.stack([np.real(y), np.imag(y)]) if np.iscomplexobj(y) else y
        far = parts[(parts < low - slack) | (parts > high + slack)]
        return None if not far.size else f"values are clipped to [{low:g}, {high:g}], and y has {far[0]:g}"

    def _written(self, z: Array) -> Array:
        low, high = self.clipped
        z = jnp.clip(z, low, high)
        if not self.step:
            return z
        base = low if low > -inf else high if high < inf else 0.0
        return jnp.clip(base + self.step * jnp.round((z - base) / self.step), low, high)

    def _bounds(self, y: Array, m: Array) -> tuple[Array, Array, Array]:
        """Between which standard deviations from the mean the value was, and where it is known."""
        (low, high), half, s = self.clipped, self.step / 2, jnp.asarray(self.std)
        at_low, at_high = y <= low + half * 0.01, y >= high - half * 0.01
        a = jnp.where(at_low, -inf, (jnp.where(at_high, high, y) - half - m) / s)
        b = jnp.where(at_high, inf, (jnp.where(at_low, low, y) + half - m) / s)
        return a, b, ~(at_low | at_high) if not self.step else jnp.zeros(jnp.shape(a), bool)

    def _score(self, y: Array, m: Array) -> Array:
        """Of the mean, in units of the noise."""
        a, b, point = self._bounds(y, m)
        log_mass = _log_mass(a, b)
        inside = jnp.exp(_log_density(a) - log_mass) - jnp.exp(_log_density(b) - log_mass)
        return jnp.where(point, (y - m) / jnp.asarray(self.std), inside)

    def _information(self, m: Array) -> Array:
        """Of clipped data about the mean, as a share of what others tell (Fisher)."""
        s = jnp.asarray(self.std)
        total = jnp.ones(jnp.shape(m), m.dtype)
        for limit, sign in zip(self.clipped, (1, -1), strict=True):
            if abs(limit) < inf:
                t = sign * (limit - m) / s  # beyond the limit is below t
                beyond = jnp.exp(2 * _log_density(t) - log_ndtr(t))
                total = total - ndtr(t) + t * jnp.exp(_log_density(t)) + beyond
        return total


def _parts(function: Any, *z: Any) -> Any:
    """A function of real numbers, of real and imaginary part."""
    if not any(jnp.iscomplexobj(a) for a in z):
        return function(*z)
    return function(*(a.real for a in z)) + 1j * function(*(a.imag for a in z))


def _parts_least(function: Any, z: Any) -> Array:
    """The same, the smaller of both."""
    return jnp.minimum(function(z.real), function(z.imag)) if jnp.iscomplexobj(z) else function(z)


def _log_density(t: Array) -> Array:
    return -(t**2) / 2 - jnp.log(2 * jnp.pi) / 2


def _log_mass(a: Array, b: Array) -> Array:
    """Of a standard Gaussian between `a` and `b`, on the side where nothing cancels."""
    flip = a + b > 0  # nan of two infinite ends compares false
    low, high = jnp.where(flip, -b, a), jnp.where(flip, -a, b)
    top = log_ndtr(high)
    rest = jnp.where(low == -inf, 0, jnp.exp(log_ndtr(jnp.where(low == -inf, -1, low)) - top))
    return top + jnp.log1p(-jnp.minimum(rest, 1 - jnp.finfo(top.dtype).eps))


def _truncated(a: Array, b: Array, u: Array) -> Array:
    """A draw of a standard Gaussian between `a` and `b`."""
    flip = a + b > 0
    low, high = jnp.where(flip, -b, a), jnp.where(flip, -a, b)
    top = log_ndtr(high)
    rest = jnp.where(low == -inf, 0, jnp.exp(log_ndtr(jnp.where(low == -inf, -1, low)) - top))
    log_p = top + jnp.log(rest + jnp.maximum(u, jnp.finfo(u.dtype).tiny) * (1 - rest))
    far = log_p < -60  # where the inverse is asymptotic
    p = jnp.exp(jnp.where(far, -1.0, log_p))
    tail = -jnp.sqrt(-2 * jnp.where(far, log_p, -1.0) - jnp.log(2 * jnp.pi * -2 * jnp.where(far, log_p, -1.0)))
    z = jnp.clip(jnp.where(far, tail, ndtri(p)), low, high)
    return jnp.where(flip, -z, z)
