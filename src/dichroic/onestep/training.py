"""Training one-step generators: from samples alone, from a denoiser, and of draws given a noisy copy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from dichroic.closed.statistics import Statistics
from dichroic.diffusion import Denoiser, GaussianDenoiser, NetworkConfig, Schedule, train
from dichroic.onestep.config import OneStepConfig
from dichroic.onestep.critic import Critic, MixtureCritic, TaughtCritic
from dichroic.onestep.discriminator import Discriminator
from dichroic.onestep.generator import Generator
from dichroic.onestep.objective import GeneratorObjective

__all__ = ["GeneratorTraining", "distill", "gaussian_of", "train_adversary", "train_one_step"]

_RANK = 256  # directions of the Gaussian that a generator corrects


def gaussian_of(samples: Float[np.ndarray, "n ..."]) -> GaussianDenoiser:
    """The Gaussian with the moments of some samples."""
    flat = np.asarray(samples, float).reshape(len(samples), -1)
    found = Statistics(len(flat), flat.sum(0), flat.T @ flat if flat.shape[1] <= _RANK else None, draws=flat)
    return GaussianDenoiser.of(found.population(_RANK), samples.shape[1:])


def classes_of(labels: Int[np.ndarray, " n"] | None) -> int:
    """How many classes there are."""
    return 0 if labels is None else int(np.max(labels)) + 1


@dataclass(frozen=True)
class GeneratorTraining:
    """How a one-step generator is trained.

    **Fields:** `network`, of generator and critic; `config`; `stochastic`, whether it draws given a noisy copy;
    `report(done, steps)` is called now and then; `checkpoint`, a file that training goes on from; `watch`, whether the
    energy distance of a batch to as many data takes the place of its loss, which says nothing by itself.
    """

    network: NetworkConfig
    config: OneStepConfig = field(default_factory=OneStepConfig)
    stochastic: bool = False
    report: Callable[[int, int], None] | None = None
    checkpoint: Path | None = None
    watch: bool = False

    def beside(
        self,
        critic: Critic,
        base: GaussianDenoiser,
        data: Float[np.ndarray, "n ..."],
        key: PRNGKeyArray,
        labels: Int[np.ndarray, " n"] | None = None,
    ) -> tuple[Generator, Float[np.ndarray, " steps"]]:
        """A generator that begins as a Gaussian, trained in turn with a critic.

        **Returns:** the moving average of the generator, and the loss of every step.
        """
        begin = Generator.create(
            base,
            self.network,
            stochastic=self.stochastic,
            classes=classes_of(labels),
            key=jax.random.fold_in(key, 1),
        )
        samples = jax.device_put(np.asarray(data, np.float32))
        told = None if labels is None else jax.device_put(np.asarray(labels, np.int32))
        return train(
            begin,
            Schedule(self.config.sigma_min, self.config.sigma_max),
            jax.device_put(np.zeros(1, np.float32)),  # a batch is only as many generated samples
            self.config.training,
            key=jax.random.fold_in(key, 2),
            objective=GeneratorObjective(critic, samples, self.config, self.watch, told),
            report=self.report,
            checkpoint=self.checkpoint,
        )


def train_one_step(
    data: Float[np.ndarray, "n ..."],
    how: GeneratorTraining,
    *,
    key: PRNGKeyArray,
    labels: Int[np.ndarray, " n"] | None = None,
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A generator from samples alone, in scaled units: score-of-mixture training (Jayashankar, algorithm 8.1).

    **Arguments:** `labels`, classes of the samples, from zero on: the generator is then one of each.

    **Raises:** `ValueError` for classes of a stochastic generator.

    **Returns:** the moving average of the generator, and the loss of every step.
    """
    base, config = gaussian_of(data), how.config
    options = {"stochastic": how.stochastic, "weighting": config.weighting, "adversary": config.adversary}
    classes, k = classes_of(labels), jax.random.fold_in(key, 0)
    if classes and how.stochastic:
        raise ValueError("train_one_step: a stochastic generator has no classes: its noisy copy says more of them")
    critic = MixtureCritic.create(base, how.network, **options, classes=classes, key=k)
    return how.beside(critic, base, data, key, labels)


def distill(
    teacher: Denoiser, data: Float[np.ndarray, "n ..."], how: GeneratorTraining, *, key: PRNGKeyArray
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A generator from a denoiser: score-of-mixture distillation (Jayashankar, algorithm 8.2). A stochastic one draws
    given a noisy copy in one evaluation (Jayashankar's thesis, 8.5).

    **Arguments:** `teacher`, in scaled units; `data`, draws of what it has learned, which tell where the generator has
    too few.

    **Returns:** as `train_one_step`.
    """
    base, config = gaussian_of(data), how.config
    options = {"stochastic": how.stochastic, "weighting": config.weighting, "ratio_loss": config.ratio_loss}
    critic = TaughtCritic.create(base, teacher, how.network, **options, key=jax.random.fold_in(key, 0))
    return how.beside(critic, base, data, key)


def train_adversary(
    data: Float[np.ndarray, "n ..."], how: GeneratorTraining, *, key: PRNGKeyArray
) -> tuple[Generator, Float[np.ndarray, " steps"]]:
    """A generator from samples and a discriminator: Diffusion-GAN over the noise levels of the settings, a GAN where
    they are next to none.

    **Returns:** as `train_one_step`.
    """
    critic = Discriminator.create(data.shape[1:], how.network, key=jax.random.fold_in(key, 0))
    return how.beside(critic, gaussian_of(data), data, key)
