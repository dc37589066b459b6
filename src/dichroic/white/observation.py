r"""One observation as the posterior sees it: real, flat, white, and in the units of the denoisers.

With :math:`W^* W = \Sigma^{-1}` and :math:`x_s = \text{shift}_s + \text{scale}_s z_s`,

.. math:: y' = W \big(y - \textstyle\sum_s A_s\, \text{shift}_s\big), \qquad A'_s = W A_s\, \text{scale}_s,
    \qquad y' = \textstyle\sum_s A'_s z_s + n', \quad n' \sim \mathcal N(0, I).

Missing entries have a zero row and read zero. Complex entries count as two real ones.
"""

from collections.abc import Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import Scaling
from dichroic.operators import AsComplex, Composition, Operator
from dichroic.problem import Observation

__all__ = ["WhitenedObservation"]


class WhitenedObservation(eqx.Module):
    """A single observation (no `PerSample` marks) of sources with the given scalings and shapes.

    `stated` is the observation itself where it is not linear and Gaussian; everything but `at`, `log_likelihood` and
    `chi_square` sees what stands for it.
    """

    observation: Observation
    scalings: dict[str, Scaling]
    shapes: dict[str, tuple[int, ...]] = eqx.field(static=True)
    stated: Observation | None = None

    @classmethod
    def of(
        cls, observation: Observation, scalings: Mapping[str, Scaling], shapes: Mapping[str, tuple[int, ...]]
    ) -> "WhitenedObservation":
        """Restricted to the sources that enter the observation; of any likelihood, its Gaussian near the data."""
        names = list(observation.mixing)
        return cls._near(observation, {s: scalings[s] for s in names}, {s: tuple(shapes[s]) for s in names})

    @classmethod
    def unscaled(cls, observation: Observation, shapes: Mapping[str, tuple[int, ...]]) -> "WhitenedObservation":
        """In the user's units, as if it showed nothing but the sources in `shapes`; those that enter, in that order."""
        shapes = {s: tuple(shape) for s, shape in shapes.items() if s in observation.mixing}
        return cls._near(observation, {s: Scaling() for s in shapes}, shapes)

    @classmethod
    def _near(
        cls, observation: Observation, scalings: dict[str, Scaling], shapes: dict[str, tuple[int, ...]]
    ) -> "WhitenedObservation":
        stated = None if observation.is_gaussian else observation
        return cls(observation.gaussian_at(), scalings, shapes, stated)

    def at(self, z: Mapping[str, Array], key: PRNGKeyArray | None = None) -> "WhitenedObservation":
        """The Gaussian observation that stands for this one near the sources `z` in scaled units; with a `key`, for
        draws.
        """
        if self.stated is None:
            return self
        x = {s: self.scalings[s].to_user(x) for s, x in z.items()}
        return WhitenedObservation(self.stated.gaussian_at(x, key), self.scalings, self.shapes)

    def log_likelihood(self, z: Mapping[str, Array]) -> Float[Array, ""]:
        r""":math:`\log p(y \mid x)` of sources in scaled units, by the observation itself."""
        stated = self.observation if self.stated is None else self.stated
        m = stated.mixture({s: self.scalings[s].to_user(x) for s, x in z.items()})
        return stated.likelihood.log_prob(jnp.asarray(stated.y), m, stated.observed)

    def given(self, z: Mapping[str, Array]) -> "WhitenedObservation":
        """What is left to see of the other sources when those in `z`, in scaled units, are known."""
        rest = [s for s in self.shapes if s not in z]
        y = jnp.asarray(self.observation.y)
        if z:
            y = y - self._mix({s: self.scalings[s].to_user(x) for s, x in z.items()}, {s: 1.0 for s in z})
        left = Observation(
            y, self.observation.observed, {s: self.observation.mixing[s] for s in rest}, self.observation.likelihood
        )
        return WhitenedObservation.of(left, self.scalings, self.shapes)

    @property
    def y(self) -> Float[Array, " m"]:
        """The data, `y'`."""
        shifts = {s: jnp.full(shape, self.scalings[s].shift, _float(self.dtype)) for s, shape in self.shapes.items()}
        return self._flatten(jnp.asarray(self.observation.y) - self._mix(shifts, {s: 1.0 for s in shifts}))

    @property
    def dtype(self):
        """Real data type of the computation."""
        return jnp.asarray(self.observation.y).real.dtype

    def forward(self, z: Mapping[str, Array]) -> Float[Array, " m"]:
        """The mixture of sources in scaled units, :math:`\\sum_s A'_s z_s`."""
        return self._flatten(self._mix(z, {s: self.scalings[s].scale for s in z}))

    def adjoint(self, v: Float[Array, " m"]) -> dict[str, Array]:
        """:math:`A'^\\top_s v` for every source."""
        zeros = {s: jax.ShapeDtypeStruct(shape, v.dtype) for s, shape in self.shapes.items()}
        return jax.linear_transpose(self.forward, zeros)(v)[0]

    def matrices(self) -> dict[str, Float[Array, "m d"]]:
        """The matrices of :math:`A'_s`, for small problems."""

        def matrix(source: str, shape: tuple[int, ...]) -> Array:
            size = jnp.zeros(shape).size
            units = jnp.eye(size, dtype=self.dtype).reshape(size, *shape)
            return jax.vmap(lambda e: self.forward({source: e}))(units).T

        return {s: matrix(s, shape) for s, shape in self.shapes.items()}

    def squared_gains(self) -> dict[str, Float[Array, " m"]] | None:
        r"""The diagonals of :math:`A'_s A'^\top_s`, where these are all there is of them: operators multiply entry by
        entry, and the noise of entries is independent. None elsewhere.
        """
        numbers, operators = self.observed.size, self.observation.mixing
        if not (
            self.observation.likelihood.entrywise
            and all(_multiplies(operators[s]) and prod(shape) == numbers for s, shape in self.shapes.items())
        ):
            return None
        back = self.adjoint(jnp.ones(numbers, self.dtype))
        return {s: self.forward({s: u}) for s, u in back.items()}

    def matrix(self) -> Float[Array, "m d"]:
        """The matrices of all sources side by side, in the order of `shapes`."""
        return jnp.concatenate(list(self.matrices().values()), axis=1)

    @property
    def observed(self) -> Float[Array, " m"]:
        """1 where there is data and 0 where there is none."""
        y, flat = jnp.asarray(self.observation.y), jnp.asarray(self.observation.observed).reshape(-1)
        return jnp.tile(flat.astype(self.dtype), 2 if jnp.iscomplexobj(y) else 1)

    @property
    def count(self) -> Float[Array, ""]:
        """Number of real values observed."""
        return jnp.sum(self.observed)

    def chi_square(self, z: Mapping[str, Array]) -> Float[Array, ""]:
        """:math:`|y' - A' z|^2` per observed value: 1 on average for a draw of the exact posterior. Where a Gaussian
        stands for the likelihood, the one at `z`.
        """
        near = self.at(z)
        return jnp.sum((near.y - near.forward(z)) ** 2) / jnp.maximum(self.count, 1)

    def _mix(self, x: Mapping[str, Array], factors: Mapping[str, float]) -> Array:
        terms = [self.observation.mixing[s](factors[s] * x[s]) for s in x]
        return sum(terms[1:], terms[0])  # pyright: ignore

    def _flatten(self, u: Array) -> Float[Array, " m"]:
        u = self.observation.likelihood.whiten(self._masked(u))
        u = self._masked(u).reshape(-1)
        if jnp.iscomplexobj(jnp.asarray(self.observation.y)):
            u = u.astype(jnp.result_type(u.dtype, 1j))
            return jnp.concatenate([u.real, u.imag])
        return u

    def _masked(self, u: Array) -> Array:
        return jnp.where(self.observation.observed, u, 0)


def _multiplies(operator: Operator) -> bool:
    """Whether it multiplies entry by entry; complex numbers, which are pairs, turn as well."""
    if isinstance(operator, Composition):
        return _multiplies(operator.outer) and _multiplies(operator.inner)
    return isinstance(operator, AsComplex) or operator.diagonal() is not None


def _float(dtype):
    return jnp.promote_types(dtype, jnp.float32)
