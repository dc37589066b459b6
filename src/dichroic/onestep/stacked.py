"""Networks of a sample with other things beside it: any of `NETWORKS`, one for more channels."""

from math import prod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import NetworkConfig

__all__ = ["Stacked", "waves"]

_OCTAVES = 4


def waves(a: Float[Array, ""]) -> Float[Array, " features"]:
    """Sines and cosines of a number between about 0 and 1, over four octaves."""
    phase = jnp.pi * a * 2.0 ** jnp.arange(_OCTAVES)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)])


class Stacked(eqx.Module):
    """A network of `arrays` of the shape of a sample and of some `numbers`, with one array and one number as result.

    In a vector they stand one after the other; in an image they are channels, a number one that is the same everywhere:
    for the first layer a linear map of it that is added to everything. The number that comes out is a mean over places.
    """

    network: eqx.Module
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        config: NetworkConfig,
        shape: tuple[int, ...],
        *,
        arrays: int = 1,
        numbers: int = 0,
        key: PRNGKeyArray,
        out_scale: float = 0.0,
    ) -> "Stacked":
        """With fresh weights."""
        if len(shape) == 3:
            built: tuple[int, ...] = (*shape[:2], arrays * shape[2] + numbers)
        else:
            built = (arrays * prod(shape) + numbers,)
        return cls(config.build(built, key=key, out_scale=out_scale), shape)

    def __call__(
        self, arrays: list[Array], numbers: Float[Array, " k"] | None, sigma: Array, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        numbers = jnp.zeros(0, arrays[0].dtype) if numbers is None else numbers.astype(arrays[0].dtype)
        if len(self.shape) == 3:
            planes = jnp.broadcast_to(numbers, (*self.shape[:2], len(numbers)))
            out = self.network(jnp.concatenate([*arrays, planes], -1), sigma, key)  # pyright: ignore
            c = self.shape[2]
            return out[..., :c], out[..., -1].mean()
        out = self.network(jnp.concatenate([*(a.reshape(-1) for a in arrays), numbers]), sigma, key)  # pyright: ignore
        return out[: prod(self.shape)].reshape(self.shape), out[-1]
