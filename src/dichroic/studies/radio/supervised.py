r"""Supervised references: a network that is shown mixtures beside what was sent, simulated from the given priors.

A denoiser with interference in the place of noise, :math:`D(x + \kappa n, \kappa / \sqrt 2)`, trained with the weight
of denoising score matching over a range of :math:`\kappa`, uniform in dB: told of the ratio, one for all of them. It
gives one estimate, the posterior mean at best, and knows of one kind of interference, which alpha-RGS exchanges.

Source: section 10 of the description of the published study, which has networks a hundred times larger.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveInt

from dichroic.baselines import separated
from dichroic.diffusion import (
    AnyNetwork,
    Batch,
    CausalConfig,
    Cost,
    DenoiserPrior,
    NetworkConfig,
    NetworkDenoiser,
    Prior,
    Schedule,
    TrainingConfig,
    train,
)
from dichroic.kinds import Settings
from dichroic.problem import Problem, View, as_pairs
from dichroic.run import Progress, Separation, complete_priors
from dichroic.run.known import Known

__all__ = ["Interfered", "SupervisedConfig", "fit_supervised", "latency_of", "separate_supervised"]

_REPEATS = 20  # of an estimate that is timed


class SupervisedConfig(Settings):
    """Settings of a supervised reference."""

    signal: str = "signal"
    """The source that is estimated; the view shows one more."""
    network: AnyNetwork = CausalConfig()
    """The network."""
    training: TrainingConfig = TrainingConfig(steps=2000, batch=64, ema=0.99)
    """How it is trained."""
    pool: PositiveInt = 4096
    """Samples of either source that pairs are made of."""


class Interfered(eqx.Module):
    """Pairs of a signal and a mixture as an objective; a sample is the number of a signal.

    **Fields:** `signal`, `other`, samples `(n, t, 2)`; `gains`, the smallest and the largest.
    """

    signal: Float[Array, "n t 2"]
    other: Float[Array, "n t 2"]
    gains: tuple[float, float] = eqx.field(static=True)

    def init(self, denoiser: Any, key: PRNGKeyArray) -> None:
        """See `Objective`."""

    def loss(self, denoiser: Any, state: None, batch: Batch, key: PRNGKeyArray) -> tuple[Float[Array, " n"], None]:
        """See `Objective`."""
        low, high = np.log(self.gains)
        shape = self.signal.shape[1:]

        def one(index: Array, key: PRNGKeyArray) -> Float[Array, ""]:
            gain_key, other_key, own_key = jax.random.split(key, 3)
            kappa = jnp.exp(jax.random.uniform(gain_key, (), minval=low, maxval=high))
            x, n = self.signal[index], self.other[jax.random.randint(other_key, (), 0, len(self.other))]
            sigma = kappa / jnp.sqrt(2.0)
            error = denoiser((x + kappa * n).reshape(denoiser.shape), sigma, own_key).reshape(shape) - x
            return (1 + sigma**-2) * jnp.mean(error**2)

        return jax.vmap(one)(batch.x, batch.keys), state


def fit_supervised(
    problem: Problem, priors: Mapping[str, Known], config: SupervisedConfig, seed: int, progress: Progress
) -> DenoiserPrior:
    """The network as a denoiser, trained for all the ratios between those of the views."""
    known, key = complete_priors(priors, problem), jax.random.key(seed)
    (other,) = (s for s in known if s != config.signal)
    gains = [gain_of(view, other) / gain_of(view, config.signal) for view in problem.views.values()]
    low, high = min(gains), max(gains)
    keys = jax.random.split(key, 4)
    both = zip((config.signal, other), keys[:2], strict=True)
    x, n = (jnp.asarray(known[s].sample(config.pool, key=k)) for s, k in both)
    pairs = Interfered(x, n, (low, high))
    shape = pairs.signal.shape[1:]
    # images are what a U-Net takes: the series in rows, as near to a square as it goes
    row = max(n for n in range(1, int(shape[0] ** 0.5) + 1) if shape[0] % n == 0)
    shaped = (shape[0] // row, row, shape[1]) if config.network.kind == "unet" else shape
    denoiser, levels = NetworkDenoiser.create(shaped, config.network, key=keys[2]), Schedule(low / 2**0.5, high)

    def report(done: int, total: int) -> None:
        progress.advance(0.9 * done / total, f"training, {done} of {total} steps")

    numbers, how = np.arange(config.pool), config.training
    trained, _ = train(denoiser, levels, numbers, how, key=keys[3], objective=pairs, report=report)
    return DenoiserPrior(trained, levels)


def gain_of(view: View, source: str) -> float:
    """The gain of a source in a view, which multiplies it."""
    ones = jnp.ones(view.mixing[source].in_shape, jnp.float32)
    return float(jnp.sqrt(jnp.mean(jnp.abs(view.mixing[source](ones)) ** 2) / 2))


def separate_supervised(problem: Problem, prior: Prior, signal: str, out: Path) -> Separation:
    """The estimates of the signal, and what they leave for the other source."""

    def estimate(name: str, _: Any) -> dict[str, np.ndarray]:
        view = problem.views[name]
        (other,) = (s for s in view.mixing if s != signal)
        first, second = gain_of(view, signal), gain_of(view, other)
        y = as_pairs(view.y / first)
        x = np.asarray(_estimates(prior.denoiser(), jnp.asarray(y), jnp.float32(second / first / 2**0.5)))
        return {signal: x, other: (y - x) * np.float32(first / second)}

    shown = {name: list(view.mixing) for name, view in problem.views.items()}
    return separated(problem, shown, estimate, View.seen, 0, 0, out, True, Cost(1))


def latency_of(prior: Prior, network: NetworkConfig) -> str:
    """Weights of the network, what an answer waits for, and how long it takes, in words."""
    denoiser = prior.denoiser()
    assert denoiser is not None
    count = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(denoiser, eqx.is_array)))
    x, spent = jnp.ones((1, *denoiser.shape)), []
    for _ in range(_REPEATS):
        begin = perf_counter()
        jax.block_until_ready(_estimates(denoiser, x, jnp.float32(1)))
        spent.append(perf_counter() - begin)
    whole = prod(denoiser.shape[:-1])
    waits = f"{network.latency} samples" if isinstance(network, CausalConfig) else f"all {whole} samples"
    return f"{count:,} weights; waits for {waits}; {1e3 * min(spent):.1f} ms a mixture"


@eqx.filter_jit
def _estimates(denoiser: Any, y: Float[Array, "n t 2"], sigma: Float[Array, ""]) -> Float[Array, "n t 2"]:
    one = lambda y: denoiser(y.reshape(denoiser.shape), jnp.asarray(sigma)).reshape(y.shape)  # noqa: E731
    return jax.vmap(one)(y)
