r"""What one view says about its sources, each of one Gaussian or of several components.

An observation of such sources is itself a mixture, over all combinations :math:`c = (k_1, \ldots, k_S)` of their
components,

.. math:: p(y) = \sum_c \prod_s w_{s k_s}\; \mathcal N\Big(y;\; \sum_s A_s \mu_{s k_s},\;
    C_c = I + \sum_s A_s S_{s k_s} A_s^\top\Big) .

Sources of one Gaussian have a single combination, and nothing else about them is special: the Gaussian stage asks the
same questions. `dichroic.closed.routes` chooses who answers them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod

import jax
import numpy as np
from jaxtyping import Array, Float

from dichroic.algebra import Components, Gaussian
from dichroic.closed.moment_start import Moments
from dichroic.closed.statistics import Belief, Statistics
from dichroic.problem import View, blocks_of

__all__ = ["ComponentStatistics", "Evidence", "randomness"]


@dataclass(frozen=True)
class ComponentStatistics:
    r"""Derivatives of a log-likelihood by the components of one source (Fisher's identity makes them the E-step).

    **Fields:** `count`, :math:`n_k = \partial L / \partial \log w_k`, responsibilities summed, shape `(K,)`; `first`,
    :math:`g_k = \partial L / \partial \mu_k`, `(K, d)`; `second`, :math:`G_k = 2\, \partial L / \partial S_k`,
    `(K, d, d)`.
    """

    count: Float[np.ndarray, " K"]
    first: Float[np.ndarray, "K d"]
    second: Float[np.ndarray, "K d d"]

    @classmethod
    def of_one(cls, n: int, first: Float[np.ndarray, " d"], second: Float[np.ndarray, "d d"]) -> "ComponentStatistics":
        """Of `n` observations of a source of one component."""
        return cls(np.array([float(n)]), first[None], second[None])

    def __add__(self, other: "ComponentStatistics") -> "ComponentStatistics":
        return ComponentStatistics(self.count + other.count, self.first + other.first, self.second + other.second)


class Evidence(ABC):
    """One view, prepared for exact answers; one of `draws_only` answers to `believe` and `power` alone.

    `separate` says whether observations have systems of their own that are factorised on the host, for every draw anew.
    """

    draws_only = False
    separate = False

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        self.view, self.n = view, len(view)
        self.sources = list(view.mixing)
        self.shapes = {s: tuple(shapes[s]) for s in self.sources}
        self.blocks = blocks_of(self.shapes)
        self.values = int(view.counts.sum())

    @abstractmethod
    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        """The log-likelihood of every observation, in units in which the noise is white."""

    @abstractmethod
    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        """The log-likelihood summed over the observations, and its derivatives."""

    @abstractmethod
    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        """One draw of every observation from the exact posterior, each with its own key."""

    @abstractmethod
    def mean(self, components: Mapping[str, Components]) -> dict[str, Float[np.ndarray, "n ..."]]:
        r"""The exact posterior mean of every observation: with the responsibilities :math:`r_c` of its combinations,
        :math:`\mathrm E[x_s \mid y] = \sum_c r_c \big(\mu_{s k_s} + S_{s k_s} A_s^\top C_c^{-1} (y - \sum_t A_t
        \mu_{t k_t})\big)`.
        """

    @abstractmethod
    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        """Squared residual of samples per observed value, in units in which the noise is white."""

    @abstractmethod
    def cost(self, components: Mapping[str, Components]) -> float:
        """Floating-point operations of `statistics`, roughly."""

    @abstractmethod
    def power(self, source: str) -> float:
        """Variance that an isotropic source would need to explain the data by itself."""

    def moments(self) -> list[Moments] | None:
        """What the data say about means and covariances, for `moment_start`; None where that is not to be had."""
        return None

    def believe(self, populations: Mapping[str, Gaussian], lap: int) -> Belief:
        r"""The E-step of Gaussian sources: with `g` and `G` of `ComponentStatistics`,

        .. math:: \sum_i \mathrm E[x \mid y_i] = n \mu + S g , \qquad \sum_i \mathrm E[x x^\top \mid y_i] =
            n (S + \mu \mu^\top) + \mu (S g)^\top + S g\, \mu^\top + S G S .
        """
        given = {s: Components.of(populations[s]) for s in self.sources}
        value, found = self.statistics(given)
        statistics = {}
        for s, part in found.items():
            mean, S = given[s].means[0], given[s].covariances[0]
            step = S @ part.first[0]
            outer = np.outer(mean, step)
            second = self.n * (S + np.outer(mean, mean)) + outer + outer.T + S @ part.second[0] @ S
            derivatives = part.first[0], part.second[0]
            statistics[s] = Statistics(self.n, self.n * mean + step, second, derivatives=derivatives)
        return Belief(statistics, value, float(self.values))

    def combinations(self, components: Mapping[str, Components]) -> int:
        """How many there are."""
        return prod(len(components[s]) for s in self.sources)

    def cut(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Stacked samples by source."""
        return {s: samples[:, block].reshape(-1, *self.shapes[s]) for s, block in self.blocks.items()}


def randomness(keys: Array, d: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A uniform number, `d` and `m` standard normal ones for every key: equal keys draw alike in any company."""
    uniform, white, noise = (np.asarray(a, float) for a in _random(keys, d, m))
    return uniform, white, noise


@partial(jax.jit, static_argnums=(1, 2))
def _random(keys, d: int, m: int):
    def one(key):
        first, second, third = jax.random.split(key, 3)
        return jax.random.uniform(first), jax.random.normal(second, (d,)), jax.random.normal(third, (m,))

    return jax.vmap(one)(keys)
