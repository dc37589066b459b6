"""Training one-step generators: from samples alone, from a denoiser, and of draws given a noisy copy."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.closed.statistics import Statistics
from dichroic.diffusion import Denoiser, GaussianDenoiser, NetworkConfig, Schedule, train
from dichroic.onestep.config import OneStepConfig
from dichroic.onestep.critic import Critic, MixtureCritic, TaughtCritic
from dichroic.onestep.discriminator import Discriminator
from dichroic.onestep.generator import Generator
from dichroic.onestep.objective import GeneratorObjective

__all__ = ["distill", "distill_stochastic", "gaussian_of", "train_adversary", "train_one_step"]

Report = Callable[[int, int], None]

_RANK = 256  # directions of the Gaussian that a generator corrects


def gaussian_of(samples: Float[np.ndarray, "n ..."]) -> GaussianDenoiser:
    """The Gaussian with the moments of some samples."""
    flat = np.asarray(samples, float).reshape(len(samples), -1)
    found = Statistics(len(flat), flat.sum(0), flat.T @ flat if flat.shape[1] <= _RANK else None, draws=flat)
    return GaussianDenoiser.of(found.population(_RANK), samples.shape[1:])


def train_one_step(
    data: Float[np.ndarray, "n ..."],
    network: NetworkConfig,
    config: OneStepConfig,
    *,
    key: PRNGKeyArray,
    stochastic: bool = False,
    report: Report | None = None,
    checkpoint: Path | None = None,
    watch: bool = False,
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A generator from samples alone: score-of-mixture training (Jayashankar, algorithm 8.1).

    **Arguments:** `data`, in scaled units; `network`, of generator and critic; `stochastic`, whether it draws given a
    noisy copy; `report(done, steps)` is called now and then; `checkpoint`, a file that training goes on from; `watch`,
    whether the energy distance of a batch to as many data takes the place of its loss, which says nothing by itself.

    **Returns:** the moving average of the generator, and the loss of every step.
    """
    base = gaussian_of(data)
    critic = MixtureCritic.create(
        base,
        network,
        stochastic=stochastic,
        weighting=config.weighting,
        adversary=config.adversary,
        key=jax.random.fold_in(key, 0),
    )
    return _trained(base, critic, data, network, config, stochastic, key, report, checkpoint, watch)


def distill(
    teacher: Denoiser,
    data: Float[np.ndarray, "n ..."],
    network: NetworkConfig,
    config: OneStepConfig,
    *,
    key: PRNGKeyArray,
    stochastic: bool = False,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A generator from a denoiser: score-of-mixture distillation (Jayashankar, algorithm 8.2).

    **Arguments:** `teacher`, in scaled units; `data`, draws of what it has learned, which tell where the generator has
    too few; the others as for `train_one_step`.
    """
    base = gaussian_of(data)
    critic = TaughtCritic.create(
        base,
        teacher,
        network,
        stochastic=stochastic,
        weighting=config.weighting,
        ratio_loss=config.ratio_loss,
        key=jax.random.fold_in(key, 0),
    )
    return _trained(base, critic, data, network, config, stochastic, key, report, checkpoint)


def distill_stochastic(
    teacher: Denoiser,
    data: Float[np.ndarray, "n ..."],
    network: NetworkConfig,
    config: OneStepConfig,
    *,
    key: PRNGKeyArray,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A stochastic denoiser from a denoiser: draws given a noisy copy in one evaluation (Jayashankar's thesis, 8.5)."""
    return distill(teacher, data, network, config, key=key, stochastic=True, report=report, checkpoint=checkpoint)


def train_adversary(
    data: Float[np.ndarray, "n ..."],
    network: NetworkConfig,
    config: OneStepConfig,
    *,
    key: PRNGKeyArray,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A generator from samples and a discriminator: Diffusion-GAN over the noise levels of the settings, a GAN where
    they are next to none. Arguments as for `train_one_step`.
    """
    critic = Discriminator.create(data.shape[1:], network, key=jax.random.fold_in(key, 0))
    return _trained(gaussian_of(data), critic, data, network, config, False, key, report, checkpoint)


def _trained(
    base: GaussianDenoiser,
    critic: Critic,
    data: Float[np.ndarray, "n ..."],
    network: NetworkConfig,
    config: OneStepConfig,
    stochastic: bool,
    key: PRNGKeyArray,
    report: Report | None,
    checkpoint: Path | None,
    watch: bool = False,
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    generator = Generator.create(base, network, stochastic=stochastic, key=jax.random.fold_in(key, 1))
    objective = GeneratorObjective(critic, jax.device_put(np.asarray(data, np.float32)), config, watch)
    schedule = Schedule(config.sigma_min, config.sigma_max)
    # a batch is only as many generated samples: the objective has the data
    nothing: Array = jax.device_put(np.zeros(1, np.float32))
    train_key = jax.random.fold_in(key, 2)
    return train(
        generator,
        schedule,
        nothing,
        config.training,
        key=train_key,
        objective=objective,
        report=report,
        checkpoint=checkpoint,
    )
