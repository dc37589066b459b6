r"""What methods that move a denoised estimate towards the data have in common.

Of every source there are the estimate :math:`D_s(x_t, \sigma_t)` and its Jacobian :math:`J_s`; data are white, and
:math:`r = y - \sum_s A_s D_s`. A method takes some covariance `C` for that of the residual and goes one of two ways,

.. math:: D_s + \sigma_t^2 J_s^\top A_s^\top C^{-1} r \quad\text{(guided: the gradient of } \log \mathcal N(y; A D, C)
    \text{ in } x_t\text{)}, \qquad D_s + V_s A_s^\top C^{-1} r \quad\text{(shifted: no derivative of a network)},

which are the same thing where :math:`V_s = \sigma_t^2 J_s`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from dichroic.algebra import Info
from dichroic.diffusion import Ancestral, Cost, Denoiser, Target, noise_like, pure_noise
from dichroic.posterior.annealed import Annealed, AnyStep, Targeted
from dichroic.posterior.modelled import Model, Models, Sources, System
from dichroic.white import WhitenedObservation

__all__ = ["Guidance", "Guided", "GuidedTarget", "ModelledTarget", "replaced", "sum_of"]


class Guided(Targeted, ABC):
    """A method that says what becomes of the priors' estimates, given the data."""

    evaluations: ClassVar[Cost] = Cost(1)  # of an estimate

    def build(self, denoisers: dict[str, Denoiser], observation: WhitenedObservation, alike: bool) -> "Guidance":
        return Guidance(self, denoisers, observation, System.of(observation, alike))

    def gains(self, denoisers: dict[str, Denoiser]) -> bool:
        return True

    def estimate(self, target: "Guidance", x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        """The estimate; the priors' own unless a method says otherwise."""
        return target.denoised(x_t, sigma), Info.none()

    def settled(self, target: "Guidance", x_s: Sources, sigma_s: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        """What a state becomes that has been arrived at, see `Target.settled`."""
        return x_s


class GuidedTarget(Annealed, Guided, ABC):
    """One that any step is taken with that asks for no draws."""

    kind: Literal["annealed"] = "annealed"
    step: AnyStep = Field(default_factory=Ancestral)
    """How the state gets from one noise level to the next."""


class ModelledTarget(GuidedTarget, ABC):
    """Guided, by covariances that are taken to depend on the noise level alone."""

    evaluations: ClassVar[Cost] = Cost(1, 1)

    @abstractmethod
    def covariance(self, denoiser: Denoiser, sigma: Float[Array, ""]) -> Model | None:
        r""":math:`V_s` at a noise level; None where it cannot be had."""

    def prepared(self, denoisers: Mapping[str, Denoiser]) -> dict[str, Denoiser]:
        for s, denoiser in denoisers.items():
            if self.covariance(denoiser, jnp.ones(())) is None:
                raise ValueError(f"target {self.target!r} needs a covariance for source {s!r}, and its prior has none")
        return dict(denoisers)

    def models(self, target: "Guidance", sigma: Float[Array, ""]) -> Models:
        """The covariances of all sources."""
        found = {s: self.covariance(denoiser, sigma) for s, denoiser in target.denoisers.items()}
        return {s: model for s, model in found.items() if model is not None}

    def estimate(self, target: "Guidance", x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        D, moved, _, info = self.twist(target, x_t, sigma)
        return sum_of(D, moved), info

    def twist(
        self, target: "Guidance", x_t: Sources, sigma: Float[Array, ""]
    ) -> tuple[Sources, Sources, Float[Array, ""], Info]:
        r"""The priors' estimates, what they are moved by, :math:`\sigma_t^2 \nabla_{x_t} \log q(y \mid x_t)`, and
        :math:`\log q(y \mid x_t) = \log \mathcal N(y; A D, C)` up to what depends on the noise level alone.
        """
        D, back = target.linearised(x_t, sigma)
        r = target.residual(D)
        v, info = target.system.solve(self.models(target, sigma), r)
        return D, back(v), -jnp.sum(r * v) / 2, info


class Guidance(Target):
    """The joint posterior of one observation; the state is a dict of the sources that enter it."""

    method: Guided = eqx.field(static=True)
    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    system: System

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        return self.method.estimate(self, x_t, sigma)

    def settled(self, x_s: Sources, sigma_s: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return self.method.settled(self, x_s, sigma_s, key)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return pure_noise(key, self.observation.shapes, sigma, self.observation.dtype)

    @property
    def mean_cost(self) -> Cost:
        return self.method.evaluations

    def denoised(self, x_t: Sources, sigma: Float[Array, ""]) -> Sources:
        """The priors' estimates."""
        return {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}

    def linearised(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Callable[[Array], Sources]]:
        r"""The same, and the function :math:`v \mapsto \sigma_t^2 J_s^\top A_s^\top v`, one product a source."""
        D, transposed = jax.vjp(lambda x: self.denoised(x, sigma), x_t)
        return D, lambda v: jax.tree.map(lambda u: sigma**2 * u, transposed(self.observation.adjoint(v))[0])

    def residual(self, x: Sources) -> Float[Array, " m"]:
        """Data less the mixture of some sources."""
        return self.observation.y - self.observation.forward(x)


def sum_of(x: Sources, moved: Sources) -> Sources:
    """Sources and what they are moved by."""
    return jax.tree.map(jnp.add, x, moved)


def replaced(target: Guidance, x_s: Sources, sigma_s: Float[Array, ""], key: PRNGKeyArray) -> Sources:
    r"""A state whose part that the data see is theirs, with the noise of its level: :math:`x_s + A^+ \big(y + \sigma_s
    A \epsilon - A x_s\big)`.
    """
    noise = jax.tree.map(lambda e: sigma_s * e, noise_like(key, x_s))
    moved, _ = target.system.project(target.residual(x_s) + target.observation.forward(noise))
    return sum_of(x_s, moved)
