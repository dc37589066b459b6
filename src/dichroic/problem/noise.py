r"""The noise of a view, in its normal form.

A view may give its noise as a number, an array or an object. Here it becomes a `Likelihood` (or `PerSample` of one)
whose parameters are finite everywhere, also at entries that were never measured.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError
from dichroic.operators import DenseNoise, DiagonalNoise, Likelihood, PerSample, Response, Unknown
from dichroic.problem.values import as_numbers

__all__ = ["bind_noise", "dense_bytes", "entrywise", "inner_noise", "through_response", "unmeasured", "where_observed"]


def inner_noise(noise: Any) -> Any:
    """A likelihood for what a view's `noise` is: numbers are standard deviations; `PerSample` taken off."""
    inner = noise.value if isinstance(noise, PerSample) else noise
    return inner if isinstance(inner, Likelihood) else DiagonalNoise(inner)


def through_response(noise: Any, function: Callable[[Any], Any]) -> Any:
    """Independent Gaussian noise behind a response.

    **Raises:** `ProblemError` for other noise.
    """
    inner = noise.value if isinstance(noise, PerSample) else noise
    inner = DiagonalNoise(as_numbers(inner)) if not isinstance(inner, Likelihood | Unknown) else inner
    if not isinstance(inner, DiagonalNoise):
        raise ProblemError(["a response takes noise of known standard deviations"])
    response = Response(inner.std, function)
    return PerSample(response) if isinstance(noise, PerSample) else response


def entrywise(likelihood: Likelihood) -> dict[str, Any]:
    """Its parameters that are one positive number per entry, or one for all."""
    return {name: getattr(likelihood, name) for name in likelihood.entrywise}


def unmeasured(noise: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where the noise is infinite, to be broadcast to data of that shape: nothing was measured there."""
    missing = None
    for value in entrywise(inner_noise(noise)).values():
        try:
            value = as_numbers(value)
            if not value.ndim or not len(value):
                continue
            if not memory.by_rows(lambda v: (v == np.inf).reshape(len(v), -1).any(1), value).any():
                continue
            infinite = np.asarray(value == np.inf)
        except ProblemError:
            continue  # said by the check of the view
        if isinstance(noise, PerSample) and infinite.shape == shape[:1]:
            infinite = infinite.reshape(shape[:1] + (1,) * (len(shape) - 1))
        shapes = (shape, shape[1:], shape[:1] + (1,) * (len(shape) - 1))
        if infinite.shape in shapes:
            missing = infinite if missing is None else missing | infinite
    return missing


def bind_noise(noise: Any, observed: np.ndarray | None) -> Any:
    """The normal form of a valid noise.

    **Arguments:** `noise`, a number, an array, a `Likelihood`, or `PerSample` of one of these; `observed`, shape `(n,
    ...)`, what was measured, None for everything.
    """
    per_sample, inner = isinstance(noise, PerSample), inner_noise(noise)
    if isinstance(inner, DenseNoise):
        bound = None if observed is None else _bind_dense(inner, per_sample, observed)
        return noise if bound is None else bound
    if not inner.entrywise:
        return noise
    bound = replace(inner, **{name: _filled(v, observed, per_sample) for name, v in entrywise(inner).items()})
    return PerSample(bound) if per_sample else bound


def _filled(value: Any, observed: np.ndarray | None, per_sample: bool) -> Any:
    value = as_numbers(value)
    if not np.issubdtype(value.dtype, np.floating):
        value = value.astype(float)
    if observed is not None and value.ndim > per_sample:
        # missing entries take part in the products before they are masked, and 0 / NaN is not 0
        seen, one = where_observed(observed, per_sample), np.ones((), value.dtype)
        value = memory.by_rows(lambda a, v: np.where(a, v, one), seen, np.broadcast_to(value, seen.shape))
    if per_sample:
        return value
    return value.astype(float) if value.ndim else float(value)


def where_observed(observed: np.ndarray, per_sample: bool) -> np.ndarray:
    """Where the noise matters: per sample, or, for noise that all samples share, where any of them was measured."""
    return observed if per_sample else np.asarray(observed.any(0))


def dense_bytes(noise: DenseNoise, per_sample: bool, observed: np.ndarray) -> int:
    """Memory that correlated noise takes once missing entries are decoupled from it."""
    masks = observed.reshape(len(observed), -1)
    copies = len(masks) if per_sample or (masks != masks[0]).any() else 1
    return 2 * 8 * copies * masks.shape[1] ** 2


def _bind_dense(noise: DenseNoise, per_sample: bool, observed: np.ndarray) -> Any:
    """With missing entries decoupled; None when they are already, since binding twice must not change a bit."""
    factor = np.asarray(noise.factor)
    masks = observed.reshape(len(observed), -1)
    if not per_sample and not (masks != masks[0]).any():
        masks = masks[0]
    elif not per_sample:
        factor = np.broadcast_to(factor, (len(masks), *factor.shape))
    if _decoupled(factor, masks):
        return None
    covariance = factor @ factor.swapaxes(-1, -2)
    bound = DenseNoise.from_covariance(covariance, masks)
    return PerSample(bound) if masks.ndim == 2 else bound


def _decoupled(factor: np.ndarray, observed: np.ndarray) -> bool:
    """Whether every missing entry has a unit pivot of its own."""
    unit = np.eye(factor.shape[-1], dtype=factor.dtype)
    touched = ~(observed[..., :, None] & observed[..., None, :])
    return bool((np.where(touched, factor, unit) == unit).all())
