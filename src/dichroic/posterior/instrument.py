r"""Draws of the unknowns of an instrument beside those of the sources: Gibbs sampling.

Given the sources the residual is linear in amplitudes and mixing coefficients, :math:`r_i(\theta) = r_i(\theta_0) +
J_i (\theta - \theta_0)`, :math:`J_i = \partial r_i / \partial\theta` in units of the noise, and with the stated
:math:`\theta \sim \mathcal N(\mu, \Lambda^{-1})`

.. math:: \theta \mid x, y \sim \mathcal N\big(P^{-1} b, P^{-1}\big), \qquad P = \Lambda + \sum_i J_i^\top J_i, \quad
    b = \Lambda \mu + \sum_i J_i^\top (J_i \theta_0 - r_i(\theta_0)) ,

the sums over all observations for what they share, over one for what is its own. Where `J` itself moves with
:math:`\theta`, as for the width of a blur, that is what proposes, and Metropolis and Hastings decide. A factor `f` on
the noise has :math:`f^2 \mid x, y` inverse gamma, of the sum of the squared residuals. Given both, the sources are
drawn by any method, and so on in turn.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from dichroic.diffusion import Prior
from dichroic.operators import take
from dichroic.posterior.draws import Draws
from dichroic.posterior.in_blocks import bind_blocks
from dichroic.posterior.method import Bound, Method, Wanted
from dichroic.problem import View
from dichroic.problem.unknowns import NOISE, Parameter, put
from dichroic.white import WhitenedObservation

__all__ = ["UncertainInstrument", "bind_instrument", "given_sources"]

ROUNDS = 8  # of a draw
_LINEAR = 1e-4  # change of the normal equations up to which the residual is linear, and a draw exact
_OWN = 1 << 20  # folded into keys, apart from those of turns

Values = dict[str, np.ndarray]


def bind_instrument(method: Method, view: View, priors: Mapping[str, Prior], **options: Any) -> Bound:
    """A method bound to a view, whatever is unknown of its instrument, and block by block where it is large; arguments
    as of `Method.bind`. What all observations of a view share of an instrument takes all of them at once.
    """
    if not view.unknowns:
        return bind_blocks(lambda some: method.bind(some, priors, **options), view, priors)
    bound = method.bind(view.at({name: unknown.value for name, unknown in view.unknowns.items()}), priors, **options)
    return UncertainInstrument(bound, view)


class UncertainInstrument(Bound):
    """Draws of the sources and of the unknowns of a view, in `ROUNDS` turns from what is stated of these.

    **Arguments:** `bound`, to the view with all its unknowns at their values.
    """

    def __init__(self, bound: Bound, view: View):
        self.bound, self.view = bound, view
        self.cost, self.shared = bound.cost * ROUNDS, bound.shared

    def on(self, view: View) -> Bound:
        known = self.bound.on(view.at({name: unknown.value for name, unknown in view.unknowns.items()}))
        return UncertainInstrument(known, view) if view.unknowns else known

    def drawn(self, wanted: Wanted) -> Draws:
        n, view = len(wanted.rows), self.view.select(wanted.rows)
        values, found = _stated(view, wanted.keys), None
        for turn in range(ROUNDS):
            if found is not None:
                values = given_sources(view, values, found.samples, keys=_folded(wanted.keys, _OWN + turn))

            def report(done: int, total: int, turn: int = turn) -> None:
                wanted.report(turn * n + done, ROUNDS * n)

            keys = _folded(wanted.keys, turn)
            found = self.bound.on(view.at(values)).drawn(replace(wanted, keys=keys, rows=np.arange(n), report=report))
        assert found is not None
        each = {
            name: np.asarray(x) if view.unknowns[name].per_sample else np.broadcast_to(x, (n, *np.shape(x)))
            for name, x in values.items()
        }
        return replace(found, cost=self.cost, shared=self.shared, instrument=each)


def given_sources(
    view: View, values: Mapping[str, Any], samples: Mapping[str, np.ndarray], *, keys: Array | None = None
) -> Values:
    r"""The unknowns of a view given draws of its sources, `{source: (n, ...)}`: drawn with a key for every observation;
    without, what all observations share at its most likely, which is the M-step of EM (a noise is the root mean square
    of the residuals of draws, not of means), and what every observation has of its own as it was.
    """
    new = {name: np.asarray(value, float) for name, value in values.items()}
    for own in (False, True):
        names = [s for s, x in view.unknowns.items() if x.per_sample == own and s != NOISE]
        if names and (keys is not None or not own):
            new |= _moved(view, new, samples, names, None if keys is None else _folded(keys, int(own)))
    if NOISE in view.unknowns:
        squares, count = float(_equations(view, new, samples, [])[2].sum()) * float(new[NOISE]) ** 2, view.counts.sum()
        unknown = view.unknowns[NOISE]
        # a stated log f of standard deviation s is worth as many values as give it: 1 / (2 s^2)
        known = 1 / (2 * float(unknown.std) ** 2) if np.isfinite(unknown.std) else 0.0
        total, weight = squares + known * float(unknown.value) ** 2, count + known
        if keys is not None:
            data: Any = jax.random.key_data(keys[:1])
            weight = np.random.default_rng(np.asarray(data).ravel()).chisquare(weight)
        new[NOISE] = np.asarray(np.sqrt(total / weight))
    return new


def _moved(view: View, values: Values, samples: Mapping[str, np.ndarray], names: list[str], keys: Any) -> Values:
    """Unknowns that all observations share, or that each has of its own, given everything else."""
    own = view.unknowns[names[0]].per_sample

    def equations(values: Values) -> tuple[np.ndarray, ...]:
        found = _equations(view, values, samples, names)
        return found if own else tuple(x.sum(0, keepdims=True) for x in found)

    P, b, square = equations(values)

    def stacked(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([x.reshape(len(P), -1) for x in parts], axis=1)

    stated = [view.unknowns[name] for name in names]
    mean, std = stacked([x.value for x in stated]), stacked([x.std for x in stated])
    now = stacked([values[name] for name in names])
    weight = np.where(np.isfinite(std), 1 / np.where(np.isfinite(std), std, 1.0) ** 2, 0.0)
    eye = np.eye(P.shape[1])

    def centre(at: np.ndarray, P: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        P = P + weight[:, :, None] * eye
        return at + np.linalg.solve(P, (b + weight * (mean - at))[..., None])[..., 0], P

    def named(theta: np.ndarray) -> Values:
        parts = np.split(theta, np.cumsum([x.size for x in stated])[:-1], axis=1)
        return {name: part.reshape(values[name].shape) for name, part in zip(names, parts, strict=True)}

    middle, precision = centre(now, P, b)
    if keys is None:
        return named(middle)
    z = np.asarray(_normal(keys[: len(P)], P.shape[1]), float)
    new = middle + np.linalg.solve(np.linalg.cholesky(precision).swapaxes(1, 2), z[..., None])[..., 0]
    there, b, after = equations({**values, **named(new)})
    if np.abs(there - P).max() <= _LINEAR * np.abs(P).max():
        return named(new)

    def log_normal(x: np.ndarray, middle: np.ndarray, P: np.ndarray) -> np.ndarray:
        r = x - middle
        return (np.linalg.slogdet(P)[1] - np.einsum("ni,nij,nj->n", r, P, r)) / 2

    back = log_normal(now, *centre(new, there, b)) - log_normal(new, middle, precision)
    gain = (square - after + (weight * ((now - mean) ** 2 - (new - mean) ** 2)).sum(1)) / 2
    u = np.asarray(_uniform(_folded(keys[: len(P)], _OWN)), float)
    return named(np.where((np.log(u) < gain + back)[:, None], new, now))


def _equations(
    view: View, values: Values, samples: Mapping[str, np.ndarray], names: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r""":math:`J_i^\top J_i`, :math:`-J_i^\top r_i` and :math:`|r_i|^2` of every observation, at the values."""
    observations = view.at(values).observations
    places = tuple((name, view.unknowns[name].source, view.unknowns[name].leaf) for name in names)
    each = {name: values[name] for name in names if view.unknowns[name].per_sample}
    shared = {name: values[name] for name in names if name not in each}
    seen = {s: np.asarray(samples[s], np.float32) for s in view.mixing}
    return tuple(np.asarray(x, float) for x in _of_each(observations, each, shared, seen, places))  # pyright: ignore


@eqx.filter_jit
def _of_each(observations, each, shared, samples, places):
    shapes = {s: x.shape[1:] for s, x in samples.items()}
    unknowns = {name: Parameter(source, leaf, np.zeros(()), np.zeros(())) for name, source, leaf in places}

    def one(i):
        x = {s: sample[i] for s, sample in samples.items()}
        at = {name: jnp.asarray({**each, **shared}[name][i] if name in each else shared[name]) for name, _, _ in places}
        theta, restore = ravel_pytree(at)

        def residual(theta):
            observation = take(observations, i)
            mixing = put(observation.mixing, unknowns, restore(theta))
            white = WhitenedObservation.unscaled(replace(observation, mixing=mixing), shapes)
            near = white.at(x)
            return near.y - near.forward(x)

        r = residual(theta)
        if not places:
            return jnp.zeros((0, 0)), jnp.zeros(0), jnp.sum(r**2)
        J = jax.jacfwd(residual)(theta)
        return J.T @ J, -J.T @ r, jnp.sum(r**2)

    return jax.vmap(one)(jnp.arange(len(next(iter(samples.values())))))


def _stated(view: View, keys: Array) -> Values:
    """A draw of what is stated of the unknowns; the values of those of which nothing is."""
    found = {}
    for number, (name, unknown) in enumerate(view.unknowns.items()):
        z = np.asarray(_normal(_folded(keys, 2 * _OWN + number), unknown.size), float)
        z = (z if unknown.per_sample else z[0]).reshape(unknown.value.shape)
        z = np.where(np.isfinite(unknown.std), unknown.std, 0.0) * z
        found[name] = np.asarray(unknown.value * np.exp(z) if name == NOISE else unknown.value + z)
    return found


@jax.jit
def _folded(keys, number):
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


@jax.jit
def _uniform(keys):
    return jax.vmap(jax.random.uniform)(keys)


@partial(jax.jit, static_argnums=1)
def _normal(keys, size):
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
