"""One observation, or all of a view: what is known, and which Gaussian stands for it."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax

from dichroic.operators import GaussianNoise, joints, mixture, take, tangents

__all__ = ["Observation", "gaussians"]


class Observation(eqx.Module):
    r"""What is known about one observation: :math:`y \sim p(y \mid m)`, its likelihood, :math:`m = \sum_s A_s x_s`.

    A view holds all its observations as one of these, with the per-sample parts marked `PerSample`;
    `dichroic.operators.take` gives a single one, inside `jax.vmap` too.
    """

    y: Any  # values, 0 where missing
    observed: Any  # mask of what is observed
    mixing: dict[str, Any]
    likelihood: Any

    def mixture(self, x: Mapping[str, Any]) -> Any:
        """What it shows of its sources `{source: (...)}`, without noise."""
        return mixture(self.mixing, x)

    @property
    def is_gaussian(self) -> bool:
        """Whether it is linear in its sources, and its noise Gaussian."""
        return isinstance(self.likelihood, GaussianNoise) and not joints(self.mixing)

    def gaussian_at(self, x: Mapping[str, Any] | None = None, key: Any = None) -> "Observation":
        """The linear-Gaussian observation that stands for this one near the sources `x` (None: of which nothing is
        known); with a `key` the one that draws of the sources are made with.
        """
        if x is None:
            y, noise = self.likelihood.gaussian_near(self.y)
        elif key is None:
            y, noise = self.likelihood.gaussian_at(self.y, self.mixture(x))
        else:
            y, noise = self.likelihood.gaussian_drawn(key, self.y, self.mixture(x))
        if not joints(self.mixing):
            return Observation(y, self.observed, self.mixing, noise)
        mixing, moved = tangents(self.mixing, x)
        return Observation(y + moved, self.observed, mixing, noise)

    def near(self, m: Any, v: Any) -> tuple[Any, Any]:
        """Data and Gaussian noise that stand for the likelihood where the mixture is known as a Gaussian about `m` of
        variance `v`.
        """
        return self.likelihood.gaussian_near(self.y, m, v)

    @property
    def noise(self) -> Any:
        """The Gaussian noise that stands for the likelihood near the data."""
        return self.gaussian_at().likelihood


@eqx.filter_jit
def gaussians(observations: Observation, rows: Any) -> tuple[Any, Any]:
    """Data and noise of the linear-Gaussian observations that stand for some of these near their data."""

    def one(i):
        found = take(observations, i).gaussian_at()
        return found.y, found.likelihood

    return jax.vmap(one)(rows)
