r"""What tells a generator where to go: the denoisers of noisy samples of the data, of its own, and of mixtures of them.

Both kinds see a noisy sample :math:`x_t`, and another noisy copy :math:`x_u` of the same sample where the generator is
given one. Both copies together are one of noise level :math:`\bar\sigma`,

.. math:: \bar x = \bar\sigma^2 \Big(\frac{x_t}{\sigma_t^2} + \frac{x_u}{\sigma_u^2}\Big), \qquad
    \frac1{\bar\sigma^2} = \frac1{\sigma_t^2} + \frac1{\sigma_u^2} ,

so that a denoiser of the source is one given both: a teacher of the generator is one of the stochastic generator, too.
"""

from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import Denoiser, GaussianDenoiser, NetworkConfig, trainable_in
from dichroic.onestep.generator import Noisy
from dichroic.onestep.ratio import lecam, logistic
from dichroic.onestep.skew import share, skew_weight
from dichroic.onestep.stacked import Stacked, waves
from dichroic.onestep.weighting import Weighting, adaptive, toward

__all__ = ["Critic", "MixtureCritic", "RatioLoss", "TaughtCritic", "together"]

RatioLoss = Literal["regression", "denoising", "lecam", "logistic"]


def together(noisy: Noisy, given: Noisy | None) -> Noisy:
    """Two noisy copies of a sample as one."""
    if given is None:
        return noisy
    a, b = noisy.sigma**-2, given.sigma**-2
    return Noisy((a * noisy.x + b * given.x) / (a + b), (a + b) ** -0.5)


class Critic(eqx.Module):
    """Learns beside a generator; everything is of one sample, in scaled units."""

    @abstractmethod
    def trainable(self) -> Any:
        """What is learned, in the form of `equinox.partition`."""

    @abstractmethod
    def direction(
        self, x: Array, noisy: Noisy, given: Noisy | None, alpha: Float[Array, ""]
    ) -> tuple[Array, Float[Array, ""]]:
        r"""`d`, held fixed, for the generated sample `x` whose noisy copy is `noisy`; and :math:`\log p / q` there."""

    @abstractmethod
    def loss(
        self, real: tuple[Array, Noisy, Noisy | None], fake: tuple[Array, Noisy, Noisy | None], alpha: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Of a pair of a real and a generated sample, each with its noisy copies; both noisy ones at one level."""


class MixtureCritic(Critic):
    r"""The denoiser of all mixtures of data and generator, :math:`f(x_t; \alpha, \sigma)`, amortised over skews:
    denoising score matching on both sides,

    .. math:: \lambda \big(\alpha\, \overline{(f(x_t^p) - x^p)^2} + (1 - \alpha)\, \overline{(f(x_t^q) - x^q)^2}\big),
        \qquad \lambda = 1 + \sigma^{-2} ,

    whose minimum is the denoiser of the mixture. It corrects a Gaussian, as a denoiser does, and needs no teacher.
    Source: Score-of-Mixture Training (arXiv 2502.09609), section 4.
    """

    network: Stacked
    base: GaussianDenoiser
    weighting: Weighting = eqx.field(static=True, default="skew")
    adversary: float = eqx.field(static=True, default=0.0)

    @classmethod
    def create(
        cls,
        base: GaussianDenoiser,
        config: NetworkConfig,
        *,
        stochastic: bool = False,
        weighting: Weighting = "skew",
        adversary: float = 0.0,
        classes: int = 0,
        key: PRNGKeyArray,
    ) -> "MixtureCritic":
        """With a fresh network. `adversary`, the weight of a discriminator's loss, which learns on the same network."""
        features = len(waves(jnp.zeros(()))) + (2 if stochastic else 1) + classes
        network = Stacked.create(config, base.shape, arrays=2 if stochastic else 1, numbers=features, key=key)
        return cls(network, base, weighting, adversary)

    def trainable(self) -> "MixtureCritic":
        return trainable_in(self, lambda c: c.network)

    def __call__(self, noisy: Noisy, given: Noisy | None, alpha: Float[Array, ""]) -> tuple[Array, Float[Array, ""]]:
        """The denoised sample, and the log-ratio that a discriminator has learned."""
        both = together(noisy, given)
        change, log_ratio = _ask(self.network, noisy, given, both, jnp.append(waves(alpha), alpha))
        return self.base(both.x, both.sigma) + both.sigma / jnp.sqrt(1 + both.sigma**2) * change, log_ratio

    def direction(self, x, noisy, given, alpha):
        f_0, _ = self(noisy, given, jnp.zeros_like(alpha))
        f_1, _ = self(noisy, given, jnp.ones_like(alpha))
        if self.weighting == "dmd":
            d = f_0 - f_1
        else:
            f_alpha, _ = self(noisy, given, alpha)
            d = (f_0 - f_alpha) / alpha if self.weighting == "skew" else adaptive(f_0, f_alpha, f_1)
        log_ratio = self(noisy, given, jnp.full_like(alpha, 0.5))[1] if self.adversary else jnp.zeros_like(alpha)
        return toward(d, x, f_1), log_ratio

    def loss(self, real, fake, alpha):
        sides = []
        for x, noisy, given in (real, fake):
            f, _ = self(noisy, given, alpha)
            sides.append((1 + together(noisy, given).sigma ** -2) * jnp.mean((f - x) ** 2))
        total = alpha * sides[0] + (1 - alpha) * sides[1]
        if self.adversary:
            l_p, l_q = (self(noisy, given, jnp.full_like(alpha, 0.5))[1] for _, noisy, given in (real, fake))
            total = total + self.adversary * logistic(l_p, l_q, alpha)
        return total


class TaughtCritic(Critic):
    r"""Beside a teacher :math:`f_p`, the denoiser :math:`f_q` of the generator's law and the log-ratio `l`, in one
    network; :math:`d \propto h_\alpha(l)\, (f_q - f_p)`.

    :math:`f_q` corrects a Gaussian, as a denoiser does, and not the teacher: of a teacher of sharp features, a network
    would have to learn these in order to take them away. It learns by denoising generated samples; how the ratio
    does is said by `ratio_loss`. `denoising` learns both from :math:`D_\alpha f_p + (1 - D_\alpha) f_q`, the denoiser
    of the mixture, on both sides (Jayashankar, corollary 8.5); the others keep the two apart
    (:mod:`dichroic.onestep.ratio`).
    """

    network: Stacked
    base: GaussianDenoiser
    teacher: Denoiser
    weighting: Weighting = eqx.field(static=True, default="skew")
    ratio_loss: RatioLoss = eqx.field(static=True, default="regression")

    @classmethod
    def create(
        cls,
        base: GaussianDenoiser,
        teacher: Denoiser,
        config: NetworkConfig,
        *,
        stochastic: bool = False,
        weighting: Weighting = "skew",
        ratio_loss: RatioLoss = "regression",
        key: PRNGKeyArray,
    ) -> "TaughtCritic":
        """With a fresh network, for which the generator's law is the Gaussian `base`."""
        arrays = 2 if stochastic else 1
        network = Stacked.create(config, teacher.shape, arrays=arrays, numbers=arrays, key=key)
        return cls(network, base, teacher, weighting, ratio_loss)

    def trainable(self) -> "TaughtCritic":
        return trainable_in(self, lambda c: c.network)

    def __call__(self, noisy: Noisy, given: Noisy | None) -> tuple[Array, Array, Float[Array, ""]]:
        """The teacher's denoised sample, what the generator's is beyond it, and the log-ratio."""
        both = together(noisy, given)
        change, log_ratio = _ask(self.network, noisy, given, both, jnp.zeros(1))
        f_p = self.teacher(both.x, both.sigma)
        f_q = self.base(both.x, both.sigma) + both.sigma / jnp.sqrt(1 + both.sigma**2) * change
        return f_p, f_q - f_p, log_ratio

    def direction(self, x, noisy, given, alpha):
        f_p, beyond, log_ratio = self(noisy, given)
        h = skew_weight(log_ratio, alpha) if self.weighting == "skew" else 1.0
        return toward(h * beyond, x, f_p), log_ratio

    def loss(self, real, fake, alpha):
        (x_p, noisy_p, given_p), (x_q, noisy_q, given_q) = real, fake
        f_p, beyond_p, l_p = self(noisy_p, given_p)
        f_q, beyond_q, l_q = self(noisy_q, given_q)
        at = (noisy_p, given_p), (noisy_q, given_q)
        weight_p, weight_q = (1 + together(*each).sigma ** -2 for each in at)
        if self.ratio_loss == "denoising":
            sides = (f_p, beyond_p, l_p), (f_q, beyond_q, l_q)
            mixed = [f + (1 - share(log_ratio, alpha)) * b for f, b, log_ratio in sides]
            real_side, fake_side = (jnp.mean((m - x) ** 2) for m, x in zip(mixed, (x_p, x_q), strict=True))
            return alpha * weight_p * real_side + (1 - alpha) * weight_q * fake_side
        denoising = weight_q * jnp.mean((f_q + beyond_q - x_q) ** 2)
        if self.ratio_loss == "logistic":
            return denoising + logistic(l_p, l_q, alpha)
        if self.ratio_loss == "lecam":
            return denoising + lecam(l_p, l_q, alpha)
        sizes = [w * jax.lax.stop_gradient(jnp.mean(b**2)) for w, b in ((weight_p, beyond_p), (weight_q, beyond_q))]
        return denoising + lecam(l_p, l_q, alpha, *sizes)


def _ask(
    network: Stacked, noisy: Noisy, given: Noisy | None, both: Noisy, numbers: Array
) -> tuple[Array, Float[Array, ""]]:
    """A network of what is known: of both copies at once, of the one that the generator is given, and of the class."""
    if noisy.label is not None:
        numbers = jnp.concatenate([numbers, noisy.label])
    if given is None:
        return network([both.scaled], numbers, both.sigma)
    level = jnp.log(given.sigma)[None] / 4
    return network([both.scaled, given.scaled], jnp.concatenate([numbers, level]), both.sigma)
