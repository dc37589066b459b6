"""Faults in a user's data, in the user's words: which view, which sample, what was expected, what was got."""

from collections.abc import Mapping
from difflib import get_close_matches

import jax
import numpy as np

from dichroic.operators import DenseNoise, Noise, Operator, PerSample, count_samples, take
from dichroic.problem.source import Source
from dichroic.problem.view import View, leaves

__all__ = ["ProblemError", "check_view"]


class ProblemError(ValueError):
    """Everything that is wrong with a problem. `faults` holds one sentence for each fault."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        super().__init__(faults[0] if len(faults) == 1 else "\n".join(f"- {fault}" for fault in faults))


def check_view(name: str, view: View, sources: Mapping[str, Source]) -> list[str]:
    """The faults of one view, an empty list when there are none."""
    where = f"view '{name}'"
    if view.y.ndim < 2:
        return [f"{where}: y must have a sample axis and at least one more, got shape {view.y.shape}"]
    if len(view) == 0 or 0 in view.event_shape:
        return [f"{where}: there are no observations (y has shape {view.y.shape})"]
    if not view.mixing:
        return [f"{where}: no source enters it; name at least one in its mixing"]
    faults = _check_y(where, view)
    for source, operator in view.mixing.items():
        if source not in sources:
            near = get_close_matches(source, sources, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            faults.append(f"{where}: unknown source '{source}' in its mixing; known: {_names(sources)}{hint}")
        else:
            faults += _check_operator(f"{where}, source '{source}'", operator, sources[source], view)
    faults += _check_noise(where, view)
    for source, x in view.truth.items():
        expected = (len(view), *sources[source].shape) if source in sources else None
        if expected is None:
            faults.append(f"{where}: truth for unknown source '{source}'; known: {_names(sources)}")
        elif x.shape != expected:
            faults.append(f"{where}: truth of source '{source}': expected shape {expected}, got {x.shape}")
    return faults


def _check_y(where: str, view: View) -> list[str]:
    if view.observed is not None and view.observed.shape != view.y.shape:
        return [f"{where}: observed: expected the shape of y, {view.y.shape}, got {view.observed.shape}"]
    faults = []
    bad = np.flatnonzero(~np.isfinite(view.y).reshape(len(view), -1).all(1))
    if bad.size:
        faults.append(f"{where}: {_samples(bad)} infinite values; expected finite numbers, or NaN where data is missing")
    if view.observed is not None:
        empty = np.flatnonzero(~view.observed.reshape(len(view), -1).any(1))
        if empty.size:
            faults.append(f"{where}: {_samples(empty)} no observed entry at all; remove them, they carry no data")
    return faults


def _check_operator(where: str, operator, source: Source, view: View) -> list[str]:
    if not isinstance(operator, Operator | PerSample):
        if not np.isscalar(operator) and np.ndim(operator) != 0:
            return [f"{where}: expected an operator or a number, got {type(operator).__name__}"]
        if not np.isfinite(operator):
            return [f"{where}: the amplitude is {operator}; expected a finite number"]
        return [] if view.event_shape == source.shape else [_mismatch(where, source.shape, view.event_shape)]
    try:
        count = count_samples(operator)
    except ValueError as error:
        return [f"{where}: {error}"]
    if count is not None and count != len(view):
        return [f"{where}: per-sample parameters for {count} samples, but y has {len(view)}"]
    faults = []
    nodes = jax.tree.leaves(operator, is_leaf=lambda n: isinstance(n, PerSample))
    for node in nodes:
        for leaf in leaves(node):
            if isinstance(node, PerSample) and (bad := np.flatnonzero(_not_finite(leaf))).size:
                faults.append(f"{where}: {_samples(bad)} operator parameters that are not finite")
            elif not isinstance(node, PerSample) and not np.isfinite(leaf).all():
                faults.append(f"{where}: the operator has parameters that are not finite")
    one = take(operator, 0)
    if tuple(one.in_shape) != source.shape:
        return [*faults, f"{where}: the operator acts on shape {tuple(one.in_shape)}, the source has {source.shape}"]
    try:
        out = one.out_struct
    except Exception as error:  # whatever a user's function raises
        return [*faults, f"{where}: the operator fails on an input of shape {source.shape}: {error}"]
    if out.shape != view.event_shape:
        return [*faults, _mismatch(where, out.shape, view.event_shape)]
    if np.issubdtype(out.dtype, np.complexfloating) and not np.iscomplexobj(view.y):
        faults.append(f"{where}: the operator returns complex values, but y is real")
    return faults


def _check_noise(where: str, view: View) -> list[str]:
    noise = view.noise
    per_sample = isinstance(noise, PerSample)
    inner = noise.value if isinstance(noise, PerSample) else noise
    if isinstance(inner, DenseNoise):
        size, shape = int(np.prod(view.event_shape)), np.shape(inner.factor)
        expected = (len(view), size, size) if per_sample else (size, size)
        return [] if shape == expected else [f"{where}: noise covariance: expected shape {expected}, got {shape}"]
    std = np.asarray(inner.std if isinstance(inner, Noise) else inner)
    if not np.issubdtype(std.dtype, np.number) or np.iscomplexobj(std):
        return [f"{where}: noise: expected real standard deviations, got {type(inner).__name__}"]
    if per_sample:
        if std.ndim == 0 or len(std) != len(view):
            return [f"{where}: noise for {len(std) if std.ndim else 1} samples, but y has {len(view)}"]
        if std.shape[1:] not in ((), view.event_shape):
            return [f"{where}: noise: expected shape {view.event_shape} per sample, got {std.shape[1:]}"]
        bad = np.flatnonzero(_not_finite(std) | (std.reshape(len(std), -1) <= 0).any(1))
        return [f"{where}: {_samples(bad)} noise that is not positive and finite"] if bad.size else []
    if std.shape not in ((), view.event_shape):
        return [f"{where}: noise: expected one number or shape {view.event_shape}, got shape {std.shape}"]
    if not (np.isfinite(std).all() and (std > 0).all()):
        return [f"{where}: noise must be positive and finite, got {std.min():g}"]
    return []


def _not_finite(leaf: np.ndarray) -> np.ndarray:
    return ~np.isfinite(leaf).reshape(len(leaf), -1).all(1)


def _mismatch(where: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    return f"{where}: the operator's output has shape {tuple(got)}, but an observation has shape {tuple(expected)}"


def _names(names) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _samples(indices: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in indices[:5])
    if len(indices) == 1:
        return f"sample {shown} has"
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"samples {shown}{more} have"
