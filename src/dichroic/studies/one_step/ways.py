"""Ways to a generator, by name: each trains one from samples, or from a denoiser, and says how it is drawn."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import Denoiser, NetworkConfig, Schedule, TrainingConfig
from dichroic.onestep import (
    Consistency,
    Generator,
    GeneratorTraining,
    OneStepConfig,
    distill,
    train_adversary,
    train_consistency,
    train_one_step,
)

__all__ = ["TAUGHT", "WAYS", "Way", "draw", "levels"]

_NEXT_TO_NONE = {"sigma_min": 1e-3, "sigma_max": 2e-3}  # noise of a GAN
_UPDATES = 3  # of a consistency model, for every step of a generator, which has a critic to train beside it

# way(teacher, data, network, config, key) -> what is drawn from, and what was watched in training
Way = Callable[[Denoiser | None, np.ndarray, NetworkConfig, OneStepConfig, PRNGKeyArray], tuple[Any, np.ndarray]]


def _consistency(teacher: Any, data: np.ndarray, network: NetworkConfig, config: OneStepConfig, key: Any) -> Any:
    longer = config.training.model_copy(update={"steps": _UPDATES * config.training.steps})
    return train_consistency(data, network, longer, Schedule(config.sigma_min, config.sigma_max), key=key)


def _distilled(weighting: str, stochastic: bool = False) -> Way:
    def train(teacher: Any, data: np.ndarray, network: NetworkConfig, config: OneStepConfig, key: Any) -> Any:
        how = GeneratorTraining(network, config.model_copy(update={"weighting": weighting}), stochastic)
        return distill(teacher, data, how, key=key)

    return train


def _from_samples(way: Callable[..., Any] = train_one_step, **changes: Any) -> Way:
    def train(teacher: Any, data: np.ndarray, network: NetworkConfig, config: OneStepConfig, key: Any) -> Any:
        how = GeneratorTraining(network, config.model_copy(update=changes), watch=way is train_one_step)
        return way(data, how, key=key)

    return train


WAYS: dict[str, Way] = {
    "smd": _distilled("skew"),
    "dmd": _distilled("dmd"),
    "smt": _from_samples(weighting="adaptive"),
    "gan": _from_samples(train_adversary, **_NEXT_TO_NONE),
    "diffusion-gan": _from_samples(train_adversary),
    "consistency": _consistency,
    "stochastic": _distilled("skew", stochastic=True),
    # without one of the three parts of score-of-mixture training, or with it
    "smt, t-only weight": _from_samples(weighting="skew"),
    "smt, alpha 0 and 1": _from_samples(weighting="adaptive", low=1.0, critic_low=1.0, zero=0.5),
    "smt, GAN term": _from_samples(weighting="adaptive", adversary=1e-2),
}
TAUGHT = ("smd", "dmd", "stochastic")


def levels(schedule: OneStepConfig, evaluations: int) -> Float[np.ndarray, " k"]:
    """Falling noise levels of a chain: each a quarter of the one before."""
    return np.float32(schedule.sigma_max) / np.float32(4) ** np.arange(evaluations, dtype=np.float32)


@eqx.filter_jit
def draw(found: Generator | Consistency, keys: Any, through: Any) -> Array:
    """Draws in as many evaluations as there are noise levels, which a plain generator takes no notice of."""
    if isinstance(found, Generator) and not found.stochastic:
        return jax.vmap(found.sample)(keys)
    return jax.vmap(lambda key: found.chain(key, through))(keys)


def configuration(steps: int, batch: int) -> OneStepConfig:
    """Settings of all ways alike."""
    return OneStepConfig(training=TrainingConfig(steps=steps, batch=batch, decay="linear", ema=0.995))
