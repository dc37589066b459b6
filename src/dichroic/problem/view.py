"""Views: sets of observations of the same mixture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np

from dichroic.operators import DiagonalNoise, Noise, Operator, PerSample, Scale, select

__all__ = ["Observation", "View"]

Mixing = Operator | PerSample | float | complex


class Observation(eqx.Module):
    r"""What is known about one observation: :math:`y = \sum_s A_s x_s + n`, with `n` of covariance `noise`.

    A view holds all its observations as one of these, with the per-sample parts marked `PerSample`;
    `dichroic.operators.take` gives a single one, inside `jax.vmap` too.
    """

    y: Any  # values, 0 where missing
    observed: Any  # mask of what is observed, None when everything is
    mixing: dict[str, Any]
    noise: Any


@dataclass(frozen=True)
class View:
    """Observations that mix the same sources in the same way.

    **Arguments:** `y`, shape `(n, ...)`, real or complex, NaN where missing; `mixing`, for each source that enters this view
    its operator, a number being an amplitude; `noise`, the standard deviation (a number, an array with the shape of one
    observation, or `PerSample` of `n` of those), or any `Noise`; `observed`, a mask with the shape of `y`, true where there
    is data; `truth`, the true sources `{source: (n, ...)}` where they are known, used for scores and never for learning.

    Validated when it enters a `Problem`.
    """

    y: np.ndarray
    mixing: Mapping[str, Mixing]
    noise: Any
    observed: np.ndarray | None = None
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        y = np.asarray(self.y)
        if not np.issubdtype(y.dtype, np.inexact):
            y = y.astype(np.float32)
        object.__setattr__(self, "mixing", dict(self.mixing))
        object.__setattr__(self, "truth", {name: np.asarray(x) for name, x in self.truth.items()})
        missing = np.isnan(y)
        observed = None if self.observed is None else np.asarray(self.observed, dtype=bool)
        if observed is not None and observed.shape == y.shape:
            missing |= ~observed
        if observed is None or observed.shape == y.shape:
            observed = ~missing if missing.any() else None
            y = np.where(missing, 0, y) if missing.any() else y
        object.__setattr__(self, "observed", observed)
        object.__setattr__(self, "y", y)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.y.shape[1:]

    def bind(self, shapes: Mapping[str, tuple[int, ...]]) -> "View":
        """The same view with every shorthand replaced by the object it stands for; `shapes` are those of the sources."""
        mixing = {
            name: op if isinstance(op, Operator | PerSample) else Scale(op, tuple(shapes[name]))
            for name, op in self.mixing.items()
        }
        return View(self.y, mixing, _as_noise(self.noise), self.observed, self.truth)

    @property
    def observations(self) -> Observation:
        """All observations, with `PerSample` marks (bound views only)."""
        observed = None if self.observed is None else PerSample(self.observed)
        return Observation(PerSample(self.y), observed, dict(self.mixing), self.noise)

    def select(self, indices: np.ndarray) -> "View":
        """The view restricted to some of its observations, in that order."""
        return View(
            self.y[indices],
            select(dict(self.mixing), indices),
            select(self.noise, indices),
            None if self.observed is None else self.observed[indices],
            {name: x[indices] for name, x in self.truth.items()},
        )


def _as_noise(noise: Any) -> Any:
    if isinstance(noise, Noise):
        return noise
    if isinstance(noise, PerSample):
        inner = noise.value
        return noise if isinstance(inner, Noise) else PerSample(DiagonalNoise(np.asarray(inner)))
    return DiagonalNoise(np.asarray(noise, dtype=float) if np.ndim(noise) else float(noise))


def leaves(tree: Any) -> list[np.ndarray]:
    """The array leaves of a tree, as numpy arrays."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if eqx.is_array_like(leaf)]
