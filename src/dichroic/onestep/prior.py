"""A prior that is a one-step generator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from dichroic.diffusion import PRIOR_STEPS, AnyNetwork, GaussianDenoiser, Prior, Scaling, Step
from dichroic.diffusion.leaves import filled, named_arrays
from dichroic.onestep.generator import Generator
from dichroic.onestep.training import gaussian_of

__all__ = ["GeneratorPrior"]

_MOMENTS = 4096  # draws that its Gaussian has the moments of


@dataclass(frozen=True)
class GeneratorPrior(Prior):
    """The population of one source as a generator, whose draws take an evaluation for every of its `levels`, and one
    where there are none.

    It has no denoiser: it simulates, replays and is compared, but a method that anneals refuses it.

    **Arguments:** `generator`, in scaled units; `levels`, falling noise levels that a stochastic one goes through.
    """

    kind: ClassVar[str] = "generator"
    generator: Generator
    levels: tuple[float, ...] = ()
    scaling: Scaling = field(default_factory=Scaling)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.generator.stochastic != bool(self.levels):
            raise ValueError("has noise levels, and a generator that is given none, or the other way round")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.generator.shape

    def gaussian(self) -> GaussianDenoiser:
        """The Gaussian with the moments of its draws, in scaled units; the one it corrects has those of its teacher."""
        x = self.sample(_MOMENTS, key=jax.random.key(_MOMENTS))
        return gaussian_of(np.asarray(self.scaling.to_scaled(x)))

    def sample(
        self, n: int, *, key: PRNGKeyArray, step: Step | None = None, steps: int = PRIOR_STEPS
    ) -> Float[Array, "n ..."]:
        """Draws `n` samples, in the user's units; its own levels take the place of `step` and `steps`."""
        levels = jax.device_put(np.asarray(self.levels, np.float32))
        return self.scaling.to_user(_sample(self.generator, levels, jax.random.split(key, n)))

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        network: Any = self.generator.network.network
        entries = {"shape": list(self.shape), "network": network.config.model_dump(), "levels": list(self.levels)}
        if self.generator.classes:
            entries["classes"] = self.generator.classes
        return entries, named_arrays(self.generator)

    @classmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "GeneratorPrior":
        described = _Entries.model_validate({name: entries.get(name) for name in _Entries.model_fields})
        shape, d = described.shape, prod(described.shape)
        rank = min(np.shape(arrays.get(".base.values", ())) or (0,))
        base = GaussianDenoiser(np.zeros(shape), np.zeros((d, rank)), np.zeros(rank), np.zeros(()))
        options = {"stochastic": bool(described.levels), "classes": described.classes or 0}
        try:
            skeleton = eqx.filter_eval_shape(
                lambda key: Generator.create(base, described.network, key=key, **options), jax.random.key(0)
            )
        except Exception as error:  # whatever JAX says of sizes that no network has
            raise ValueError(f"describes a network that cannot be built: {error}") from error
        if unknown := set(arrays) - set(named_arrays(jax.tree.map(lambda leaf: np.zeros(0), skeleton))):
            raise ValueError(f"lacks or has unexpected arrays: {sorted(unknown)}")
        return cls(filled(skeleton, arrays, same_shapes=True), described.levels, scaling, provenance)


@eqx.filter_jit
def _sample(generator: Generator, levels: Array, keys: Array) -> Array:
    if not len(levels):
        return jax.vmap(generator.sample)(keys)
    return jax.vmap(lambda key: generator.chain(key, levels))(keys)


class _Entries(BaseModel):
    """The entries of the header that are of this kind."""

    model_config = ConfigDict(extra="forbid")

    shape: tuple[PositiveInt, ...]
    network: AnyNetwork
    levels: tuple[PositiveFloat, ...]
    classes: PositiveInt | None
