"""A mixture as a noisy sample of one of its sources."""

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from pydantic import PositiveFloat, PositiveInt

from dichroic.diffusion import Ancestral, Cost, Denoiser
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.constraint import Constraint, squared_gains
from dichroic.posterior.methods.pivot import pivot_of
from dichroic.posterior.sampler import Sampler
from dichroic.posterior.targets.split_gibbs import from_level

__all__ = ["ReverseDiffusion"]


class ReverseDiffusion(Sampled):
    r"""Of two sources one, `source`, is drawn as if the other were white noise on it, by the last steps of its own
    diffusion; the other is what the data leave of it,

    .. math:: x_p \sim p_p\big(x_p \mid x_p + \sigma \epsilon = A_p^{-1} y\big) , \qquad
        \sigma^2 = (a_b^2 + \Sigma) / a_p^2 , \qquad x_b = A_b^+ (y - A_p x_p) ,

    with the mean squared gains :math:`a^2` (of the other source the prior is not asked). Exact where the other is white
    and Gaussian, and good where the level of the start is about that of the other source. `steps` network evaluations,
    no product.

    Source: the comparisons of Jayashankar et al., arXiv 2306.14411 (10 steps, from 0.074 to 0.010).
    """

    takes_exact: ClassVar[bool] = True

    kind: Literal["reverse_diffusion"] = "reverse_diffusion"
    steps: PositiveInt = 10
    """Steps of a draw."""
    source: str | None = None
    """Kind reverse_diffusion: the source whose diffusion is run (the last of a view by default)."""
    level: PositiveFloat | None = None
    """Kind reverse_diffusion: noise level it starts at, in units of the source (by default from the gains)."""

    def sampler(self, task, *, afresh=False):
        names = list(task.priors)
        if len(names) != 2:
            raise ValueError(f"method {self.kind!r} takes one source for the noise of another; here are {len(names)}")
        run = pivot_of(self.kind, self.source, task)
        (other,) = [s for s in names if s != run]
        return Reversed(task.denoisers(self.kind)[run], run, other, self.level, self.steps, task.exact), Cost()

    @property
    def runs(self) -> tuple[int, int]:
        return self.steps, self.steps

    def counting(self, cold, warm, training=1):
        return self.model_copy(update={"steps": cold})


class Reversed(Sampler):
    """One observation; the network is that of the source `run`."""

    denoiser: Denoiser
    run: str = eqx.field(static=True)
    other: str = eqx.field(static=True)
    level: float | None = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    exact: bool = eqx.field(static=True)

    def draw(self, observation, last, warm, alike, *, key):
        gains, one = squared_gains(observation), jnp.ones((), observation.dtype)
        noise = 0.0 if self.exact else 1.0
        level = jnp.sqrt((gains[self.other] + noise) / gains[self.run])
        level = level if self.level is None else jnp.asarray(self.level, level.dtype)
        noisy, info = Constraint(observation, {self.run: one}).pull(observation.y)
        x = from_level({self.run: self.denoiser}, Ancestral(), noisy, level, self.steps, key)
        rest, new = Constraint(observation, {self.other: one}).pull(observation.y - observation.forward(x), noise)
        return x | rest, info.merge(new)

    def cost(self, observation, warm, alike):
        return Cost(self.steps)

    @property
    def gains(self):
        return False
