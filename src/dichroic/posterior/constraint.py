r"""The data of one observation as a constraint: what of a state they move, and how far.

With weights :math:`M_s` of the sources, the step

.. math:: u \leftarrow u + M A^\top (A M A^\top + c I)^{-1} (y - A u)

is for :math:`c = 0` the projection on :math:`A u = y`, in the metric :math:`M^{-1}`, and for :math:`c = 1 / \eta` a
proximal step of size :math:`\eta` of the likelihood, in units in which the noise is white.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, solve_products
from dichroic.diffusion import Cost, Denoiser, Target, pure_noise
from dichroic.white import WhitenedObservation

__all__ = ["Constrained", "Constraint", "squared_gains"]

_MOST = 64  # iterations of a solve


def squared_gains(observation: WhitenedObservation) -> dict[str, Float[Array, ""]]:
    """Mean squared gain of every source, the share of its power that the data show, in units of the noise.

    From the images of signs, which is exact for whatever multiplies entry by entry.
    """
    found = {}
    for number, (s, shape) in enumerate(observation.shapes.items()):
        signs = jax.random.rademacher(jax.random.fold_in(jax.random.key(0), number), shape, observation.dtype)
        found[s] = jnp.sum(observation.forward({s: signs}) ** 2) / signs.size
    return found


class Constraint(eqx.Module):
    """The data of one observation, with a weight for every source that they may move."""

    observation: WhitenedObservation
    weights: dict[str, Float[Array, ""]]

    def residual(self, u: Mapping[str, Array]) -> Float[Array, " m"]:
        """What of the data the state does not explain."""
        return self.observation.y - self.observation.forward(u)

    def pull(self, r: Float[Array, " m"], c: Float[Array, ""] | float = 0.0) -> tuple[dict[str, Array], Info]:
        r""":math:`M A^\top (A M A^\top + c I)^{-1} r`, and how well it was solved."""
        v, info = self.solve(r, c)
        return self._weighted(v), info

    def solve(self, r: Float[Array, " m"], c: Float[Array, ""] | float = 0.0) -> tuple[Float[Array, " m"], Info]:
        r""":math:`(A M A^\top + c I)^{-1} r`, and how well it was solved."""

        def product(p: Array) -> Array:
            return self.observation.forward(self._weighted(p)) + c * p

        diagonal = product(jnp.ones_like(r))  # the whole of it, where the operators multiply entry by entry
        v, residual = solve_products(product, r, diagonal, _MOST)
        return v, Info(residual, jnp.zeros((), jnp.int32))

    def __call__(self, u: Mapping[str, Array], c: Float[Array, ""] | float = 0.0) -> tuple[dict[str, Array], Info]:
        """The state after the step; sources without a weight stay."""
        moved, info = self.pull(self.residual(u), c)
        return {s: x + moved[s] if s in moved else x for s, x in u.items()}, info

    def _weighted(self, v: Array) -> dict[str, Array]:
        back = self.observation.adjoint(v)
        return {s: w * back[s] for s, w in self.weights.items()}


class Constrained(Target):
    """Sources whose states are on the data of one observation from the start on."""

    denoisers: dict[str, Denoiser]
    constraint: Constraint

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        observation = self.constraint.observation
        return self.constraint(pure_noise(key, observation.shapes, sigma, observation.dtype))[0]

    @property
    def mean_cost(self) -> Cost:
        return Cost(1)
