"""Settings of the law of the mixtures."""

from pydantic import PositiveFloat, PositiveInt

from dichroic.diffusion.networks.conv import ConvConfig
from dichroic.kinds import Settings

__all__ = ["MixturesConfig"]


class MixturesConfig(Settings):
    """Settings of learning by the law of the mixtures; a figure for each is in `docs/howto/mixtures.md`.

    `rounds` of moving the pool, training the conditional denoiser and drawing the pool anew. Networks take `batch`
    samples a step; the regression that starts takes `start_steps` of them, the conditional denoiser `steps` a round, on
    `pairs` simulated once a round. A flow moves the pool by `move` times the gradient of the critic, at most
    `moves` times.
    """

    rounds: PositiveInt = 3
    """Rounds of flow, training and draws."""
    start_steps: PositiveInt = 900
    """Optimiser steps of the regression that starts."""
    steps: PositiveInt = 1500
    """Optimiser steps of the conditional denoiser, every round."""
    batch: PositiveInt = 32
    """Samples of an optimiser step."""
    rate: PositiveFloat = 3e-3
    """Learning rate, warmed up and then falling to zero."""
    pairs: PositiveInt = 8192
    """Simulated pairs of source and observation, every round."""
    backgrounds: PositiveInt = 4
    """Backgrounds that the first estimate of an observation is averaged over."""
    draw_steps: PositiveInt = 18
    """Noise levels of a draw."""
    move: PositiveFloat = 0.4
    """Step of a flow, in standard deviations of the source over the slope of the critic."""
    moves: PositiveInt = 900
    """At most so many moves of a flow, and as many again where it is still of use."""
    alone: tuple[PositiveInt, PositiveInt] = (150, 400)
    """Steps that a critic learns alone, at least and at most, before the pool moves."""
    critic_batch: PositiveInt = 64
    """Observations and simulations of a step of the critic."""
    held: PositiveInt = 384
    """Observations that only judge the critic, at most a fifth."""
    channels: tuple[PositiveInt, ...] = (32, 64)
    """Channels of the networks at half and at a quarter of the resolution."""
    depth: PositiveInt = 2
    """Residual blocks of the networks at each of them, on the way down and on the way up."""

    @property
    def network(self) -> ConvConfig:
        """The settings of the networks."""
        return ConvConfig(channels=self.channels, depth=self.depth)
