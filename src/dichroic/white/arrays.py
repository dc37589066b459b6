"""A view as plain arrays: white data and dense matrices, one per observation or one per group of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from dichroic.operators import DiagonalNoise, Identity, select, take
from dichroic.problem import Observation, View
from dichroic.white.layout import diagonal_noise, group_alike, has_weights, peel, shared_cores
from dichroic.white.observation import WhitenedObservation

__all__ = [
    "Group",
    "chi_square_of_groups",
    "factored",
    "grouped",
    "in_blocks",
    "stack_samples",
    "stacked",
    "white_data",
    "white_matrices",
    "widen",
]

BLOCK = 1 << 16  # observations whose matrices are made, and summed over, together

Shapes = tuple[tuple[str, tuple[int, ...]], ...]  # of sources, as compiled programs know them


@dataclass(frozen=True)
class Group:
    """The observations `members` of a view, which share operators, noise and mask; observed values of each.

    Data that are nothing in all of them, missing ones, are left out: `values` says which are there.
    """

    members: np.ndarray
    values: np.ndarray
    A: Float[np.ndarray, "m d"]
    y: Float[np.ndarray, "n m"]
    count: float

    @cached_property
    def total(self) -> Float[np.ndarray, " m"]:
        """The data, summed."""
        return self.y.sum(0)

    @cached_property
    def second(self) -> Float[np.ndarray, "m m"]:
        """Products of the data with each other, summed."""
        return self.y.T @ self.y


def stacked(
    view: View, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Float[np.ndarray, "n m d"], Float[np.ndarray, "n m"], Float[np.ndarray, " n"]]:
    """Every observation with its own matrix, in double precision; sources side by side in the order of the view's
    mixing.

    **Returns:** the matrices, the data, and the counts of observed values.
    """
    n, parts = len(view), []
    with jax.enable_x64(True):
        for rows in in_blocks(n):
            some = widen(select(view.observations, rows) if len(rows) < n else view.observations)
            parts.append([np.asarray(a) for a in _every(np.arange(len(rows)), some, _static(view, shapes))])
    A, y, count = parts[0] if len(parts) == 1 else (np.concatenate(part)[:n] for part in zip(*parts, strict=True))
    return A, y, count


def in_blocks(n: int) -> Iterator[np.ndarray]:
    """The rows of `n` observations, so many at a time that what is made of them takes little memory; the last of them
    fill up the last block.
    """
    size = min(n, BLOCK)
    for begin in range(0, n, size):
        yield np.minimum(np.arange(begin, begin + size), n - 1)


def grouped(view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray] | None = None) -> list[Group]:
    """The groups of a view (all of them, or those of `group_alike`); sources in the order of the view's mixing."""
    groups = []
    for members in group_alike(view) if indices is None else indices:
        A, count = _matrix(take(view.observations, int(members[0])), _static(view, shapes))
        y = white_data(view.select(members).observations, np.arange(len(members)), _static(view, shapes))
        A, y = np.asarray(A, float), np.asarray(y, float)
        something = (A != 0).any(1) | (y != 0).any(0)
        something[0] |= not something.any()  # an observation of nothing is one of a zero: no matrix is empty
        values = np.flatnonzero(something)
        groups.append(Group(members, values, A[values], y[:, values], float(count)))
    return groups


def factored(
    view: View, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray] | None:
    """A view with `shared_cores`, None for any other.

    **Returns:** `A`, `D`, `seen` and `y`: the matrix of a source in observation `i` is `D[s][i][:, None] * A[s]`, zero
    where it has no data, which `seen` says; `y` is white, and zero where missing. All sources have the same `D` where
    the view `has_weights`.
    """
    cores, std, alike = shared_cores(view), diagonal_noise(view), has_weights(view)
    if cores is None or std is None:
        return None
    view, n, axes = view.gaussian, len(view), len(view.event_shape)
    seen = np.ones(view.y.shape, bool) if view.observed is None else view.observed
    parts = [np.real(view.y), np.imag(view.y)] if np.iscomplexobj(view.y) else [view.y]
    A, D = {}, {}
    for s, operator in view.mixing.items():
        factor = np.where(seen, 1 / std, 0)
        for part in [] if alike else peel(operator, axes)[0]:
            factor = factor * part
        D[s] = np.tile(factor.reshape(n, -1), len(parts))
        core = Identity(shapes[s]) if cores[s] is None else cores[s]
        bare = Observation(view.y[0], np.ones(view.event_shape, bool), {s: core}, DiagonalNoise(1.0))
        with jax.enable_x64(True):
            A[s] = np.asarray(_matrix(widen(bare), ((s, tuple(shapes[s])),))[0], float)
    y = [np.where(seen, part / std, 0).reshape(n, -1) for part in parts]
    return A, D, np.tile(seen.reshape(n, -1), len(parts)), np.concatenate(y, axis=1)


def _static(view: View, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return tuple((s, tuple(shapes[s])) for s in view.mixing)


@eqx.filter_jit
def _every(i, observations, shapes):
    def one(i):
        w = WhitenedObservation.unscaled(take(observations, i), dict(shapes))
        return w.matrix(), w.y, w.count

    return jax.vmap(one)(i)


@eqx.filter_jit
def _matrix(observation, shapes):
    w = WhitenedObservation.unscaled(observation, dict(shapes))
    return w.matrix(), w.count


@eqx.filter_jit
def white_matrices(observations: Any, rows: Array, shapes: Shapes) -> Float[Array, "k m d"]:
    """The matrices of some observations, sources side by side in the order of `shapes`."""
    return jax.vmap(lambda i: WhitenedObservation.unscaled(take(observations, i), dict(shapes)).matrix())(rows)


@eqx.filter_jit
def white_data(observations: Any, rows: Any, shapes: Shapes) -> Float[Array, "k m"]:
    """The data of some observations."""
    return jax.vmap(lambda i: WhitenedObservation.unscaled(take(observations, i), dict(shapes)).y)(rows)


def widen(tree: Any) -> Any:
    """Arrays and numbers in double precision; whatever is neither stays as it is."""

    def wide(leaf):
        if not eqx.is_array_like(leaf):
            return leaf
        leaf = np.asarray(leaf)
        if np.issubdtype(leaf.dtype, np.complexfloating):
            return leaf.astype(complex)
        return leaf.astype(float) if np.issubdtype(leaf.dtype, np.floating) else leaf

    return jax.tree.map(wide, tree)


def stack_samples(samples: Mapping[str, np.ndarray], sources: Sequence[str], n: int) -> Float[np.ndarray, "n d"]:
    """Samples of all sources side by side."""
    return np.concatenate([np.asarray(samples[s], float).reshape(n, -1) for s in sources], axis=1)


def chi_square_of_groups(groups: Iterable[Group], x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Squared residual of stacked samples per observed value, in units in which the noise is white."""
    out = np.empty(len(x))
    for group in groups:
        out[group.members] = ((group.y - x[group.members] @ group.A.T) ** 2).sum(1) / max(group.count, 1)
    return out
