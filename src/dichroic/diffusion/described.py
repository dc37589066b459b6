"""Gaussians and components that a table of a problem file describes."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from dichroic.algebra import Components, Gaussian
from dichroic.diffusion.denoiser import EXACT_SIZE
from dichroic.diffusion.denoiser_prior import DenoiserPrior
from dichroic.diffusion.prior import Scaling, as_weights, real_pairs
from dichroic.diffusion.schedule import Schedule

__all__ = ["components_of_table", "gaussian_of_table"]

_ROUNDING = 1e-5  # of the largest entry of a covariance: what single precision and sums of many samples may leave


def gaussian_of_table(table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool) -> DenoiserPrior:
    """`{ gaussian = { mean = 0, std = 1 } }`, or `covariance` of shape `(d, d)` in place of `std`."""
    said = _said(table, "gaussian", ("mean", "std", "covariance"))
    mean = _filled(real_pairs(said.get("mean", 0.0), pairs), shape, "mean")
    d = mean.size
    if "covariance" in said:
        law = Gaussian.of(mean.reshape(-1).astype(float), _covariance(said["covariance"], (d, d)))
        spread = float(np.trace(np.asarray(said["covariance"], float)) / d)
    else:
        std = _filled(said.get("std", 1.0), shape, "std").reshape(-1).astype(float)
        if not (np.isfinite(std) & (std > 0)).all():
            raise ValueError("gaussian: std: expected positive numbers")
        spread = float(np.mean(std**2))
        if (std == std[0]).all():
            law = Gaussian(mean.reshape(-1).astype(float), np.zeros((d, 0)), np.zeros(0), float(std[0] ** 2))
        else:
            law = Gaussian(mean.reshape(-1).astype(float), np.eye(d), std**2, 0.0)
    return DenoiserPrior.of(law, shape, Schedule(), Scaling(float(mean.mean()), spread**0.5), {})


def components_of_table(table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool) -> DenoiserPrior:
    """`{ components = { weights = [...], means = ..., covariances = ... } }`, of shapes `(K,)`, `(K, ...)` and
    `(K, d, d)`; or `std`, of shape `(K,)`, in place of the last.
    """
    said = _said(table, "components", ("weights", "means", "covariances", "std"))
    d = prod(shape)
    if d > EXACT_SIZE:
        raise ValueError(f"components: their covariances are kept for sources of up to {EXACT_SIZE} numbers, not {d}")
    means = real_pairs(said["means"], pairs) if "means" in said else np.zeros((0, *shape))
    if len(means) == 0 or means.size != len(means) * d:
        raise ValueError(f"components: means: expected shape (K, ...) of samples of shape {shape}, got {means.shape}")
    K = len(means)
    if "covariances" in said:
        covariances = _covariance(said["covariances"], (K, d, d))
    else:
        std = np.asarray(said.get("std", 1.0), float)
        if std.shape not in ((), (K,)) or not np.isfinite(std).all() or not (std > 0).all():
            raise ValueError(f"components: std: expected positive numbers, one or {K}")
        std = np.broadcast_to(std, (K,))
        covariances = std[:, None, None] ** 2 * np.eye(d)
    weights = as_weights(said.get("weights"), K).astype(float)
    law = Components(weights / weights.sum(), means.reshape(K, d).astype(float), covariances)
    centre, spread = law.moments()
    scaling = Scaling(float(centre.mean()), float(np.trace(spread) / d) ** 0.5)
    return DenoiserPrior.of(law, shape, Schedule(), scaling, {})


def _said(table: Mapping[str, Any], kind: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    said = table[kind]
    if not isinstance(said, Mapping):
        raise ValueError(f"{kind}: expected a table with {', '.join(known)}")
    if unknown := [key for key in [*said, *(k for k in table if k != kind)] if key not in known]:
        raise ValueError(f"{kind}: unknown key '{unknown[0]}'; known: {', '.join(known)}")
    return said


def _filled(x: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    x = np.asarray(x, np.float32)
    if x.shape not in ((), shape):
        raise ValueError(f"gaussian: {what}: expected one number or shape {shape}, got {x.shape}")
    return np.broadcast_to(x, shape)


def _covariance(S: Any, shape: tuple[int, ...]) -> np.ndarray:
    S = np.asarray(S, float)
    if S.shape != shape or not np.isfinite(S).all():
        raise ValueError(f"expected finite covariances of shape {shape}, got shape {S.shape}")
    size = np.abs(S).max(axis=(-2, -1))
    if (size == 0).any():
        raise ValueError("has a covariance of zeros")
    relative = S / size[..., None, None]  # so that units do not matter
    if np.abs(relative - relative.swapaxes(-1, -2)).max() > _ROUNDING:
        raise ValueError("has a covariance that is not symmetric")
    S, relative = ((x + x.swapaxes(-1, -2)) / 2 for x in (S, relative))
    if np.linalg.eigvalsh(relative).min() < -_ROUNDING:
        raise ValueError("has a covariance with a negative variance")
    return S
