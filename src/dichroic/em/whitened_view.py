"""A view as closed-form stages see it: white data and dense matrices, one per observation or one per group of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic.diffusion import Scaling
from dichroic.operators import PerSample, take
from dichroic.posterior import WhitenedObservation
from dichroic.problem import View
from dichroic.problem.view import leaves

__all__ = ["Group", "Stacked", "group_alike", "grouped", "stacked", "whiten", "widen"]


@dataclass(frozen=True)
class Stacked:
    """Every observation with its own matrix, the sources side by side; counts of observed values."""

    A: Float[Array, "n m d"]
    y: Float[Array, "n m"]
    count: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Group:
    """The observations `members` of a view, which share operators, noise and mask; observed values of each."""

    members: np.ndarray
    A: Float[np.ndarray, "m d"]
    y: Float[np.ndarray, "n m"]
    count: float


def whiten(observation, shapes: Mapping[str, tuple[int, ...]]) -> WhitenedObservation:
    """One observation, in the user's units."""
    return WhitenedObservation.of(observation, {s: Scaling() for s in observation.mixing}, shapes)


def data_size(view: View) -> int:
    """Real values per observation."""
    return prod(view.event_shape) * (2 if np.iscomplexobj(view.y) else 1)


def stacked(view: View, shapes: Mapping[str, tuple[int, ...]]) -> Stacked:
    """All observations of a view in double precision; sources in the order of the view's mixing."""

    def whitened(i, observations):
        w = whiten(take(observations, i), shapes)
        matrices = w.matrices()
        return jnp.concatenate([matrices[s] for s in view.mixing], 1), w.y, w.count

    with jax.enable_x64(True):
        wide = jax.tree.map(widen, view.observations)
        A, y, count = jax.jit(jax.vmap(whitened, in_axes=(0, None)))(jnp.arange(len(view)), wide)
    return Stacked(A, y, np.asarray(count))


def grouped(view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray] | None = None) -> list[Group]:
    """The groups of a view (all of them, or those of `group_alike`); sources in the order of the view's mixing."""

    @jax.jit
    def matrices(observation):
        w = whiten(observation, shapes)
        found = w.matrices()
        return jnp.concatenate([found[s] for s in view.mixing], 1), w.count

    @jax.jit
    def data(i, observations):
        return jax.vmap(lambda i: whiten(take(observations, i), shapes).y)(i)

    groups = []
    for members in group_alike(view) if indices is None else indices:
        A, count = matrices(take(view.observations, int(members[0])))
        y = data(jnp.arange(len(members)), view.select(members).observations)
        groups.append(Group(members, np.asarray(A, float), np.asarray(y, float), float(count)))
    return groups


def group_alike(view: View) -> list[np.ndarray]:
    """Indices of the observations that share operators, noise and mask."""
    observations = view.observations
    marked = [
        node
        for node in jax.tree.leaves(
            (observations.mixing, observations.noise, observations.observed), is_leaf=lambda n: isinstance(n, PerSample)
        )
        if isinstance(node, PerSample)
    ]
    columns = [leaf.reshape(len(view), -1) for node in marked for leaf in leaves(node)]
    if not columns:
        return [np.arange(len(view))]
    members: dict[bytes, list[int]] = {}
    for i in range(len(view)):
        members.setdefault(b"".join(np.ascontiguousarray(c[i]).tobytes() for c in columns), []).append(i)
    return [np.asarray(group) for group in members.values()]


def widen(leaf):
    """A leaf in double precision; whatever is no number stays as it is."""
    if not eqx.is_array_like(leaf):
        return leaf
    leaf = np.asarray(leaf)
    if np.issubdtype(leaf.dtype, np.complexfloating):
        return leaf.astype(complex)
    return leaf.astype(float) if np.issubdtype(leaf.dtype, np.floating) else leaf
