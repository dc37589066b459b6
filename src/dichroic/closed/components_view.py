"""What one view says about sources of several components: what every route has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from dichroic.algebra import Components
from dichroic.problem import View, blocks_of
from dichroic.white.view import stack_samples

__all__ = ["ComponentStatistics", "ComponentsView"]


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

    def __add__(self, other: "ComponentStatistics") -> "ComponentStatistics":
        return ComponentStatistics(self.count + other.count, self.first + other.first, self.second + other.second)


class ComponentsView(ABC):
    """One view, prepared for exact answers about sources of several components."""

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        self.sources = list(view.mixing)
        self.shapes = {s: tuple(shapes[s]) for s in self.sources}
        self.blocks = blocks_of(self.shapes)
        self.n = len(view)
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
    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        """Squared residual of samples per observed value, in units in which the noise is white."""

    @abstractmethod
    def cost(self, components: Mapping[str, Components]) -> float:
        """Floating-point operations of `statistics`, roughly."""

    def stack(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n d"]:
        """Samples of all sources side by side."""
        return stack_samples(samples, self.sources, self.n)

    def cut(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Stacked samples by source."""
        return {s: samples[:, block].reshape(-1, *self.shapes[s]) for s, block in self.blocks.items()}
