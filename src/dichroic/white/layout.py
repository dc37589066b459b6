"""Which observations of a view share what: found once, and said once."""

import jax
import numpy as np

from dichroic.operators import DiagonalNoise, PerSample, count_samples, take
from dichroic.problem import View
from dichroic.problem.view import leaves

__all__ = ["group_alike", "has_weights", "split_alike"]


def has_weights(view: View) -> bool:
    """Whether observations share their operators, and the noise of each is independent between values."""
    noise = view.noise.value if isinstance(view.noise, PerSample) else view.noise
    return count_samples(dict(view.mixing)) is None and isinstance(noise, DiagonalNoise)


def group_alike(view: View) -> list[np.ndarray]:
    """Indices of the observations that share operators, noise and mask."""
    observations = view.observations
    marked = [
        node
        for node in jax.tree.leaves(
            (observations.mixing, observations.likelihood, observations.observed),
            is_leaf=lambda n: isinstance(n, PerSample),
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
    first = int(members[0])
    mixing = {s: take(operator, first) for s, operator in view.mixing.items()}
    observed = None if view.observed is None else view.observed[members]
    truth = {s: x[members] for s, x in view.truth.items()}
    return View(view.y[members], mixing, take(view.noise, first), observed, truth, True)
