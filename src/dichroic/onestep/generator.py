r"""One-step generators: a draw of a source, or of a source given a noisy copy of it, in one evaluation.

With the mean `B` and the covariance `V` of a Gaussian that stands in for the source, given the noisy copy
:math:`x_u = x + \sigma_u \epsilon` where there is one,

.. math:: g(z, x_u, \sigma_u) = B + V^{1/2} \Big(z + F\big(\tfrac{x_u}{\sqrt{1 + \sigma_u^2}}, z, \log \sigma_u\big)
    \Big), \qquad z \sim \mathcal N(0, I) .

The last layer of the network `F` begins at zero, and the generator with the Gaussian. Given a noisy copy it is a
stochastic denoiser: it draws from :math:`p(x \mid x_u)`, of which a denoiser is the mean (Jayashankar's thesis, 8.5).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import GaussianDenoiser, NetworkConfig, trainable_in
from dichroic.onestep.stacked import Stacked

__all__ = ["Generator", "Noisy"]


class Noisy(eqx.Module):
    """A noisy copy of a sample, its noise level, and the class of the sample where there are classes."""

    x: Float[Array, "..."]
    sigma: Float[Array, ""]
    label: Float[Array, " classes"] | None = None

    @property
    def scaled(self) -> Float[Array, "..."]:
        """With unit variance, where the sample has it."""
        return self.x / jnp.sqrt(1 + self.sigma**2)


class Generator(eqx.Module):
    """A generator of samples of one source, in scaled units; `stochastic`, whether it is given a noisy copy; `classes`,
    of which a plain one may be told one.
    """

    network: Stacked
    base: GaussianDenoiser
    stochastic: bool = eqx.field(static=True)
    classes: int = eqx.field(static=True, default=0)

    @classmethod
    def create(
        cls,
        base: GaussianDenoiser,
        config: NetworkConfig,
        *,
        stochastic: bool = False,
        classes: int = 0,
        key: PRNGKeyArray,
    ) -> "Generator":
        """With fresh weights: draws of the Gaussian `base`."""
        network = Stacked.create(config, base.shape, arrays=2 if stochastic else 1, numbers=classes, key=key)
        return cls(network, base, stochastic, classes)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def trainable(self) -> "Generator":
        """The network."""
        return trainable_in(self, lambda g: g.network)

    @property
    def fast_block(self) -> int | None:
        """A batch is never parted: what judges the generator learns beside it, once a step."""
        return None

    def __call__(
        self, z: Float[Array, "..."], noisy: Noisy | None = None, label: Float[Array, " classes"] | None = None
    ) -> Float[Array, "..."]:
        """The sample that belongs to the noise `z`."""
        if noisy is None:
            B, sigma, arrays = jnp.asarray(self.base.mean, z.dtype), jnp.ones((), z.dtype), [z]
            basis, values, rest = (jnp.asarray(a, z.dtype) for a in (self.base.basis, self.base.values, self.base.rest))
        else:
            B, sigma, arrays = self.base(noisy.x, noisy.sigma), noisy.sigma, [noisy.scaled, z]
            basis, values, rest = self.base.moments_given(noisy.sigma)
        v = (z + self.network(arrays, label, sigma)[0]).reshape(-1)
        out = jnp.sqrt(rest) * v + basis @ ((jnp.sqrt(values) - jnp.sqrt(rest)) * (basis.T @ v))
        return B + out.reshape(z.shape)

    def sample(
        self, key: PRNGKeyArray, noisy: Noisy | None = None, label: Float[Array, " classes"] | None = None
    ) -> Float[Array, "..."]:
        """One draw; of any class where it is not said which, all being as likely."""
        if self.classes and label is None:
            which = jax.random.randint(jax.random.fold_in(key, 0), (), 0, self.classes)
            label = jax.nn.one_hot(which, self.classes)
        return self(jax.random.normal(key, self.shape, jnp.float32), noisy, label)

    def chain(self, key: PRNGKeyArray, levels: Float[Array, " k"]) -> Float[Array, "..."]:
        """A draw in as many evaluations as there are levels: from pure noise at the first of them, drawing and noising
        anew at each that follows. With an exact generator every such chain is exact.
        """
        x = jnp.asarray(self.base.mean, jnp.float32)

        def step(x: Array, turn: tuple[Array, Array]) -> tuple[Array, None]:
            sigma, key = turn
            noise, draw = jax.random.split(key)
            return self.sample(draw, Noisy(x + sigma * jax.random.normal(noise, x.shape, x.dtype), sigma)), None

        turns = jnp.asarray(levels, x.dtype), jax.random.split(key, len(levels))
        return jax.lax.scan(step, x, turns)[0]
