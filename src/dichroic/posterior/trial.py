r"""Which method suits a view is measured: on observations simulated from its priors, through its operators and noise.

Of simulated observations the sources are known. A method draws each of them twice, and its energy score in units of the
sources' standard deviations,

.. math:: \tfrac12 |x_1 - x| + \tfrac12 |x_2 - x| - \tfrac12 |x_1 - x_2| ,

a mean over sources, each per root of its numbers, is lowest on average for draws of the exact posterior (Gneiting and
Raftery, 2007): it asks for nearness and for the right spread. All methods meet the same observations and are compared
one by one. Taken is the cheapest that is not worse than the best one by more than two standard errors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.diffusion import Prior
from dichroic.operators import take
from dichroic.posterior.method import Method, observation_keys
from dichroic.problem import View

__all__ = ["Trial", "simulated", "try_methods"]

_CERTAIN = 2.0  # standard errors of the mean difference
BETWEEN = 1 / 3  # of exact draws: how often the truth lies between two of them


@dataclass(frozen=True)
class Trial:
    """How a method did: its `scores`, of every simulated observation; `between`, the share of numbers that lie between
    two draws, one third for the right spread and less for one that is too narrow; `cost`, evaluations of a draw.
    """

    method: Method
    scores: Float[np.ndarray, " n"]
    between: float
    cost: int

    @property
    def sentence(self) -> str:
        """In a few words."""
        return (
            f"{self.method.title}: energy score {self.scores.mean():.3f}, {self.between:.2f} of the truth between two "
            f"draws ({BETWEEN:.2f} is right), {self.cost} evaluations"
        )


def try_methods(
    methods: Sequence[Method], view: View, priors: Mapping[str, Prior], count: int, *, key: PRNGKeyArray
) -> list[Trial]:
    """Trials of methods on `count` simulated observations, the one to take first."""
    known_key, bind_key, *draw_keys = jax.random.split(key, 4)
    known, trials = simulated(view, priors, count, key=known_key), []
    for method in methods:
        bound = method.bind(known, priors, key=bind_key)
        drawn = [bound.draw(observation_keys(k, len(known))) for k in draw_keys]
        scores, between = [], []
        for s, x in known.truth.items():
            first, second = (d.samples[s] for d in drawn)
            scores.append((_norm(first - x) + _norm(second - x) - _norm(first - second)) / priors[s].scaling.scale)
            between.append((np.minimum(first, second) <= x) & (x <= np.maximum(first, second)))
        score = 0.5 * np.mean(scores, axis=0)
        score = np.where(drawn[0].diverged | drawn[1].diverged, np.inf, score)
        trials.append(Trial(method, score, float(np.mean([b.mean() for b in between])), bound.cost.total))
    best = min(trials, key=lambda t: t.scores.mean())
    chosen = min((t for t in trials if not _worse(t, best)), key=lambda t: t.cost)
    return [chosen, *[t for t in trials if t is not chosen]]


def simulated(view: View, priors: Mapping[str, Prior], count: int, *, key: PRNGKeyArray) -> View:
    """Observations of sources drawn from their priors, through operators, noise and gaps of the first of a view."""
    some = view.select(np.arange(min(count, len(view))))
    noise_key, *keys = jax.random.split(key, 1 + len(view.mixing))
    x = {s: np.asarray(priors[s].sample(len(some), key=k)) for s, k in zip(view.mixing, keys, strict=True)}
    y = np.asarray(_observe(some.observations, x, jax.random.split(noise_key, len(some))))
    y = y if some.observed is None else np.where(some.observed, y, 0)
    return replace(some, y=y.astype(some.y.dtype), truth=x)


@eqx.filter_jit
def _observe(observations, x, keys):
    def one(i, x, key):
        observation = take(observations, i)
        return observation.likelihood.sample(key, observation.mixture(x))

    return jax.vmap(one)(jnp.arange(len(keys)), x, keys)


def _norm(x: np.ndarray) -> Float[np.ndarray, " n"]:
    return np.sqrt((x**2).reshape(len(x), -1).mean(1))


def _worse(a: Trial, b: Trial) -> bool:
    if not np.isfinite(a.scores).all():
        return a is not b
    difference = a.scores - b.scores
    return bool(difference.mean() > _CERTAIN * difference.std() / np.sqrt(len(difference)))
