r"""How good a lap is, which one is the best of a stage, and when there is nothing to be hoped for from more.

Held-out prediction: how well do the priors tell what was not shown? Hide a quarter of the entries of a held-out
observation, draw the sources given the rest, and predict the hidden entries from the draws, noise included. The energy
score of two such predictions,

.. math:: \tfrac12 |\hat y_1 - y| + \tfrac12 |\hat y_2 - y| - \tfrac12 |\hat y_1 - \hat y_2|

in units of the noise, is lowest on average when the predictions come from the law of the data (Gneiting and Raftery,
2007). It needs no truth and no second data set, and because the same entries are hidden at every lap, two laps are
compared observation by observation.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.diffusion import Prior
from dichroic.em.state import EMState
from dichroic.operators import take
from dichroic.posterior import Method, observation_keys
from dichroic.problem import View
from dichroic.settings import FitConfig

__all__ = ["exhausted", "judge", "prediction_scores"]

_HIDDEN = 0.25
_HOPELESS, _DECIDED = 3, 5.0  # so many laps in a row worse by so many standard errors end a stage


def prediction_scores(
    view: View, priors: Mapping[str, Prior], method: Method, *, key: PRNGKeyArray
) -> Float[np.ndarray, " n"]:
    """The energy score of every observation of a view, per root of the number of hidden values; lower is better.

    Where an observation has a single value, that value is hidden and the prediction is the prior's. What is judged is
    the priors: a conditional denoiser, which has not learned what hidden entries are, is replaced by moment matching.
    """
    size = int(np.prod(view.event_shape))
    order, keys, white = _randomness(key, size, view.y.shape, np.iscomplexobj(view.y))
    hidden = np.zeros(size, bool)
    hidden[np.asarray(order)[: max(1, round(_HIDDEN * size))]] = True
    hidden = hidden.reshape(view.event_shape)
    shown = view.hide(hidden)
    bound = method.untrained().bind(shown, priors, key=keys[0])
    drawn = [bound.draw(observation_keys(k, len(shown))).samples for k in keys]
    # a diverged draw would swamp the mean of all others; it is counted where it matters, in the E-step
    finite = [{s: np.where(np.isfinite(x), x, 0) for s, x in samples.items()} for samples in drawn]
    scored = np.broadcast_to(hidden, view.y.shape)
    scored = scored if view.observed is None else scored & view.observed
    data, first, second = (np.where(scored, u, 0) for u in _whitened(view.observations, finite, white))

    def norm(u: np.ndarray) -> np.ndarray:
        return np.sqrt((np.abs(u.reshape(len(u), -1)) ** 2).sum(1))

    score = 0.5 * (norm(first - data) + norm(second - data) - norm(first - second))
    return score / np.sqrt(np.maximum(scored.reshape(len(scored), -1).sum(1), 1))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _randomness(key, size: int, shape: tuple[int, ...], is_complex: bool):
    """An order of the entries; for each of two predictions the key of its draws, and noise of unit variance."""
    mask_key, *keys = jax.random.split(key, 3)
    parts = [jax.random.normal(jax.random.fold_in(k, 1), (2, *shape) if is_complex else shape) for k in keys]
    white = [part[0] + 1j * part[1] if is_complex else part for part in parts]
    return jax.random.permutation(mask_key, size), [jax.random.fold_in(k, 0) for k in keys], white


@jax.jit
def _whitened(observations, drawn, white):
    """The data, and what the sources of every prediction and noise make of them, in units of the noise."""

    def one(i):
        observation = take(observations, i)
        mixed = [observation.mixture({s: x[i] for s, x in samples.items()}) for samples in drawn]
        predicted = [observation.noise.whiten(m) + w[i] for m, w in zip(mixed, white, strict=True)]
        return observation.noise.whiten(jnp.asarray(observation.y)), *predicted

    return jax.vmap(one)(jnp.arange(len(observations.y.value)))


def exhausted(state: EMState, config: FitConfig) -> bool:
    """Whether a stage ends before its laps are over."""
    if not config.patience or not state.best:
        return False
    return state.lap - state.best["lap"] >= config.patience or state.best.get("worse", 0) >= _HOPELESS


def judge(best: Mapping[str, Any], scores: np.ndarray, lap: int) -> dict[str, Any]:
    """Updates what is known about the best lap of a stage, from the scores of the held-out observations.

    The best lap is the one of the lowest mean: a later one takes its place only by being better. The gain over the
    draws that the stage began with is judged observation by observation, and so are the errors. `tried` is the best of
    the laps that have learned something and are not decidedly worse than before: what may be proven to be better,
    though hidden values, which are predicted from sums of sources, do not show it.
    """
    mean = float(scores.mean())
    if not best or not np.isfinite(best["lowest"]).all():
        kept = scores.tolist()
        start = {"first": kept, "gain": 0.0, "gain_error": 0.0}
        tried = {"tried": lap, "least": mean if lap else None}
        return {"lap": lap, "lowest": kept, "last": mean, "error": 0.0, "worse": 0, **start, **tried}
    if not np.isfinite(mean):  # such a lap is not the best one, whatever else it is
        return {**best, "last": mean}
    difference, error = _difference(scores, best["lowest"])
    gain, gain_error = _difference(best.get("first", best["lowest"]), scores)
    tried = {}
    if gain >= -_DECIDED * gain_error and (best.get("least") is None or mean < best["least"]):
        tried = {"tried": lap, "least": mean}
    return {
        **best,
        **tried,
        "lap": lap if difference < 0 else best["lap"],
        "lowest": scores.tolist() if difference < 0 else best["lowest"],
        "last": mean,
        "error": error,
        "worse": best.get("worse", 0) + 1 if difference > _DECIDED * error else 0,
        "gain": gain,
        "gain_error": gain_error,
    }


def _difference(a: Any, b: Any) -> tuple[float, float]:
    """The mean difference of two sets of scores of the same observations, and its standard error."""
    difference = np.asarray(a) - np.asarray(b)
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
