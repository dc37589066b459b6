r"""Coordinates in which the data see every direction by itself.

With the singular vectors of the white operators of all sources side by side, :math:`[A_1 \cdots A_S] = U\,
\mathrm{diag}(a)\, V^\top`, a state has the coordinates :math:`\bar x = V^\top x`, and the data say of each of them

.. math:: \bar y = \bar x_0 + e\, z , \qquad \bar y = a^{-1} U^\top y , \quad e = a^{-1} ,

or nothing, where :math:`a = 0`. Of the same law as data are states of the noise level `e`: that is what methods of
restoration by singular values are made of.
"""

from abc import ABC, abstractmethod
from math import prod

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.algebra.linear import JACOBI_SIZE
from dichroic.algebra.small import symmetric_eigen
from dichroic.diffusion import Cost, Denoiser, Step, Target, pure_noise
from dichroic.posterior.annealed import Targeted
from dichroic.posterior.method import Bound, Task
from dichroic.posterior.modelled import Sources
from dichroic.white import WhitenedObservation

__all__ = ["Spectral", "SpectralStep", "Spectrum"]

_MOST = 2048  # numbers in all sources of an observation, up to which singular vectors are found


class Spectral(Targeted, ABC):
    """A method with steps in the coordinates of the singular vectors.

    They are those of all operators side by side, so that sources are restored together; the priors' estimates are made
    in the sources' own coordinates.
    """

    @property
    @abstractmethod
    def walk(self) -> "SpectralStep": ...

    def build(self, denoisers: dict[str, Denoiser], observation: WhitenedObservation, alike: bool) -> "Spectrum":
        return Spectrum.of(denoisers, observation)

    def gains(self, denoisers: dict[str, Denoiser]) -> bool:
        return True

    def attach(self, task: Task) -> Bound:
        check_size(self.kind, task)
        return super().attach(task)


def check_size(kind: str, task: Task) -> None:
    """Whether singular vectors are to be had.

    **Raises:** `ValueError` where sources are too large for them.
    """
    numbers, shared = sum(prod(prior.shape) for prior in task.priors.values()), task.view.shared
    most = _MOST if shared else JACOBI_SIZE
    if numbers > most:
        raise ValueError(
            f"method {kind!r} needs the singular vectors of the operators, and its sources have {numbers} numbers; up "
            f"to {most} are decomposed where observations " + ("share" if shared else "do not share") + " operators"
        )


class Spectrum(Target):
    """One observation in the coordinates of the singular vectors; the state is a dict of the sources that enter it.

    **Fields:** `basis`, the columns of `V`; `y` and `e`, what the data say of each coordinate, and their error; `seen`,
    of which they say anything.
    """

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    basis: Float[Array, "d d"]
    y: Float[Array, " d"]
    e: Float[Array, " d"]
    seen: Bool[Array, " d"]

    @classmethod
    def of(cls, denoisers: dict[str, Denoiser], observation: WhitenedObservation) -> "Spectrum":
        """From the eigenvectors of :math:`A^\\top A`."""
        A = observation.matrix()
        S = A.T @ A
        squares, basis = symmetric_eigen(S) if len(S) <= JACOBI_SIZE else jnp.linalg.eigh(S)
        seen = squares > 8 * len(S) * jnp.finfo(S.dtype).eps * jnp.max(squares)
        squares = jnp.where(seen, squares, 1)
        y = jnp.where(seen, basis.T @ (A.T @ observation.y) / squares, 0)
        return cls(denoisers, observation, basis, y, 1 / jnp.sqrt(squares), seen)

    def into(self, x: Sources) -> Float[Array, " d"]:
        """The coordinates of sources."""
        return self.basis.T @ jnp.concatenate([x[s].reshape(-1) for s in self.observation.shapes])

    def back(self, coordinates: Float[Array, " d"]) -> Sources:
        """The sources of coordinates."""
        stacked, found, begin = self.basis @ coordinates, {}, 0
        for s, shape in self.observation.shapes.items():
            found[s] = stacked[begin : begin + prod(shape)].reshape(shape)
            begin += prod(shape)
        return found

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        return {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}, Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        noise = self.into(pure_noise(key, self.observation.shapes, sigma, self.observation.dtype))
        known = self.seen & (self.e < sigma)
        rest = jnp.sqrt(jnp.maximum(1 - (self.e / sigma) ** 2, 0))
        return self.back(jnp.where(known, self.y + rest * noise, noise))

    @property
    def mean_cost(self) -> Cost:
        return Cost(1)


class SpectralStep(Step):
    """A step that is written coordinate by coordinate."""

    @abstractmethod
    def coordinates(
        self, target: Spectrum, x: Array, D: Array, sigma_t: Array, sigma_s: Array, epsilon: Array
    ) -> Float[Array, " d"]:
        """The new coordinates, from those of the state `x`, of the priors' estimate `D` and of unit noise."""

    def __call__(
        self, target: Target, x_t: Sources, sigma_t: Float[Array, ""], sigma_s: Float[Array, ""], key: PRNGKeyArray
    ) -> tuple[Sources, Info]:
        assert isinstance(target, Spectrum)
        D, info = target.mean(x_t, sigma_t)
        epsilon = jax.random.normal(key, target.y.shape, target.y.dtype)
        x_s = self.coordinates(target, target.into(x_t), target.into(D), sigma_t, sigma_s, epsilon)
        return target.back(x_s), info

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (steps + 1)
