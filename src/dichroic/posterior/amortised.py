r"""A conditional denoiser in place of likelihood and priors: plain diffusion, no Jacobian.

One network is trained on simulated pairs to denoise all sources of a view given the data. Let :math:`B(x_t, y)` and
:math:`C(\sigma)` be mean and covariance of the sources given :math:`x_t` and `y` if the sources were Gaussians with the
moments of their populations (`dichroic.posterior.gaussian`). Then

.. math:: D(x_t, \sigma, y, A) = B + C^{1/2} F\big(\tfrac{x_t}{\sqrt{1 + \sigma^2}},\; B,\; \mathrm{Cov}[x \mid
    y]^{1/2},\; \log\sigma\big) .

`B` is the best linear estimate and `C` the covariance of its error, whatever the sources are: what `F` has to
predict, :math:`C^{-1/2}(x_0 - B)`, has unit variance in all directions, at every noise level and for every operator.
This is the preconditioning of EDM (arXiv 2206.00364) carried over to data; and since `C` is as small as the noise
along what the data determine, no output of the network can contradict them much. `B` and `C` say all that :math:`x_t`,
`y` and the operators do; the last argument is left out where all observations share their operators.

For Gaussian sources `F = 0` is exact. The E-step with a conditional denoiser is DiEM's relative DiffEM (arXiv
2510.12691); for several sources, each one's draws are shuffled over the observations before they are mixed.
"""

from collections.abc import Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import (
    Cost,
    Denoiser,
    GaussianDenoiser,
    MomentTarget,
    NetworkConfig,
    at_level,
    noise_like,
    trainable_in,
)
from dichroic.posterior.gaussian import linear_model
from dichroic.posterior.sampler import Build
from dichroic.white.observation import WhitenedObservation

__all__ = ["AmortisedPosterior", "Conditional", "Conditioned", "ErrorRatios"]


class ErrorRatios(eqx.Module):
    """Variances of the errors of a conditional denoiser over those of the linear estimate, along the directions of the
    latter, at a ladder of noise levels: `log_sigma`, rising, shape `(L,)`; `values`, `(L, d)`.
    """

    log_sigma: Float[Array, " L"]
    values: Float[Array, "L d"]

    def __call__(self, sigma: Float[Array, ""]) -> Float[Array, " d"]:
        """The ratios at a level."""
        return at_level(self.log_sigma, self.values, sigma)


class Conditional(eqx.Module):
    """What is learned for a view: the network `F`, and what it stands on.

    **Arguments:** `network`, one of `NETWORKS`, or None for the closed form of Gaussian sources; `populations`, the
    Gaussians that stand in for the priors; `shapes`, of the sources, in the order of their names, in scaled units;
    `spread`, what is left of the linear estimate's errors, all of them when None; `sees_operators`, whether the network
    is told the operators; `stochastic`, whether it is given noise, too, and draws.
    """

    network: eqx.Module | None
    populations: dict[str, GaussianDenoiser]
    spread: ErrorRatios | None
    shapes: dict[str, tuple[int, ...]] = eqx.field(static=True)
    sees_operators: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True, default=False)

    @classmethod
    def gaussian(cls, denoisers: Mapping[str, Denoiser]) -> "Conditional":
        """Without a network: exact for Gaussian sources, the best linear estimate for others.

        **Raises:** `ValueError` for a denoiser that has no Gaussian to stand in for it.
        """
        populations = {s: denoiser.gaussian() for s, denoiser in denoisers.items()}
        if bare := [s for s, found in populations.items() if found is None]:
            raise ValueError(
                f"posterior 'amortised' without a network needs a Gaussian for source {bare[0]!r}, and its denoiser, a "
                f"{type(denoisers[bare[0]]).__name__}, has none"
            )
        return cls(None, populations, None, {s: denoisers[s].shape for s in sorted(denoisers)}, False)  # pyright: ignore

    @classmethod
    def create(
        cls,
        populations: Mapping[str, GaussianDenoiser],
        config: NetworkConfig,
        *,
        key: PRNGKeyArray,
        sees_operators: bool,
        stochastic: bool = False,
    ) -> "Conditional":
        """With a fresh network, whose last layer is zero: it starts as the closed form.

        **Raises:** `ValueError` when a U-Net is asked for and the sources are not images of one size, or have operators
        of their own in every observation.
        """
        shapes = {s: populations[s].shape for s in sorted(populations)}
        d, arrays = sum(prod(shape) for shape in shapes.values()), 3 if stochastic else 2
        if config.kind == "unet":
            sizes = {shape[:2] for shape in shapes.values()}
            if sees_operators or len(sizes) > 1 or any(len(shape) != 3 for shape in shapes.values()):
                raise ValueError(
                    "posterior 'amortised' with a U-Net needs sources of one shape (height, width, ...) behind shared "
                    f"operators; the sources have shapes {', '.join(map(str, shapes.values()))}"
                    + ("; operators differ" if sees_operators else "")
                )
            shape = (*sizes.pop(), arrays * sum(shape[2] for shape in shapes.values()))
        else:
            shape = (arrays * d + (d * (d + 1) // 2 if sees_operators else 0),)
        network = config.build(shape, key=key, out_scale=0.0)
        return cls(network, dict(populations), None, shapes, sees_operators, stochastic)

    def trainable(self) -> "Conditional":
        """What training may change, in the form of `equinox.partition`: the network."""
        return trainable_in(self, lambda c: c.network)

    @property
    def fast_block(self) -> int | None:
        """How many simulated pairs are best taken together in training; None for all."""
        return getattr(self.network, "fast_block", None)

    def __call__(
        self,
        x_t: Float[Array, " d"],
        sigma: Float[Array, ""],
        posterior: GaussianDenoiser,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " d"]:
        """The estimate of the stacked sources, given the posterior of Gaussian ones; a `key` switches dropout on."""
        B = posterior(x_t, sigma)
        if self.network is None:
            return B
        basis, values, _ = posterior.moments_given(sigma)
        return B + basis @ (jnp.sqrt(values) * (basis.T @ self.correction(x_t, sigma, B, posterior, key)))

    def generate(
        self, x_t: Float[Array, " d"], sigma: Float[Array, ""], posterior: GaussianDenoiser, key: PRNGKeyArray
    ) -> Float[Array, " d"]:
        """A draw of the stacked sources by a stochastic network, see :mod:`dichroic.posterior.fast`."""
        B, (basis, values, _) = posterior(x_t, sigma), posterior.moments_given(sigma)
        z = jax.random.normal(key, B.shape, B.dtype)
        v = z + self.correction(x_t, sigma, B, posterior, None, z)
        return B + basis @ (jnp.sqrt(values) * (basis.T @ v))

    def correction(
        self,
        x_t: Array,
        sigma: Array,
        B: Array,
        posterior: GaussianDenoiser,
        key: PRNGKeyArray | None,
        z: Float[Array, " d"] | None = None,
    ) -> Float[Array, " d"]:
        """The output of the network, `F`; of noise `z`, where it is `stochastic`."""
        network, inputs = self.network, [x_t / jnp.sqrt(1 + sigma**2), B, *([] if z is None else [z])]
        if len(network.shape) == 1:  # pyright: ignore
            if self.sees_operators:
                Q, values = jnp.asarray(posterior.basis, B.dtype), jnp.asarray(posterior.values, B.dtype)
                root = (Q * jnp.sqrt(values)) @ Q.T
                inputs.append(root[jnp.triu_indices(len(root))])
            return network(jnp.concatenate(inputs), sigma, key)[: len(B)]  # pyright: ignore
        images = [part for stacked in inputs for part in self.split(stacked).values()]
        out = network(jnp.concatenate(images, axis=-1), sigma, key)  # pyright: ignore
        found, begin = [], 0
        for shape in self.shapes.values():
            found.append(out[..., begin : begin + shape[2]].reshape(-1))
            begin += shape[2]
        return jnp.concatenate(found)

    def split(self, stacked: Float[Array, " d"]) -> dict[str, Array]:
        """A stacked vector as a dict of sources."""
        out, begin = {}, 0
        for s, shape in self.shapes.items():
            out[s] = stacked[begin : begin + prod(shape)].reshape(shape)
            begin += prod(shape)
        return out

    def stack(self, x: Mapping[str, Array]) -> Float[Array, " d"]:
        """A dict of sources as one vector."""
        return jnp.concatenate([x[s].reshape(-1) for s in self.shapes])


class AmortisedPosterior(MomentTarget):
    """The joint posterior of one observation; the state is a dict of the sources that enter it.

    A `draw` has the covariance that the errors of the network were measured to have on simulated pairs.
    """

    conditional: Conditional
    posterior: GaussianDenoiser

    @classmethod
    def create(cls, conditional: Conditional, observation: WhitenedObservation) -> "AmortisedPosterior":
        """Solves for the Gaussian stand-ins once, for all noise levels.

        **Raises:** `ValueError` when the network was trained for other sources.
        """
        if conditional.shapes != observation.shapes:
            raise ValueError(
                f"the conditional denoiser is for sources {conditional.shapes}, the observation mixes "
                f"{observation.shapes}"
            )
        return cls(conditional, linear_model(conditional.populations, observation).posterior(observation.y))

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        c = self.conditional
        return c.split(c(c.stack(x_t), sigma, self.posterior)), Info.none()

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        c = self.conditional
        if c.stochastic:
            return c.split(c.generate(c.stack(x_t), sigma, self.posterior, key)), Info.none()
        mean = c(c.stack(x_t), sigma, self.posterior)
        basis, values, _ = self.posterior.moments_given(sigma)
        left = values if c.spread is None else values * c.spread(sigma)
        epsilon = jax.random.normal(key, mean.shape, mean.dtype)
        return c.split(mean + basis @ (jnp.sqrt(left) * epsilon)), Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        zeros = self.conditional.split(jnp.zeros_like(jnp.asarray(self.posterior.mean)))
        return jax.tree.map(lambda e: (sigma * e).astype(e.dtype), noise_like(key, zeros))

    @property
    def mean_cost(self) -> Cost:
        return Cost(0 if self.conditional.network is None else 1)

    @property
    def draw_cost(self) -> Cost:
        return self.mean_cost


class Conditioned(Build):
    """The posterior of a conditional denoiser."""

    conditional: Conditional

    def __call__(self, observation, alike):
        return AmortisedPosterior.create(self.conditional, observation)
