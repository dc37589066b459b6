"""Modules as arrays with names, which is how files keep them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["filled", "named_arrays"]


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """The leaves by the way to them."""
    return {
        # not ascontiguousarray, which gives numbers an axis
        jax.tree_util.keystr(path): np.asarray(leaf, order="C")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def filled(tree: Any, arrays: Mapping[str, np.ndarray], *, same_shapes: bool = False) -> Any:
    """The tree with other values; `same_shapes`, whether those must have the shapes of the ones in it.

    **Raises:** `ValueError` where an array is missing or, with `same_shapes`, of another shape.
    """

    def put(path: Any, leaf: Any) -> jax.Array:
        name = jax.tree_util.keystr(path)
        if name not in arrays:
            raise ValueError(f"lacks the array {name}")
        if same_shapes and arrays[name].shape != np.shape(leaf):
            raise ValueError(f"has an array {name} of shape {arrays[name].shape} instead of {np.shape(leaf)}")
        return jax.device_put(arrays[name])

    return jax.tree_util.tree_map_with_path(put, tree)
