"""The learned denoiser."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Components, Gaussian
from dichroic.diffusion.denoiser import Denoiser, GaussianDenoiser, trainable_in
from dichroic.diffusion.networks import NetworkConfig
from dichroic.diffusion.spread import Spread

__all__ = ["NetworkDenoiser"]


class NetworkDenoiser(Denoiser):
    r"""A network `F` under the preconditioning of Karras et al. (EDM, arXiv 2206.00364) for data of unit variance,

    .. math:: D(x_t, \sigma) = B(x_t, \sigma) + \frac{\sigma}{\sqrt{1 + \sigma^2}}\,
        F\Big(\frac{x_t}{\sqrt{1 + \sigma^2}}, \log\sigma\Big), \qquad B = \frac{x_t}{1 + \sigma^2}
        \;\text{ or }\; B = \text{a closed-form denoiser}.

    With a Gaussian `base` the network learns only what is not Gaussian, and starts as that Gaussian: its last layer
    begins at zero. A base that is a network is an earlier level, which is trained along with this one.

    **Arguments:** `network`, one of `NETWORKS`; `base`, a denoiser, or None; `precision`, the data
    type in which `F` is computed, `"float32"` or `"bfloat16"`; `spread`, the covariance of its errors at every noise
    level, a stand-in for the network's own Jacobian where that cannot be trusted.
    """

    learned: ClassVar[bool] = True

    network: eqx.Module
    base: Denoiser | None
    precision: str = eqx.field(static=True, default="float32")
    spread: Spread | None = None

    @classmethod
    def create(
        cls,
        shape: tuple[int, ...],
        config: NetworkConfig,
        *,
        key: PRNGKeyArray,
        base: Denoiser | None = None,
        precision: str = "float32",
        head: float = 0.0,
        objective: Any = None,
    ) -> "NetworkDenoiser":
        """A denoiser with fresh weights, for an objective in as many levels as it has; `head` scales those of the last
        layer where there is a base.
        """
        found, later = (
            cls(_built(config, shape, key, 1.0 if base is None else head), base, precision),
            getattr(objective, "head", 0.0),
        )
        for level in range(1, getattr(objective, "levels", 1)):
            found = cls(_built(config, shape, jax.random.fold_in(key, level), later), found, precision)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        return self.network.shape  # pyright: ignore

    def trainable(self) -> "NetworkDenoiser":
        own = trainable_in(self, lambda d: d.network)
        return own if self.base is None else eqx.tree_at(lambda d: d.base, own, self.base.trainable())

    @property
    def levels(self) -> "tuple[NetworkDenoiser, ...]":
        return (*(() if self.base is None else self.base.levels), self)

    @property
    def fast_block(self) -> int | None:
        return getattr(self.network, "fast_block", None)

    def __call__(
        self, x_t: Float[Array, "..."], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        """The estimate; a `key` switches dropout on, for training."""
        sigma = jnp.asarray(sigma, x_t.dtype)
        spread = jnp.sqrt(1 + sigma**2)
        base = x_t / spread**2 if self.base is None else self.base(x_t, sigma)
        return base + sigma / spread * self.correction(x_t, sigma, key)

    def correction(
        self, x_t: Float[Array, "..."], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        """What the network says, `F`."""
        network, inputs = self.network, x_t / jnp.sqrt(1 + sigma**2)
        if self.precision != "float32":
            dtype = jnp.dtype(self.precision)
            network = jax.tree.map(lambda w: w.astype(dtype) if eqx.is_inexact_array(w) else w, network)
            inputs = inputs.astype(dtype)
        return network(inputs, sigma, key).astype(x_t.dtype)  # pyright: ignore

    def closed_form(self) -> Gaussian | Components | None:
        return None if self.base is None else self.base.closed_form()

    def gaussian(self) -> GaussianDenoiser | None:
        return None if self.base is None else self.base.gaussian()

    def moments_given(self, sigma: Float[Array, ""]) -> tuple[Array, Array, Array] | None:
        return None if self.spread is None else self.spread.moments_given(sigma)


@eqx.filter_jit
def _built(config, shape, key, out_scale):
    """In one program: outside of it, every operation of every layer would be one."""
    return config.build(shape, key=key, out_scale=out_scale)
