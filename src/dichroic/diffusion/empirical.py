"""A prior that is a set of samples: of nothing else is the posterior known at every noise level."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Components
from dichroic.diffusion.denoiser import EXACT_SIZE, ComponentsDenoiser, Denoiser, GaussianDenoiser
from dichroic.diffusion.prior import PRIOR_STEPS, Prior, Scaling, as_weights, real_pairs
from dichroic.diffusion.sampler import Step
from dichroic.diffusion.schedule import Schedule
from dichroic.faults import require_known

__all__ = ["Empirical", "EmpiricalDenoiser"]

_DIRECT = 2**16  # numbers in all atoms up to which distances are taken entry by entry


class EmpiricalDenoiser(Denoiser):
    r"""The denoiser of `N` atoms :math:`a_i` with the weights :math:`w_i`,

    .. math:: D(x_t, \sigma) = \sum_i r_i a_i, \qquad r_i \propto w_i \exp(-|x_t - a_i|^2 / 2 \sigma^2) .

    **Arguments:** `log_weights`, shape `(N,)`; `atoms`, `(N, ...)`.
    """

    discrete: ClassVar[bool] = True

    log_weights: ArrayLike
    atoms: ArrayLike

    @property
    def shape(self) -> tuple[int, ...]:
        return jnp.shape(self.atoms)[1:]

    def distances(self, x: Float[Array, "..."]) -> Float[Array, " N"]:
        """Squares of the distances to all atoms, up to what all of them share."""
        atoms, x = self._flat(x.dtype), x.reshape(-1)
        # many atoms are one matrix product for a batch of samples; few keep the digits that it cancels
        if atoms.size <= _DIRECT:
            return jnp.sum((x - atoms) ** 2, axis=1)
        return jnp.sum(atoms**2, axis=1) - 2 * atoms @ x

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        r = jax.nn.softmax(jnp.asarray(self.log_weights, x_t.dtype) - self.distances(x_t) / (2 * sigma**2))
        return (r @ self._flat(x_t.dtype)).reshape(x_t.shape)

    def nearest(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return self._flat(x.dtype)[jnp.argmin(self.distances(x))].reshape(x.shape)

    def population(self) -> Components | None:
        """Components without extent, of sources whose covariances are formed."""
        d = prod(self.shape)
        if d > EXACT_SIZE:
            return None
        weights = np.exp(np.asarray(self.log_weights, float))
        atoms = np.asarray(self.atoms, float).reshape(len(weights), d)
        return Components(weights / weights.sum(), atoms, np.zeros((len(weights), d, d)))

    def gaussian(self) -> GaussianDenoiser | None:
        weights = np.exp(np.asarray(self.log_weights, float))
        atoms = np.asarray(self.atoms, float).reshape(len(weights), -1)
        mean = weights @ atoms / weights.sum()
        basis, roots, _ = np.linalg.svd(((atoms - mean) * np.sqrt(weights / weights.sum())[:, None]).T, False)
        found = mean.reshape(self.shape), basis, roots**2, np.zeros(())
        return GaussianDenoiser(*(np.asarray(a, np.float32) for a in found))

    def components(self) -> ComponentsDenoiser | None:
        known = self.population()
        return None if known is None else ComponentsDenoiser.of(known, self.shape)

    def _flat(self, dtype: Any) -> Float[Array, "N d"]:
        return jnp.asarray(self.atoms, dtype).reshape(len(jnp.asarray(self.log_weights)), -1)


@dataclass(frozen=True)
class Empirical(Prior):
    """A source that is one of `N` atoms: data in place of a model of them.

    **Arguments:** `atoms`, shape `(N, ...)`, in the user's units, complex ones as real pairs along a last axis;
    `weights`, shape `(N,)`, that sum to one. `Empirical.of` scales them.

    **Raises:** `ValueError` for what are no atoms or no weights.
    """

    kind: ClassVar[str] = "empirical"
    atoms: np.ndarray
    weights: np.ndarray
    schedule: Schedule = field(default_factory=Schedule)
    scaling: Scaling = field(default_factory=Scaling)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.atoms.ndim < 2 or self.atoms.size == 0 or not np.isfinite(self.atoms).all():
            raise ValueError(f"expected atoms (N, ...) of finite numbers, got shape {self.atoms.shape}")
        as_weights(self.weights, len(self.atoms))

    @classmethod
    def of(cls, atoms: Any, weights: Any = None) -> "Empirical":
        """Of atoms with weights of any sum (None: all alike), in units in which they have unit variance."""
        atoms = np.asarray(atoms, np.float32)
        n = len(atoms) if atoms.ndim else 0
        return cls(atoms, as_weights(weights, n), scaling=Scaling.of(atoms))

    @classmethod
    def of_table(cls, table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool) -> "Empirical":
        """`{ empirical = "FILE:KEY", weights = "FILE:KEY" }`."""
        require_known(table, ("empirical", "weights"))
        return cls.of(real_pairs(table["empirical"], pairs), table.get("weights"))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.atoms.shape[1:]

    def sample(
        self, n: int, *, key: PRNGKeyArray, step: Step | None = None, steps: int = PRIOR_STEPS
    ) -> Float[Array, "n ..."]:
        with np.errstate(divide="ignore"):
            return _some(self.atoms, np.log(self.weights), key, n)

    def denoiser(self) -> EmpiricalDenoiser:
        atoms = np.asarray(self.scaling.to_scaled(self.atoms), np.float32)
        with np.errstate(divide="ignore"):
            return EmpiricalDenoiser(np.log(self.weights).astype(np.float32), atoms)

    def components(self) -> Components | None:
        found = self.denoiser().population()
        return None if found is None else found.scaled(self.scaling.shift, self.scaling.scale)

    def alphabet(self) -> Float[np.ndarray, "K ..."]:
        return self.atoms

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"schedule": [self.schedule.sigma_min, self.schedule.sigma_max]}, {
            "atoms": self.atoms,
            "weights": self.weights,
        }

    @classmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "Empirical":
        if set(arrays) != {"atoms", "weights"}:
            raise ValueError(f"lacks or has unexpected arrays: {sorted(set(arrays) ^ {'atoms', 'weights'})}")
        return cls(arrays["atoms"], arrays["weights"], Schedule.of(entries.get("schedule")), scaling, provenance)


@eqx.filter_jit
def _some(atoms: Any, log_weights: Any, key: PRNGKeyArray, n: int) -> Array:
    return jnp.asarray(atoms)[jax.random.categorical(key, jnp.asarray(log_weights, jnp.float32), shape=(n,))]
