r"""An operator as an entrywise factor behind what is left of it: :math:`A_i = \mathrm{diag}(w_i)\, B_i`.

Amplitudes, masks, flat fields, missing entries and noise all are such factors. Behind them most designs have one core
:math:`B` for all observations, and then sums over all observations are sums over factors, which cost next to nothing.
"""

from typing import Any

import jax
import numpy as np

from dichroic.operators import Composition, PerSample
from dichroic.problem.view import leaves

__all__ = ["core_groups", "lift", "peel"]


def peel(operator: Any, axes: int) -> tuple[list[np.ndarray], Any]:
    """The factors of an operator whose output has `axes` axes, and its core.

    **Returns:** arrays of shape `(1 or n, ...)`, broadcasting to the output, whose product is the factor; and the
    operator that comes before it, with its per-sample parts marked, None for the identity.
    """
    return _peel(operator, axes, False)


def _peel(op: Any, axes: int, each: bool) -> tuple[list[np.ndarray], Any]:
    if isinstance(op, PerSample):
        return _peel(op.value, axes, True)
    if (diagonal := op.diagonal()) is not None:
        if isinstance(diagonal, PerSample):
            diagonal, each = diagonal.value, True
        return [lift(diagonal, axes, each and bool(leaves(op)))], None
    if isinstance(op, Composition):
        outer, core = _peel(op.outer, axes, each)
        inner, inner_core = _peel(op.inner, axes if core is None else len(_shape(op.inner, each)), each)
        if core is None:
            return outer + inner, inner_core
        if all(factor[0].size == 1 for factor in inner):  # a number goes through any linear map
            numbers = [factor.reshape(-1, *(1,) * axes) for factor in inner]
            return outer + numbers, core if inner_core is None else Composition(core, inner_core)  # pyright: ignore
        return outer, Composition(core, _marked(op.inner, each))  # pyright: ignore
    return [], _marked(op, each)


def _shape(op: Any, each: bool) -> tuple[int, ...]:
    return (_marked(op, each) if each else op).out_shape


def _marked(op: Any, each: bool) -> Any:
    return PerSample(op) if each and not isinstance(op, PerSample) and leaves(op) else op


def lift(values: Any, axes: int, each: bool) -> np.ndarray:
    """Parameters as `(1 or n, ...)` with `axes` axes behind the first."""
    a = np.asarray(values)
    a = a if each else a[None]
    return a.reshape(a.shape[:1] + (1,) * (axes + 1 - a.ndim) + a.shape[1:])


def core_groups(cores: Any, n: int, most: int) -> list[np.ndarray] | None:
    """Indices of the observations with the same cores; None when there are more than `most` kinds."""
    nodes = jax.tree.leaves(cores, is_leaf=lambda node: isinstance(node, PerSample))
    columns = [leaf for node in nodes if isinstance(node, PerSample) for leaf in leaves(node)]
    if not columns:
        return [np.arange(n)]
    members: dict[bytes, list[int]] = {}
    for i in range(n):
        kind = b"".join(np.ascontiguousarray(column[i]).tobytes() for column in columns)
        if kind not in members and len(members) == most:
            return None
        members.setdefault(kind, []).append(i)
    return [np.asarray(group) for group in members.values()]
