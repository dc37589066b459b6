"""Faults in the noise that a user states, in the user's words: which sample, what was expected, what was got."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError, first_line, samples
from dichroic.operators import DenseNoise, DiagonalNoise, Likelihood, PerSample, take
from dichroic.problem.noise import dense_bytes, entrywise, inner_noise, where_observed
from dichroic.problem.values import MOST, PER_SAMPLE_HINT, as_numbers
from dichroic.problem.view import View

__all__ = ["check_noise"]

_MOST_BYTES = 16e9  # of correlated noise with a covariance of its own for every sample
_INVERSE = 0.1  # error of a probe through factor and whitener, which rounding does not reach before 1e5 in condition
_MISSING = "; where nothing was measured the data are missing: write NaN in y, false in observed, or an infinite noise"


def check_noise(view: View) -> list[str]:
    """What is wrong with a view's noise: its shape, its numbers, its range."""
    per_sample, inner = isinstance(view.noise, PerSample), inner_noise(view.noise)
    observed = view.observed if view.observed is not None and view.observed.shape == view.y.shape else None
    if isinstance(inner, DenseNoise):
        return _check_dense(inner, per_sample, view, observed)
    if not inner.entrywise:
        return _check_other_noise(view)
    faults = []
    if not per_sample and isinstance(inner, DiagonalNoise) and isinstance(inner.std, int | float) and inner.std == 0:
        return []  # data as a constraint, see `View.exact`
    for name, value in entrywise(inner).items():
        what = "noise" if isinstance(inner, DiagonalNoise) else f"noise: {name}"
        expected = "standard deviations" if name == "std" else "numbers"
        try:
            numbers = as_numbers(value)
        except ProblemError as error:
            return [f"noise: expected {expected}: {error.faults[0]}"]
        if np.iscomplexobj(numbers) or numbers.dtype == bool:
            return [f"noise: expected real {expected}, got values of type {numbers.dtype}"]
        check = _check_entries_per_sample if per_sample else _check_entries
        faults += check(what, numbers, view, observed)
    if not faults and isinstance(inner, Likelihood):
        for block in memory.blocks(len(view), view.y[:1].nbytes):
            known = np.isfinite(view.y[block]) & (True if observed is None else observed[block])
            if not faults and (fault := inner.fault(view.y[block][known])):
                faults = [f"noise: {fault}"]
    return faults


def _check_entries(what: str, value: np.ndarray, view: View, observed: np.ndarray | None) -> list[str]:
    if value.shape not in ((), view.event_shape):
        hint = PER_SAMPLE_HINT if value.shape in (view.y.shape, view.y.shape[:1]) else ""
        return [f"noise: expected one number or shape {view.event_shape}, got shape {value.shape}{hint}"]
    bad = _not_positive(value)
    if observed is not None and value.ndim:
        bad &= where_observed(observed, False)
    if not bad.any():
        return _check_range(what, value, view, observed)
    place = f" at entry {tuple(int(i) for i in np.argwhere(bad)[0])}{_MISSING}" if value.ndim else ""
    worst = value[bad].flat[0]
    why = " (a negative variance or weight gives nan)" if np.isnan(worst) and value.ndim else ""
    return [f"{what} must be positive and finite, got {worst:g}{place}{why}"]


def _check_entries_per_sample(what: str, value: np.ndarray, view: View, observed: np.ndarray | None) -> list[str]:
    if value.ndim == 0:
        return [f"noise: per-sample noise needs a leading axis of {len(view)} samples, got one number"]
    if len(value) != len(view):
        return [f"noise for {len(value)} samples, but y has {len(view)}"]
    if value.shape[1:] not in ((), view.event_shape):
        return [f"noise: expected shape {view.event_shape} per sample, got {value.shape[1:]}"]
    seen = observed if observed is not None and value.ndim > 1 else np.broadcast_to(True, value.shape)
    bad = memory.by_rows(lambda v, a: (_not_positive(v) & a).reshape(len(v), -1).any(1), value, seen)
    bad = np.flatnonzero(bad)
    if not bad.size:
        return _check_range(what, value, view, observed)
    return [f"{samples(bad)} {what} that is not positive and finite{_MISSING}"]


def _check_range(what: str, value: np.ndarray, view: View, observed: np.ndarray | None) -> list[str]:
    """Whether single precision holds the values, and their squares in relation to each other."""
    seen: Any = True
    if observed is not None and value.ndim:
        seen = observed if value.shape == view.y.shape else observed.any(0) if value.shape == view.event_shape else True
    seen, least, most = np.broadcast_to(seen, value.shape), 1.0, 1.0
    for block in memory.blocks(len(value), value[:1].nbytes) if value.ndim else (...,):
        part, there = value[block], seen[block]
        least = min(least, float(part.min(initial=1, where=there)))
        most = max(most, float(part.max(initial=1, where=there)))
    if least >= 1 / MOST and most <= MOST:
        return []
    worst = most if most > MOST else least
    return [f"{what} of {worst:.3g} is beyond what is computed with; use another unit"]


def _check_dense(noise: DenseNoise, per_sample: bool, view: View, observed: np.ndarray | None) -> list[str]:
    size = int(np.prod(view.event_shape))
    expected = (len(view), size, size) if per_sample else (size, size)
    for part in (noise.factor, noise.whitener):
        shape = np.shape(part)
        if shape != expected:
            return [f"noise covariance: expected shape {expected}, got {shape}"]
        if not np.isfinite(np.asarray(part)).all():
            return ["noise covariance: its factor has values that are not finite"]
        if np.iscomplexobj(part):
            return ["noise covariance: expected a real factor, got complex values"]
    factor, whitener = (np.asarray(part, float) for part in (noise.factor, noise.whitener))
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    if not (diagonal > 0).all() or np.abs(np.triu(factor, 1)).max(initial=0) > 1e-5 * diagonal.max():
        return ["noise covariance: its factor is lower triangular with a positive diagonal; covariance = ... makes one"]
    probe = np.random.default_rng(0).normal(size=(size, 1))
    back = whitener @ (factor @ probe)
    if not np.abs(back - probe).max() < _INVERSE:
        return ["noise covariance: the whitener is not the inverse of the factor; leave it out, and it is worked out"]
    if observed is not None and (needed := dense_bytes(noise, per_sample, observed)) > _MOST_BYTES:
        return [
            f"noise covariance: with missing entries every sample needs one of its own, {needed / 1e9:.0f} GB in all; "
            "use independent noise (a standard deviation per entry), or drop the missing entries from all samples"
        ]
    return []


def _check_other_noise(view: View) -> list[str]:
    try:
        likelihood, y = take(view.noise, 0), jax.ShapeDtypeStruct(view.event_shape, np.float32)
        y, noise = eqx.filter_eval_shape(lambda y: likelihood.gaussian_at(y, y), y)
        out = eqx.filter_eval_shape(lambda noise, y: noise.whiten(y), noise, y)
    except Exception as error:  # whatever a user's class raises
        return [f"noise: {type(inner_noise(view.noise)).__name__} fails on {view.event_shape}: {first_line(error)}"]
    if out.shape != view.event_shape:
        return [f"noise: whitened data must keep the shape {view.event_shape}, got {out.shape}"]
    return []


def _not_positive(std: np.ndarray) -> np.ndarray:
    return np.asarray(~(np.isfinite(std) & (std > 0)))
