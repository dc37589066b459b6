"""What an encoder sees of an observation."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dichroic.baselines.batches import over_observations
from dichroic.operators import PerSample
from dichroic.problem import View
from dichroic.problem.view import leaves
from dichroic.white import WhitenedObservation

__all__ = ["features", "standards"]


def features(
    view: View, source: str, shape: tuple[int, ...], image: bool, standard: Mapping[str, np.ndarray] | None = None
) -> Float[np.ndarray, "n ..."]:
    r"""Inputs of the encoder of one source, shape `(n, ...)`.

    For dense networks the vector `[y; vec(A)]`: the data, and whatever of operator, noise and mask differs from one
    observation to the next. For images, two channels per channel of the source, whatever the operator: the data carried
    back, :math:`A^* \Sigma^{-1} y`, and :math:`A^* \Sigma^{-1} A\, 1`, which says where the data looked.

    **Arguments:** `standard`, what to subtract and to divide by, as `standards` makes it.
    """
    found = over_observations(_CarriedBack(source, tuple(shape)), view) if image else _vector(view, source)
    found = np.asarray(found, np.float32)
    return found if standard is None else (found - standard["shift"]) / standard["scale"]


def standards(found: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of every feature; of every channel for images."""
    axes = (0,) if found.ndim == 2 else tuple(range(found.ndim - 1))
    scale = found.std(axes, dtype=float)
    shift = found.mean(axes, dtype=float)
    scale = np.where(scale > 1e-6 * np.maximum(np.abs(shift), 1e-300), scale, 1.0)
    return {"shift": shift.astype(np.float32), "scale": scale.astype(np.float32)}


def _vector(view: View, source: str) -> np.ndarray:
    observations = view.observations
    y = view.y.reshape(len(view), -1)
    parts = _real(y)
    varying = (observations.mixing[source], observations.likelihood, observations.observed)
    for node in jax.tree.leaves(varying, is_leaf=lambda n: isinstance(n, PerSample)):
        if isinstance(node, PerSample):
            for leaf in leaves(node):
                parts += _real(leaf.reshape(len(view), -1))
    return np.concatenate(parts, axis=1)


def _real(x: np.ndarray) -> list[np.ndarray]:
    return [np.real(x), np.imag(x)] if np.iscomplexobj(x) else [x]


class _CarriedBack(eqx.Module):
    source: str = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, observation, _):
        w = WhitenedObservation.unscaled(observation, {self.source: self.shape})
        seen = w.forward({self.source: jnp.ones(self.shape, w.dtype)})
        return jnp.concatenate([w.adjoint(w.y)[self.source], w.adjoint(seen)[self.source]], -1)
