r"""Which observations of a view share what: found once, and said once.

Amplitudes, masks, flat fields, missing entries and noise are entrywise factors of an operator,
:math:`A_i = \mathrm{diag}(w_i)\, B_i`. Behind them most designs have one core :math:`B` for all observations, and then
sums over all observations are sums over factors, which cost next to nothing.
"""

from hashlib import blake2b
from typing import Any

import jax
import numpy as np

from dichroic.operators import Composition, PerSample, count_samples, take
from dichroic.problem import View
from dichroic.problem.noise import inner_noise
from dichroic.problem.view import leaves

__all__ = [
    "diagonal_noise",
    "group_alike",
    "has_weights",
    "kinds_of",
    "lift",
    "peel",
    "shared_cores",
    "split_alike",
]


def has_weights(view: View) -> bool:
    """Whether observations share their operators, and the noise of each is independent between values."""
    return count_samples(dict(view.mixing)) is None and diagonal_noise(view) is not None


def diagonal_noise(view: View) -> np.ndarray | None:
    """Standard deviations of the (Gaussian) noise, `(1 or n, ...)`; None where values have it in common."""
    noise = view.gaussian.noise
    std = inner_noise(noise).diagonal()
    return None if std is None else lift(std, len(view.event_shape), isinstance(noise, PerSample))


def shared_cores(view: View) -> dict[str, Any] | None:
    """What is left of the operators without the entrywise factors of single observations, None for the identity; None
    in all where that is not the same for all observations, or where factors are complex or the noise of values is not
    independent. Operators that all observations share are left whole.
    """
    if has_weights(view):
        return dict(view.mixing)
    if diagonal_noise(view) is None:
        return None
    peeled = {s: peel(operator, len(view.event_shape)) for s, operator in view.mixing.items()}
    if any(np.iscomplexobj(factor) for factors, _ in peeled.values() for factor in factors):
        return None
    cores = {s: core for s, (_, core) in peeled.items()}
    return take(cores, 0) if len(kinds_of(cores, len(view), 1)) == 1 else None


def group_alike(view: View) -> list[np.ndarray]:
    """Indices of the observations that share operators, (Gaussian) noise and mask."""
    observations = view.gaussian.observations
    return kinds_of((observations.mixing, observations.likelihood, observations.observed), len(view))


def kinds_of(tree: Any, n: int, most: int | None = None) -> list[np.ndarray]:
    """Indices of the observations whose per-sample parts are the same; no more than `most` kinds and one are told."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, PerSample))
    columns = [leaf for node in nodes if isinstance(node, PerSample) for leaf in leaves(node)]
    if not columns:
        return [np.arange(n)]
    members: dict[bytes, list[int]] = {}
    for i in range(n):
        own = b"".join(np.ascontiguousarray(c[i]).tobytes() for c in columns)
        # what is long is told by a digest of it: all of them together are as large as the data
        members.setdefault(own if len(own) <= 32 else blake2b(own, digest_size=32).digest(), []).append(i)
        if most is not None and len(members) > most:
            break
    return [np.asarray(group) for group in members.values()]


def split_alike(view: View, smallest: int) -> list[tuple[np.ndarray, View]]:
    """A view as views whose observations share operators, noise and mask, with their indices.

    Groups of fewer than `smallest` observations are left together as one last view, which shares nothing (unless it is
    a single group).
    """
    if view.shared:
        return [(np.arange(len(view)), view)]
    groups = group_alike(view)
    large = [members for members in groups if len(members) >= smallest]
    small = [members for members in groups if len(members) < smallest]
    if len(small) == 1:
        large, small = [*large, *small], []
    parts = [(members, _alike(view, members)) for members in large]
    if small:
        left = np.sort(np.concatenate(small))
        parts.append((left, view.select(left)))
    return parts


def _alike(view: View, members: np.ndarray) -> View:
    """Observations with the same operators, noise and mask, said so by having one of each."""
    view, first = view.gaussian, int(members[0])
    mixing = {s: take(operator, first) for s, operator in view.mixing.items()}
    observed = None if view.observed is None else view.observed[members]
    truth = {s: x[members] for s, x in view.truth.items()}
    return View(view.y[members], mixing, take(view.noise, first), observed, truth, True)


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
