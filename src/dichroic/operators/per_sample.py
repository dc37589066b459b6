"""Parameters that differ from sample to sample."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

__all__ = ["PerSample", "count_samples", "select", "take"]

T = TypeVar("T")


class PerSample(eqx.Module):
    """Marks a tree (an operator, a noise, an array) whose array leaves have a leading sample axis.

    Everything outside a `PerSample` is shared by all samples, so an operator that is the same for every
    observation is stored once. The axis is never guessed.

    >>> import numpy as np
    >>> from dichroic import Dense, PerSample
    >>> PerSample(Dense(np.ones((100, 3, 5))))[0].matrix.shape
    (3, 5)
    """

    value: Any

    def __getitem__(self, index) -> Any:
        # data stays on the host until a compiled program asks for one sample of it
        def one(leaf: Any) -> Any:
            if not eqx.is_array_like(leaf):
                return leaf
            return jnp.asarray(leaf)[index] if isinstance(index, jax.Array) else leaf[index]

        return jax.tree.map(one, self.value)

    def __len__(self) -> int:
        return count_samples(self) or 0

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape that the operator of each sample accepts."""
        return self[0].in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of what the operator of each sample returns."""
        return self[0].out_shape

    def __matmul__(self, other: Any) -> Any:
        from dichroic.operators.base import Composition

        return Composition(self, other)  # pyright: ignore

    def __add__(self, other: Any) -> Any:
        from dichroic.operators.base import Sum

        return Sum((self, other))  # pyright: ignore


def _is_per_sample(node: Any) -> bool:
    return isinstance(node, PerSample)


def take(tree: T, index) -> T:
    """One sample of a tree: every `PerSample` node is replaced by its value at `index`."""
    return jax.tree.map(lambda node: node[index] if _is_per_sample(node) else node, tree, is_leaf=_is_per_sample)


def select(tree: T, indices: np.ndarray) -> T:
    """Several samples of a tree, still marked `PerSample`."""
    return jax.tree.map(
        lambda node: PerSample(node[indices]) if _is_per_sample(node) else node, tree, is_leaf=_is_per_sample
    )


def count_samples(tree: PyTree) -> int | None:
    """Number of samples of the `PerSample` nodes of a tree, None when it has none.

    **Raises:** `ValueError` when the nodes disagree.
    """
    nodes = [n for n in jax.tree.leaves(tree, is_leaf=_is_per_sample) if _is_per_sample(n)]
    counts = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for n in nodes for leaf in jax.tree.leaves(n.value)}
    if len(counts) > 1:
        raise ValueError(f"per-sample parameters have different numbers of samples: {sorted(counts)}")
    return counts.pop() if counts else None
