"""Settings of one-step generators."""

from typing import Annotated, Literal

import optax
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from dichroic.diffusion import TrainingConfig
from dichroic.kinds import Settings

__all__ = ["OneStepConfig"]


class OneStepConfig(Settings):
    """Settings of training a one-step generator; a figure for each is in `docs/howto/one_step.md`."""

    training: TrainingConfig = TrainingConfig(steps=4000, batch=256, decay="linear", ema=0.995)
    """Steps of the generator."""
    critic_steps: PositiveInt = 5
    """Steps of the critic before each of them."""
    critic_rate: PositiveFloat = 1e-3
    """Learning rate of the critic at the start."""
    weighting: Literal["skew", "adaptive", "dmd"] = "skew"
    """What a generated sample counts for."""
    ratio_loss: Literal["regression", "denoising", "lecam", "logistic"] = "regression"
    """How the ratio of data and generator is learned where there is a teacher."""
    low: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Smallest skew that a generator is moved by: a sample counts for at most its inverse."""
    critic_low: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Smallest skew that the critic learns besides zero: 1 for the two laws alone, none of their mixtures."""
    zero: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the critic's pairs at skew zero, the law of the generator alone."""
    adversary: NonNegativeFloat = 0.0
    """Weight of a discriminator's loss beside the divergence."""
    sigma_min: PositiveFloat = 0.02
    """Lowest noise level, in standard deviations of the source: a fifth of its smallest feature."""
    sigma_max: PositiveFloat = 5.0
    """Highest noise level, in standard deviations of the source."""

    def critic_optimizer(self) -> optax.GradientTransformation:
        """The optimiser of the critic, which decays as the generator's does."""
        steps = self.training.steps * self.critic_steps
        rate = optax.linear_schedule(self.critic_rate, self.critic_rate / 100, steps)
        return optax.flatten(optax.chain(optax.clip_by_global_norm(self.training.clip), optax.adam(rate)))
