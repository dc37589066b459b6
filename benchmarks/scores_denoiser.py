"""Denoisers of six narrow modes in eight dimensions, by the objectives of training and by others that are none."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.diffusion import (
    ComponentsDenoiser,
    Denoising,
    GaussianDenoiser,
    LiftedDenoising,
    MLPConfig,
    NetworkDenoiser,
    ResidualDenoising,
    Schedule,
    TrainingConfig,
    train,
)
from dichroic.score import denoising_terms, lifted_loss, signs_of, track_alignment

__all__ = ["CASES", "denoiser"]

STEPS, BATCH, D = 3000, 256, 8
SCHEDULE = Schedule(2e-2, 20.0)


class Other:
    """A lifted loss of one level that is no setting: other powers, noise levels in groups, samples by themselves."""

    levels = 1

    def __init__(self, power="u_statistic", groups=1, tied=False):
        self.power, self.groups, self.tied = power, groups, tied

    def init(self, denoiser, key):
        return jnp.zeros(1)

    def loss(self, denoiser, state, batch, key):
        def one(x, key, level_key):
            sigma = batch.schedule.training_sigma(level_key)
            x_t = x + sigma * jax.random.normal(key, x.shape)
            c_out, skipped = sigma / jnp.sqrt(1 + sigma**2), x_t / (1 + sigma**2)
            return (denoiser(x_t, sigma, None) - skipped) / c_out, (x - skipped) / c_out

        levels = jax.random.split(jax.random.fold_in(key, 1), self.groups if self.groups > 1 else len(batch.x))
        levels = jnp.repeat(levels, len(batch.x) // len(levels))  # a group has one noise level
        terms = denoising_terms(*jax.vmap(one)(batch.x, batch.keys, levels))
        if self.tied:
            losses = -(terms.alignment**2) + terms.energy**2 / 2
        else:
            losses = jnp.full(len(batch.x), lifted_loss(terms, power=self.power, groups=self.groups))
        return losses, track_alignment(state, [terms])

    def finish(self, denoiser, state):
        return denoiser if signs_of(state)[0] > 0 else with_head(denoiser, -1.0)


class Case(NamedTuple):
    """Objective; units of a layer; learning rate; what the first last layer is multiplied with; whether the Gaussian of
    the true moments is corrected.
    """

    objective: Any
    width: int = 64
    rate: float = 1e-3
    head: float = 1.0
    base: bool = False


PLAIN, RESIDUAL, LIFTED, BOTH = Denoising(), ResidualDenoising(), LiftedDenoising(), LiftedDenoising(levels=2)
CASES = {
    "denoising": Case(PLAIN),
    "lifted": Case(LIFTED),
    "lifted, plug-in": Case(Other("plug_in")),
    "lifted, 32 levels by 8": Case(Other(groups=32)),
    "lifted with denoising": Case(LiftedDenoising(denoising=1.0)),
    "lifted, tied": Case(Other(tied=True)),
    "lifted, head 0": Case(LIFTED, head=0.0),
    "lifted, head 1e-5": Case(LIFTED, head=1e-5),
    "residual": Case(RESIDUAL),
    "residual lifted": Case(BOTH),
    "denoising, 90 units": Case(PLAIN, 90),
    **{f"denoising, rate {r:g}": Case(PLAIN, rate=r) for r in (2e-3, 4e-3, 8e-3)},
    **{f"lifted, rate {r:g}": Case(LIFTED, rate=r) for r in (2e-3, 4e-3, 8e-3)},
    "residual, rate 0.004": Case(RESIDUAL, rate=4e-3),
    "denoising, 90 units, rate 0.004": Case(PLAIN, 90, 4e-3),
    "denoising, 16 units": Case(PLAIN, 16),
    "lifted, 16 units": Case(LIFTED, 16),
    "residual, 16 units": Case(RESIDUAL, 16),
    "residual lifted, 16 units": Case(BOTH, 16),
    "denoising, 24 units": Case(PLAIN, 24),
    **{
        f"{name}, {units} units, rate {rate:g}": Case(PLAIN, units, rate, 1e-5, base)
        for units in (64, 16)
        for rate in (1e-3, 4e-3)
        for name, base in (("base", True), ("no base", False))
    },
}


def with_head(denoiser, factor):
    """The denoiser with its last layer multiplied."""
    where = lambda d: (d.network.last.weight, d.network.last.bias)  # noqa: E731
    return eqx.tree_at(where, denoiser, replace_fn=lambda w: factor * w)


def population():
    """Its denoiser, in units of its width, and 100,000 samples."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(6, D))
    means *= 0.5 * D**0.5 / np.linalg.norm(means, axis=1, keepdims=True)
    std = np.full((6, D), 0.05)
    for k in range(6):
        std[k, rng.choice(D, 2, replace=False)] = 0.3
    kinds = rng.integers(6, size=100_000)
    x = means[kinds] + std[kinds] * rng.normal(size=(len(kinds), D))
    scale = np.sqrt(np.mean(x**2))
    x, means, std = x / scale, means / scale, std / scale
    truth = ComponentsDenoiser(np.zeros(6) - np.log(6), means, np.tile(np.eye(D), (6, 1, 1)), std**2)
    return ComponentsDenoiser.of(truth.population(), (D,)), jnp.asarray(x, jnp.float32)


def denoiser(seed, name):
    """The relative error of what the network is to say, over noise levels as in training."""
    case, key = CASES[name], jax.random.key(seed)
    truth, x = population()
    known = GaussianDenoiser.of(truth.gaussian().population(), (D,)) if case.base else None
    config = MLPConfig(width=case.width, depth=3)
    model = NetworkDenoiser.create((D,), config, key=key, base=known, head=case.head, objective=case.objective)
    if known is None and case.head != 1:
        model = with_head(model, case.head)
    training = TrainingConfig(steps=STEPS, batch=BATCH, rate=case.rate)
    found, _ = train(model, SCHEDULE, x, training, key=jax.random.fold_in(key, 9), objective=case.objective)
    return float(_error(found, truth, x[:8192], jax.random.split(jax.random.key(5), 8192)))


@eqx.filter_jit
def _error(found, truth, x, keys):
    def one(x, key):
        a, b = jax.random.split(key)
        sigma = SCHEDULE.training_sigma(a)
        x_t = x + sigma * jax.random.normal(b, x.shape)
        c_out, skipped = sigma / jnp.sqrt(1 + sigma**2), x_t / (1 + sigma**2)
        F, wanted = ((D(x_t, sigma) - skipped) / c_out for D in (found, truth))
        return jnp.sum((F - wanted) ** 2), jnp.sum(wanted**2)

    error, energy = jax.vmap(one)(x, keys)
    return jnp.sum(error) / jnp.sum(energy)
