"""The amortised method: a conditional denoiser for one view, trained on simulated pairs when it is bound."""

from abc import ABC
from collections.abc import Mapping
from math import prod
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveInt

from dichroic import memory
from dichroic.algebra.linear import JACOBI_SIZE
from dichroic.closed.statistics import Statistics
from dichroic.diffusion import (
    Cost,
    GaussianDenoiser,
    MLPConfig,
    NetworkConfig,
    Prior,
    Scaling,
    TrainingConfig,
    train,
)
from dichroic.diffusion.prior import PRIOR_STEPS
from dichroic.operators import take
from dichroic.posterior.amortised import Conditional, Conditioned
from dichroic.posterior.annealed import Annealing, Stepped, leg
from dichroic.posterior.auto import Auto
from dichroic.posterior.closed_form import closed_form
from dichroic.posterior.gaussian import LinearModel, linear_model
from dichroic.posterior.method import Bound, Method, Task
from dichroic.posterior.pairs import PairObjective, Pairs, measure_ratios
from dichroic.problem import View
from dichroic.white import WhitenedObservation
from dichroic.white.arrays import widen

__all__ = ["Amortised", "OnPairs"]

_SHARED = 2**32 - 1  # folded into a key for what all draws share: no draw has this index
_DEPTH = 4  # layers of the MLP
_UNKNOWNS = 2048  # of all sources of an observation together: their covariance is formed
_NUMBERS = 2**25  # in the models of all observations together: more of them are left out of the simulation
_CHUNK = 256  # observations whose models are made side by side
_DRAWS, _MEMORY = 2**14, 2**22  # draws of a prior, entries made at once


class OnPairs(Stepped, ABC):
    """A method that trains a conditional denoiser for a view, on pairs simulated from draws of its sources.

    Training takes `pair_steps` optimiser steps of `pair_batch` simulated pairs; the network is an MLP of `pair_width`
    units a layer (where the priors are U-Nets and the operators shared, a U-Net like theirs). Where there are no draws
    to train on, and draws given the priors are exact, nothing is trained and they are taken.
    """

    pair_steps: PositiveInt = 4096
    """Optimiser steps of the conditional network, per view and lap."""
    pair_batch: PositiveInt = 512
    """Simulated pairs per optimiser step."""
    pair_width: PositiveInt = 256
    """Units of a layer of the conditional network."""

    def attach(self, task: Task) -> Bound:
        return (None if task.pool is not None else closed_form(self, task)) or super().attach(task)

    def simulation(self, task: Task, *, stochastic: bool = False) -> "Simulation":
        """What to train on, and what is to be trained.

        Pairs are simulated from draws of the sources, each source's by themselves, with operators and noise of the
        view's own observations; sources of which the task has no draws are drawn from their priors. The Gaussian
        stand-ins have the moments of the draws.

        **Raises:** `ValueError` when the observations are too large.
        """
        view, priors, pool = task.view, task.priors, task.pool or {}
        scalings = {s: prior.scaling for s, prior in priors.items()}
        _check_size(view, priors)
        key = jax.random.fold_in(task.key, _SHARED)
        network_key, train_key, spread_key, choice_key, draw_key = jax.random.split(key, 5)
        scaled = {}
        for number, (s, prior) in enumerate(priors.items()):
            draws = pool[s] if s in pool else _prior_draws(prior, jax.random.fold_in(draw_key, number))
            scaled[s] = scalings[s].to_scaled(np.asarray(draws, float))
        populations = {s: _gaussian(x) for s, x in scaled.items()}
        conditional = Conditional.create(
            populations,
            self._network(view, priors),
            key=network_key,
            sees_operators=not view.shared,
            stochastic=stochastic,
        )
        models = view_models(view, scalings, populations, choice_key)
        draws = {s: jnp.asarray(x, jnp.float32) for s, x in scaled.items()}
        return Simulation(conditional, draws, models, view.shared, train_key, spread_key)

    def trained(self, task: Task, made: "Simulation", objective: Pairs) -> Conditional:
        """The conditional denoiser of a simulation, after its training."""
        config = TrainingConfig(steps=self.pair_steps, batch=self.pair_batch)
        found, _ = train(
            made.conditional,
            task.schedule,
            jnp.arange(made.count),
            config,
            key=made.train_key,
            objective=objective,
            report=task.report,
        )
        return found

    def train_cost(self, task: Task) -> Cost:
        """Network evaluations per source of `train`: a gradient is a product with the network."""
        simulated = [_number(prior) for s, prior in task.priors.items() if s not in (task.pool or {})]
        pairs = self.pair_steps * self.pair_batch
        return Cost(1, 1) * pairs + Cost(2 * PRIOR_STEPS + 1) * max(simulated, default=0)

    @property
    def training(self) -> tuple[int, int]:
        return self.pair_steps, self.pair_batch

    def counting(self, cold: int, warm: int, training: int = 1) -> Method:
        return self.model_copy(update={"steps": cold, "warm_steps": warm, "pair_steps": training})

    def untrained(self) -> Method:
        shared = Auto.model_fields.keys() & type(self).model_fields.keys() - {"kind"}
        return Auto(**{name: getattr(self, name) for name in shared})

    def _network(self, view: View, priors: Mapping[str, Prior]) -> NetworkConfig:
        """A U-Net like those of the priors where there is one and it can serve, an MLP elsewhere."""
        networks = (d.levels[-1].network for p in priors.values() if (d := p.denoiser()) is not None and d.learned)
        learned = [network.config for network in networks]
        shapes = {prior.shape[:2] for prior in priors.values()}
        if view.shared and len(shapes) == 1 and all(len(prior.shape) == 3 for prior in priors.values()):
            for config in learned:
                if config.kind == "unet":
                    return config
        return MLPConfig(width=self.pair_width, depth=_DEPTH)


class Simulation(NamedTuple):
    """What pairs of a view are made of, and the conditional denoiser before it is trained on them."""

    conditional: Conditional
    draws: dict[str, Float[Array, "n ..."]]
    models: LinearModel
    shared: bool
    train_key: PRNGKeyArray
    spread_key: PRNGKeyArray

    @property
    def count(self) -> int:
        """Observations whose operators there are to simulate with."""
        return 1 if self.shared else len(self.models.values)


class Amortised(OnPairs, Annealing):
    """Annealing with a conditional denoiser, trained for every view and anew in every lap."""

    kind: Literal["amortised"] = "amortised"

    def legs(self, task, high=None, low=None, *, afresh=False):
        build, shared = Conditioned(self.train(task)), self.train_cost(task)
        return leg(build, self.step, self, task.schedule, task.size, high, low, afresh=afresh), shared

    def train(self, task: Task) -> Conditional:
        """A conditional denoiser for a view."""
        made = self.simulation(task)
        pairs = PairObjective(made.draws, made.models, made.shared)
        conditional = self.trained(task, made, pairs)
        ratios = measure_ratios(conditional, pairs, task.schedule, made.count, key=made.spread_key)
        return eqx.tree_at(lambda c: c.spread, conditional, ratios, is_leaf=lambda x: x is None)


def _prior_draws(prior: Prior, key: PRNGKeyArray) -> Float[np.ndarray, "n ..."]:
    """Draws of a prior to simulate with, in the user's units; whole batches, which one program serves."""
    n = _number(prior)
    batch = min(n, max(16, _MEMORY // prod(prior.shape)))
    keys = [jax.random.fold_in(key, begin) for begin in range(0, n, batch)]
    return np.concatenate([np.asarray(prior.sample(batch, key=k)) for k in keys])[:n]


def _number(prior: Prior) -> int:
    return min(_DRAWS, max(1024, _MEMORY // prod(prior.shape)))


def _check_size(view: View, priors: Mapping[str, Prior]) -> None:
    unknowns = sum(prod(prior.shape) for prior in priors.values())
    most = _UNKNOWNS if view.shared else JACOBI_SIZE
    if unknowns > most:
        differ = (
            "share their operators, noise and mask" if view.shared else "have operators, noise or masks of their own"
        )
        raise ValueError(
            f"method 'amortised' is for up to {most} unknowns per observation where observations {differ}; these "
            f"have {unknowns} ({', '.join(f'{s}: {prod(prior.shape)}' for s, prior in priors.items())})"
        )


def view_models(
    view: View, scalings: Mapping[str, Scaling], populations: Mapping[str, GaussianDenoiser], key: PRNGKeyArray
) -> LinearModel:
    """The linear models of the observations of a view, or the one they share, found in double precision.

    Where there are more observations than memory is meant for, they are those of a random choice.
    """
    shapes = {s: p.shape for s, p in populations.items()}
    d = sum(map(prod, shapes.values()))
    m = prod(view.event_shape) * (2 if np.iscomplexobj(view.y) else 1)
    if view.shared:
        chosen = np.zeros(1, int)
    else:
        most = max(1, memory.entries(_NUMBERS) // (2 * m * d + d * d + 2 * d))
        chosen = np.asarray(jax.random.permutation(key, len(view)))[:most]
    parts = []
    with jax.enable_x64(True):
        for begin in range(0, len(chosen), _CHUNK):
            members = np.resize(chosen[begin : begin + _CHUNK], min(_CHUNK, len(chosen)))
            wide, known = widen((view.select(members).observations, dict(populations)))
            part = _models(wide, known, {s: scalings[s] for s in shapes}, len(members))
            kept = len(chosen[begin : begin + _CHUNK])
            parts.append(jax.tree.map(lambda a, kept=kept: np.asarray(a[:kept], np.float32), part))
    if view.shared:
        return jax.tree.map(lambda a: jnp.asarray(a[0]), parts[0])
    return jax.tree.map(lambda *a: jnp.asarray(np.concatenate(a)), *parts)


@eqx.filter_jit
def _models(observations, populations, scalings, n):
    shapes = {s: p.shape for s, p in populations.items()}

    def one(i) -> LinearModel:
        return linear_model(populations, WhitenedObservation.of(take(observations, i), scalings, shapes))

    return jax.vmap(one)(jnp.arange(n))


def _gaussian(scaled: np.ndarray) -> GaussianDenoiser:
    flat = scaled.reshape(len(scaled), -1)
    found = Statistics(len(flat), flat.sum(0), flat.T @ flat).population(None)
    return GaussianDenoiser.of(found, scaled.shape[1:])
