"""Networks of autoencoders: two hidden layers each (Jayashankar 2025, chapter 3, on MNIST)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Autoencoder", "Perceptron", "log_likelihood"]

Layer = tuple[Float[Array, "_ _"], Float[Array, " _"]]  # weights and biases


class Perceptron(eqx.Module):
    """Two hidden layers with SiLU. The first one has weights for every input apart, so that what does not depend on an
    input is computed once for many values of it.
    """

    first: tuple[Layer, ...]
    later: tuple[Layer, ...]

    @classmethod
    def create(cls, sizes: tuple[int, ...], width: int, out: int, key: PRNGKeyArray) -> "Perceptron":
        """With inputs of these sizes."""
        keys = iter(jax.random.split(key, len(sizes) + 2))
        first = tuple(_layer(next(keys), n, width, sum(sizes)) for n in sizes)
        return cls(first, (_layer(next(keys), width, width, width), _layer(next(keys), width, out, width)))

    def __call__(self, *inputs: Float[Array, " _"]) -> Float[Array, " out"]:
        h = jnp.sum(jnp.stack([W @ u + b for (W, b), u in zip(self.first, inputs, strict=True)]), axis=0)
        for W, b in self.later:
            h = W @ jax.nn.silu(h) + b
        return h


class Autoencoder(eqx.Module):
    r"""`encoder`, of an image and, in an implicit one, noise, to codes; `decoder`, of codes to log-odds of pixels.

    An implicit encoder is :math:`z = e(x, \epsilon)`, a Gaussian one :math:`\mu(x) + \sigma(x) \epsilon`, and a
    deterministic one :math:`\mu(x) + \sigma \epsilon` with a fixed `noise`.
    """

    encoder: Perceptron
    decoder: Perceptron
    noise: float = eqx.field(static=True)

    def code(self, x: Float[Array, " pixels"], epsilon: Float[Array, " d"]) -> Float[Array, " d"]:
        """The code of an image."""
        if self.noise == 0:
            return self.encoder(x, epsilon)
        return self.encoder(x) + self.noise * epsilon

    def gaussian(self, x: Float[Array, " pixels"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Mean and logarithm of the deviation, of a Gaussian encoder."""
        mean, log_std = jnp.split(self.encoder(x), 2)
        return mean, log_std


def log_likelihood(decoder: Perceptron, x: Float[Array, " pixels"], z: Float[Array, " d"]) -> Float[Array, ""]:
    r""":math:`\log p(x \mid z)` of an image of zeros and ones."""
    odds = decoder(z)
    return jnp.sum(x * odds - jax.nn.softplus(odds))


def _layer(key: PRNGKeyArray, size: int, out: int, fan_in: int) -> Layer:
    bound = fan_in**-0.5
    return jax.random.uniform(key, (out, size), minval=-bound, maxval=bound), jnp.zeros(out)
