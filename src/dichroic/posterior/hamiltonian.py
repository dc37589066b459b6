r"""Hamiltonian Monte Carlo for :math:`\mathcal N(x; D, V)\, p(y \mid x)`, whatever the likelihood.

Positions and velocities :math:`v \sim \mathcal N(0, V)` turn about `D` as the Gaussian alone would have them, exactly,

.. math:: x - D \leftarrow \cos\delta\, (x - D) + \sin\delta\, v , \qquad
    v \leftarrow \cos\delta\, v - \sin\delta\, (x - D) ,

between kicks :math:`v \leftarrow v - \tfrac\delta2 V g`, :math:`g = \nabla \Phi`, :math:`\Phi = -\log p(y \mid x)`.
A kick changes the energy by :math:`-\tfrac\delta2 \langle v, g \rangle + \tfrac{\delta^2}8 \langle g, V g \rangle`,
so nothing asks for an inverse of `V`, and where the data say nothing a draw is one of the Gaussian, whatever `V` is.
How much the energy has changed decides whether the end of a path is taken (Metropolis).

Source: Beskos, Pinski, Sanz-Serna and Stuart, Stoch. Proc. Appl. 121, 2201 (2011).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.posterior.modelled import Sources

__all__ = ["PATH", "PRODUCTS", "hamiltonian"]

PATH = 12  # kicks of a path
_ANGLE = 1.5  # longest turn between two kicks, over the root of the largest curvature
PRODUCTS = 6  # with `V`, that this is estimated by


def hamiltonian(
    x: Sources,
    centre: Sources,
    noise: Callable[[PRNGKeyArray], Sources],
    product: Callable[[Sources], Sources],
    potential: Callable[[Sources], Float[Array, ""]],
    curvature: Callable[[Sources], Sources],
    turns: int,
    *,
    key: PRNGKeyArray,
) -> Sources:
    r"""Some turns of the chain from `x`.

    **Arguments:** `centre`, :math:`D`; `noise(key)`, a draw of :math:`\mathcal N(0, V)`; `product(u)`, :math:`V u`;
    `potential(x)`, :math:`\Phi`; `curvature(u)`, a matrix times `u` that is about that of :math:`\Phi`.
    """
    power_key, run_key = jax.random.split(key)
    delta = _ANGLE / jnp.sqrt(1 + _largest(noise(power_key), lambda u: product(curvature(u))))
    delta = jnp.minimum(delta, jnp.pi / 2 / PATH)
    gradient = jax.value_and_grad(potential)

    def kick(v: Sources, g: Sources, angle: Array) -> tuple[Sources, Array]:
        Vg = product(g)
        change = -angle / 2 * _dot(v, g) + angle**2 / 8 * _dot(g, Vg)
        return jax.tree.map(lambda v, a: v - angle / 2 * a, v, Vg), change

    def turn(k: Array, state: tuple[Sources, Array, Sources]) -> tuple[Sources, Array, Sources]:
        noise_key, angle_key, accept_key = jax.random.split(jax.random.fold_in(run_key, k), 3)
        angle = delta * jax.random.uniform(angle_key, (), delta.dtype, 0.6, 1.0)  # no path is a whole period

        def step(_, path):
            x, phi, g, v, energy = path
            v, first = kick(v, g, angle)
            moved = jax.tree.map(lambda x, c, v: c + jnp.cos(angle) * (x - c) + jnp.sin(angle) * v, x, centre, v)
            v = jax.tree.map(lambda x, c, v: jnp.cos(angle) * v - jnp.sin(angle) * (x - c), x, centre, v)
            phi, g = gradient(moved)
            v, second = kick(v, g, angle)
            return moved, phi, g, v, energy + first + second

        old, phi, g = state
        new, after, slope, _, energy = jax.lax.fori_loop(0, PATH, step, (old, phi, g, noise(noise_key), 0 * phi))
        lost = after - phi + energy
        taken = jnp.log(jax.random.uniform(accept_key, (), phi.dtype)) < -lost  # never, where it is not finite
        return jax.tree.map(lambda a, b: jnp.where(taken, a, b), (new, after, slope), (old, phi, g))

    return jax.lax.fori_loop(0, turns, turn, (x, *gradient(x)))[0]


def _largest(u: Sources, matrix: Callable[[Sources], Sources]) -> Array:
    """The largest eigenvalue of a matrix, from some powers."""

    def one(_, state):
        u, _ = state
        size = jnp.sqrt(_dot(u, u))
        u = matrix(jax.tree.map(lambda x: x / jnp.where(size > 0, size, 1), u))
        return u, jnp.sqrt(_dot(u, u))

    return jax.lax.fori_loop(0, PRODUCTS, one, (u, jnp.zeros_like(_dot(u, u))))[1]


def _dot(a: Sources, b: Sources) -> Array:
    return sum(jnp.vdot(a[s], b[s]) for s in a)  # pyright: ignore
