"""Taking samples of trees whose parameters differ from sample to sample."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from dichroic.operators.base import PerSample

__all__ = ["count_samples", "cut", "select", "take"]

T = TypeVar("T")


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


def cut(tree: T) -> tuple[T, T]:
    """What all samples of a tree share, and what each has of its own; `equinox.combine` puts them together."""
    each, shared = eqx.partition(tree, jax.tree.map(_is_per_sample, tree, is_leaf=_is_per_sample))
    return shared, each


def count_samples(tree: PyTree) -> int | None:
    """Number of samples of the `PerSample` nodes of a tree, None when it has none.

    **Raises:** `ValueError` when the nodes disagree.
    """
    nodes = [n for n in jax.tree.leaves(tree, is_leaf=_is_per_sample) if _is_per_sample(n)]
    counts = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for n in nodes for leaf in jax.tree.leaves(n.value)}
    if len(counts) > 1:
        raise ValueError(f"per-sample parameters have different numbers of samples: {sorted(counts)}")
    return counts.pop() if counts else None
