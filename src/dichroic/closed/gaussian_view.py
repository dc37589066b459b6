"""What one view says about Gaussian sources: what every route has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from dichroic.algebra import Gaussian
from dichroic.closed.moment_start import Moments
from dichroic.closed.statistics import Belief, Statistics
from dichroic.problem import View, blocks_of

__all__ = ["DenseView", "ViewStatistics"]


class ViewStatistics(ABC):
    """One view, prepared for Gaussian EM."""

    draws_only = False

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        self.sources = list(view.mixing)
        self.shapes = {s: tuple(shapes[s]) for s in self.sources}
        self.blocks = blocks_of(self.shapes)
        self.view = view

    @abstractmethod
    def believe(self, populations: Mapping[str, Gaussian], lap: int) -> Belief:
        """The E-step."""

    def moments(self) -> list[Moments] | None:
        """What the data say about means and covariances, for `moment_start`; None where that is not to be had."""
        return None

    @abstractmethod
    def power(self, source: str) -> float:
        """Variance that an isotropic source would need to explain the data by itself."""

    def stack(self, populations: Mapping[str, Gaussian]) -> tuple[np.ndarray, np.ndarray]:
        """Stacked mean and block-diagonal covariance."""
        mean = np.concatenate([populations[s].mean for s in self.sources])
        return mean, np.asarray(scipy.linalg.block_diag(*[populations[s].covariance() for s in self.sources]))

    def unstack(self, n: int, first: np.ndarray, second: np.ndarray) -> dict[str, Statistics]:
        """Statistics per source from stacked ones."""
        return {s: Statistics(n, first[block], second[block, block]) for s, block in self.blocks.items()}


class DenseView(ViewStatistics):
    """A view whose systems are factorised on the host, in double precision; it gives exact draws as well."""

    def draw(self, populations: Mapping[str, Gaussian], keys: Array | None) -> dict[str, Float[np.ndarray, "n ..."]]:
        """One draw of every observation from the exact posterior, each with its own key; without keys, the mean.

        Draws are made by Matheron's rule, and every number of them is solved for in double precision.
        """
        n, d, m = len(self.view), self.blocks[self.sources[-1]].stop, self.view.data_size
        x, noise = np.empty((n, d)), np.zeros((n, m))
        if keys is not None:
            white, noise = (np.asarray(a, float) for a in _white(keys, d, m))
        for s, block in self.blocks.items():
            p = populations[s]
            x[:, block] = p.mean
            if keys is not None:
                inside = white[:, block] @ p.basis
                x[:, block] += np.sqrt(p.rest) * (white[:, block] - inside @ p.basis.T)
                x[:, block] += (inside * np.sqrt(p.values)) @ p.basis.T
        pulled = self.pull(populations, x, noise)
        for s, block in self.blocks.items():
            x[:, block] += pulled[:, block] @ populations[s].covariance()
        return {s: x[:, block].reshape(n, *self.shapes[s]) for s, block in self.blocks.items()}

    @abstractmethod
    def pull(
        self, populations: Mapping[str, Gaussian], x: Float[np.ndarray, "n d"], noise: Float[np.ndarray, "n m"]
    ) -> Float[np.ndarray, "n d"]:
        r"""What the data that sources `x` and white `noise` leave unexplained pull at them with,
        :math:`A^\top (I + A S A^\top)^{-1} (y - A x - n)`.
        """

    @abstractmethod
    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        """Squared residual of samples per observed value, in units in which the noise is white."""


@partial(jax.jit, static_argnums=(1, 2))
def _white(keys, d: int, m: int):
    """Standard normal numbers of sources and noise: equal keys draw alike in any company."""

    def one(key):
        source_key, noise_key = jax.random.split(key)
        return jax.random.normal(source_key, (d,)), jax.random.normal(noise_key, (m,))

    return jax.vmap(one)(keys)
