r"""Maps of one sample that leave the law of its source as it is.

Mirror images (`flip`, along every axis of space) and quarter turns (`rotate`, of square images) make a finite group of
permutations of the entries. `shift` says that a sample is a window on something stationary: covariances depend on lags
alone. A window has borders, and a cyclic shift moves what is beyond one of them to the other side, so that no map of a
sample stands for it: it is for who knows second moments (`dichroic.closed`), and moves no sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from dichroic.faults import ProblemError, among, names

__all__ = ["SYMMETRIES", "Augmentation", "axes_of", "permutations", "symmetry_of"]

SYMMETRIES = ("flip", "rotate", "shift")


def axes_of(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of space or time: of vectors and images without channels all, or else all but the last."""
    return tuple(range(len(shape) if len(shape) < 3 else len(shape) - 1))


def symmetry_of(said: Any, shape: Sequence[int]) -> tuple[str, ...]:
    """The names of symmetries in the order of `SYMMETRIES`.

    **Raises:** `ProblemError` for names that are none, and for quarter turns of what is not square.
    """
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list | tuple | set | frozenset):
        raise ProblemError([f"Source: symmetry: expected some of {names(SYMMETRIES)}, got {said!r}"])
    faults = [
        f"Source: symmetry: unknown {name!r}; known: {among(name, SYMMETRIES)}"
        for name in said
        if name not in SYMMETRIES
    ]
    sides = [shape[axis] for axis in axes_of(shape)]
    if "rotate" in said and (len(sides) != 2 or sides[0] != sides[1]):
        faults.append(f"Source: symmetry: 'rotate' needs square images, shape (n, n) or (n, n, C); got {tuple(shape)}")
    if faults:
        raise ProblemError(faults)
    return tuple(name for name in SYMMETRIES if name in said)


def permutations(symmetry: Sequence[str], shape: Sequence[int], real_shape: Sequence[int]) -> Int[np.ndarray, "G d"]:
    """Every element of the finite group, as the entry that comes to each place of a flat sample; the identity first."""
    x = np.arange(prod(real_shape)).reshape(real_shape)
    axes = axes_of(shape)
    mirrors = list(product((False, True), repeat=len(axes))) if "flip" in symmetry else [()]
    found = {}
    for mirror in mirrors:
        mirrored = np.flip(x, tuple(axis for axis, flip in zip(axes, mirror, strict=False) if flip))
        for turns in range(4 if "rotate" in symmetry else 1):
            turned = (np.rot90(mirrored, turns, (axes[0], axes[1])) if turns else mirrored).ravel()
            found.setdefault(turned.tobytes(), turned)
    return np.stack(list(found.values()))


@dataclass(frozen=True)
class Augmentation:
    """Moves one sample by an element of the finite group, all of them being equally likely."""

    symmetry: tuple[str, ...]
    shape: tuple[int, ...]

    def __call__(self, x: Shaped[Array, "..."], key: PRNGKeyArray) -> Shaped[Array, "..."]:
        mirror_key, turn_key = jax.random.split(key)
        axes = axes_of(self.shape)
        if "flip" in self.symmetry:
            for axis, flip in zip(axes, jax.random.bernoulli(mirror_key, shape=(len(axes),)), strict=True):
                x = jnp.where(flip, jnp.flip(x, axis), x)
        if "rotate" in self.symmetry:
            quarter, half = jax.random.bernoulli(turn_key, shape=(2,))
            x = jnp.where(quarter, jnp.rot90(x, 1, axes), x)  # pyright: ignore[reportArgumentType]
            x = jnp.where(half, jnp.rot90(x, 2, axes), x)  # pyright: ignore[reportArgumentType]
        return x
