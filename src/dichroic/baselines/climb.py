"""Maximising a likelihood over all observations of several views by L-BFGS, in double precision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from dichroic.operators import take
from dichroic.problem import View
from dichroic.white.arrays import widen

__all__ = ["Climb", "Objective", "climb"]


@dataclass(frozen=True)
class Climb:
    """Where a maximisation ended: the parameters, the value after every iteration, and whether it converged."""

    parameters: PyTree
    values: list[float]
    converged: bool


class Objective:
    r"""The sum over views of `weight` times the mean of :math:`\ell(\theta; y_i)`, with its gradient.

    **Arguments:** `log_likelihood(parameters, observation)`, of one observation; `terms`, views and their weights;
    `batch`, observations side by side. Used inside `jax.enable_x64(True)`.
    """

    def __init__(
        self, log_likelihood: Callable[[Any, Any], Array], terms: Sequence[tuple[View, float]], batch: int = 4096
    ):
        self.log_likelihood, self.parts = log_likelihood, []
        for view, weight in terms:
            size = min(batch, len(view))
            for begin in range(0, len(view), size):
                rows = np.arange(begin, min(begin + size, len(view)))
                padded = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
                observations = widen(view.select(padded).observations)
                weights = np.where(np.arange(size) < len(rows), weight / len(view), 0.0)
                self.parts.append((observations, weights))

    def __call__(self, flat: np.ndarray, unravel: Callable[[Array], PyTree]) -> tuple[float, np.ndarray]:
        """Value and gradient at flattened parameters."""
        parts = [
            _value_and_gradient(jnp.asarray(flat), unravel, self.log_likelihood, observations, jnp.asarray(weights))
            for observations, weights in self.parts
        ]
        return float(sum(v for v, _ in parts)), np.asarray(sum(np.asarray(g) for _, g in parts))


@eqx.filter_jit
def _value_and_gradient(flat, unravel, log_likelihood, observations, weights):
    def total(flat: Float[Array, " p"]) -> Array:
        parameters = unravel(flat)
        each = jax.vmap(lambda i: log_likelihood(parameters, take(observations, i)))(jnp.arange(len(weights)))
        return weights @ each

    return jax.value_and_grad(total)(flat)


def climb(
    log_likelihood: Callable[[Any, Any], Array],
    start: PyTree,
    terms: Sequence[tuple[View, float]],
    *,
    iterations: int,
    tolerance: float,
) -> Climb:
    """Maximises an `Objective` from `start`, whose parameters should be of order one.

    It ends after `iterations`, or when the value rises by less than `tolerance` times itself.
    """
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), start))
        objective = Objective(log_likelihood, terms)
        values = [objective(np.asarray(flat), unravel)[0]]

        def falling(point: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = objective(point, unravel)
            return -value, -gradient

        def record(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            values.append(-float(intermediate_result.fun))

        found = scipy.optimize.minimize(
            falling,
            np.asarray(flat),
            jac=True,
            method="L-BFGS-B",
            callback=record,
            options={"maxiter": iterations, "ftol": tolerance, "gtol": 1e-8, "maxcor": 20, "maxfun": 2 * iterations},
        )
        parameters = jax.tree.map(np.asarray, unravel(jnp.asarray(found.x)))
    return Climb(parameters, values, bool(found.success))
