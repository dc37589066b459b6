"""Faults in a user's data, in the user's words: which view, which sample, what was expected, what was got."""

from collections.abc import Collection, Mapping
from numbers import Number
from typing import Any
from unicodedata import category

import equinox as eqx
import jax
import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError, did_you_mean, first_line, names, samples
from dichroic.operators import (
    Adjoint,
    Composition,
    DenseNoise,
    DiagonalNoise,
    Joint,
    Likelihood,
    LinearFunction,
    Operator,
    PerSample,
    Sum,
    count_samples,
    take,
)
from dichroic.problem.containers import open_container
from dichroic.problem.joint import check_joint
from dichroic.problem.noise import dense_bytes, entrywise, inner_noise, where_observed
from dichroic.problem.source import Source
from dichroic.problem.values import as_numbers
from dichroic.problem.view import View, bind_operator, leaves

__all__ = ["ProblemError", "check_names", "check_view", "has_controls", "unknown_source"]

_MOST = 1e36  # what numbers, and their inverses, are computed with in single precision
_INVERSE = 0.1  # error of a probe through factor and whitener, which rounding does not reach before 1e5 in condition
_MOST_BYTES = 16e9  # of correlated noise with a covariance of its own for every sample

_PER_SAMPLE_HINT = "; if every sample has its own, say so with PerSample (in a file: per_sample = true)"


def check_names(kind: str, found: Any, expected: type) -> list[str]:
    """The faults of a table of sources or views: its type, the types in it, and names that cannot name a file."""
    if not isinstance(found, Mapping):
        return [f"{kind}s: expected {{name: {expected.__name__}}}, got a {type(found).__name__}"]
    faults = [] if found else [f"a problem needs at least one {kind}"]
    for name, value in found.items():
        if (
            not isinstance(name, str)
            or not name.strip()
            or name in (".", "..")
            or any(c in "/\\" for c in name)
            or has_controls(name)
        ):
            faults.append(f"{kind} {name!r}: a name is text without '/', '\\' and control characters")
        elif not isinstance(value, expected):
            faults.append(f"{kind} '{name}': expected a {expected.__name__}, got a {type(value).__name__}")
    return faults


def has_controls(text: str) -> bool:
    """Whether a text has control characters: lines of a message, or what tells a terminal what to do."""
    return any(category(c) == "Cc" for c in text)


def unknown_source(source: str, sources: Collection[str]) -> str:
    """The sentence about a source that does not exist."""
    return f"unknown source '{source}' in its mixing; known: {names(sources)}{did_you_mean(source, sources)}"


def check_view(name: str, view: View, sources: Mapping[str, Source]) -> list[str]:
    """The faults of one view, an empty list when there are none."""
    where = f"view '{name}'"
    if view.y.ndim < 2:
        hint = "; give single numbers the shape (n, 1)" if view.y.ndim == 1 else ""
        return [f"{where}: y must have a sample axis and at least one more, got shape {view.y.shape}{hint}"]
    if len(view) == 0 or 0 in view.event_shape:
        return [f"{where}: there are no observations (y has shape {view.y.shape})"]
    if not view.mixing:
        return [f"{where}: no source enters it; name at least one in its mixing"]
    faults = _check_y(where, view)
    faults += [f"{where}: {fault}" for fault in check_joint(view.y, view.mixing, sources)]
    for source, operator in view.mixing.items():
        if isinstance(operator, Joint):
            continue
        if source not in sources:
            faults.append(f"{where}: {unknown_source(source, sources)}")
        else:
            faults += _check_operator(f"{where}, source '{source}'", operator, sources[source], view)
    faults += [f"{where}: {fault}" for fault in _check_noise(view)]
    for source, x in view.truth.items():
        faults += [f"{where}: truth of source '{source}'{fault}" for fault in _check_truth(source, x, view, sources)]
    return faults


def _check_y(where: str, view: View) -> list[str]:
    if view.observed is not None and view.observed.shape != view.y.shape:
        expected = f"the shape of y, {view.y.shape}, or of one observation, {view.event_shape}"
        return [f"{where}: observed: expected {expected}, got {view.observed.shape}"]
    faults = []
    largest = float(memory.by_rows(_largest, view.y).max(initial=0))
    if largest > _MOST:
        missing = "write NaN if that stands for missing data, or use another unit"
        faults.append(f"{where}: y has values of {largest:.1g}, beyond what is computed with; {missing}")
    bad = np.flatnonzero(_not_finite(view.y))
    if bad.size:
        faults.append(f"{where}: {samples(bad)} infinite values; expected finite numbers, or NaN where data is missing")
    if view.observed is not None:
        empty = np.flatnonzero(view.counts == 0)
        if empty.size:
            faults.append(f"{where}: {samples(empty)} no observed entry at all; remove them, they carry no data")
    return faults


def _check_truth(source: str, x: np.ndarray, view: View, sources: Mapping[str, Source]) -> list[str]:
    if source not in sources:
        return [f": unknown source; known: {names(sources)}{did_you_mean(source, sources)}"]
    if source not in view.mixing:
        return [f": it does not enter this view; sources that do: {names(view.mixing)}"]
    known = sources[source]
    bound = known.is_complex and not np.iscomplexobj(x) and x.shape[1:] == known.real_shape
    expected = (len(view), *(known.real_shape if bound else known.shape))
    if x.shape != expected:
        return [f": expected shape {expected}, got {x.shape}"]
    if np.iscomplexobj(x) and not known.is_complex:
        return [": expected real values, got complex ones; if the source is complex, say dtype = complex"]
    bad = np.flatnonzero(_not_finite(x))
    return [f": {samples(bad)} values that are not finite"] if bad.size else []


def _check_operator(where: str, operator: Any, source: Source, view: View) -> list[str]:
    fault = _check_kind(operator)
    if fault:
        return [f"{where}: {fault}"]
    try:
        operator = bind_operator(operator, source)
    except Exception as error:  # parameters that have no shape to speak of
        return [f"{where}: the operator's shape cannot be told: {first_line(error)}"]
    try:
        count = count_samples(operator)
    except ValueError as error:
        return [f"{where}: {error}"]
    if count == 0:
        return [f"{where}: per-sample parameters need a leading axis of {len(view)} samples, got none"]
    if count is not None and count != len(view):
        return [f"{where}: per-sample parameters for {count} samples, but y has {len(view)}"]
    faults = [f"{where}: {fault}" for fault in _check_parameters(operator)]
    try:
        one = take(operator, 0)
        in_shape = tuple(one.in_shape)
        if in_shape != source.real_shape:
            hint = _PER_SAMPLE_HINT if in_shape[1:] == source.shape else ""
            return [*faults, f"{where}: the operator acts on shape {in_shape}, the source has {source.shape}{hint}"]
        broken = _check_shapes(one)
        if broken:
            return [*faults, f"{where}: {broken}"]
        out = one.out_struct
    except Exception as error:  # whatever a user's function raises
        return [*faults, f"{where}: the operator fails on an input of shape {source.shape}: {first_line(error)}"]
    if not isinstance(out, jax.ShapeDtypeStruct):
        return [*faults, f"{where}: the operator must return one array, got a {type(out).__name__}"]
    if out.shape != view.event_shape:
        got, expected = tuple(out.shape), tuple(view.event_shape)
        faults.append(f"{where}: the operator's output has shape {got}, but an observation has shape {expected}")
    faults += [f"{where}: {fault}" for fault in _check_types(operator, out, source, view)]
    return faults or [f"{where}: {fault}" for fault in _check_linear(one)]


def _check_types(operator: Any, out: jax.ShapeDtypeStruct, source: Source, view: View) -> list[str]:
    """Whether the operator returns values of the type of the data."""
    name = type(_outermost(operator)).__name__
    returns = np.issubdtype(out.dtype, np.complexfloating)
    if returns and not np.iscomplexobj(view.y):
        return [f"the operator ({name}) returns complex values, but y is real"]
    if not returns and np.iscomplexobj(view.y):
        advice = "" if source.is_complex else "; if the source is complex, say dtype = complex"
        return [f"the operator ({name}) returns real values, but y is complex{advice}"]
    return []


def _outermost(operator: Any) -> Any:
    while isinstance(operator, PerSample | Composition):
        operator = operator.value if isinstance(operator, PerSample) else operator.outer
    return operator


def _check_kind(operator: Any) -> str | None:
    """What is wrong with the type of an entry of `mixing`."""
    expected = "expected an operator or a number"
    if isinstance(operator, Operator):
        return None
    if isinstance(operator, PerSample):
        if isinstance(operator.value, Operator):
            return None
        try:
            amplitudes = as_numbers(operator.value)
        except ProblemError as error:
            return error.faults[0]
        if amplitudes.ndim != 1:
            return f"per-sample amplitudes: expected one number per sample, got shape {amplitudes.shape}"
        return None
    if isinstance(operator, type):
        return f"{expected}, got the class {operator.__name__}; make one with {operator.__name__}(...)"
    if callable(operator):
        return f"{expected}, got a function; wrap it: LinearFunction(function, in_shape)"
    if np.ndim(operator) if isinstance(operator, np.ndarray | jax.Array) else not isinstance(operator, Number):
        hint = "; wrap a matrix as Dense(matrix), weights as Mask(weights)" if hasattr(operator, "shape") else ""
        return f"{expected}, got a {type(operator).__name__}{hint}"
    return None


def _check_shapes(operator: Operator) -> str | None:
    """Whether the parts of a composed operator fit together; broadcasting would hide that they do not."""
    if isinstance(operator, Adjoint):
        return _check_shapes(operator.operator)
    if isinstance(operator, Composition):
        fault = _check_shapes(operator.inner) or _check_shapes(operator.outer)
        got, expected = tuple(operator.inner.out_shape), tuple(operator.outer.in_shape)
        if fault is None and got != expected:
            outer, inner = (type(part).__name__ for part in (operator.outer, operator.inner))
            fault = f"in the composed operator, {outer} acts on shape {expected}, but {inner} returns {got}"
        return fault
    if isinstance(operator, Sum):
        fault = next(filter(None, map(_check_shapes, operator.terms)), None)
        shapes = {(tuple(term.in_shape), tuple(term.out_shape)) for term in operator.terms}
        if fault is None and len(shapes) > 1:
            maps = ", ".join(f"{a} -> {b}" for a, b in sorted(shapes))
            fault = f"the terms of a sum of operators have different shapes: {maps}"
        return fault
    return None


def _check_parameters(operator: Operator | PerSample) -> list[str]:
    faults = []
    for leaf in jax.tree.leaves(operator, is_leaf=lambda n: open_container(n).values is not n):
        opened = open_container(leaf)
        if opened.unit is not None or (opened.mask is not None and opened.mask.any()):
            faults.append("the operator has a parameter with a unit or a mask, which would be lost; give plain numbers")
    for node in jax.tree.leaves(operator, is_leaf=lambda n: isinstance(n, PerSample)):
        for leaf in leaves(node):
            if not np.issubdtype(leaf.dtype, np.number) and leaf.dtype != bool:
                faults.append(f"the operator has a parameter of type {leaf.dtype}; expected numbers")
            elif isinstance(node, PerSample) and (bad := np.flatnonzero(_not_finite(leaf))).size:
                faults.append(f"{samples(bad)} operator parameters that are not finite")
            elif not isinstance(node, PerSample) and not np.isfinite(leaf).all():
                number = f": {leaf}" if leaf.ndim == 0 else ""
                faults.append(f"the operator has parameters that are not finite{number}")
            elif not _in_range(leaf):
                worst = f"{np.abs(leaf).max():.3g}"
                faults.append(f"the operator has parameters of {worst}, beyond what is computed with; use another unit")
    return list(dict.fromkeys(faults))


def _in_range(leaf: np.ndarray) -> bool:
    """Whether parameters are what they are in single precision, too; small ones beside large ones may vanish."""
    largest = float(np.abs(leaf).max(initial=0))
    whole = leaf.dtype.kind in "iu"
    return largest == 0 or (largest <= np.iinfo(np.int32).max if whole else 1 / _MOST <= largest <= _MOST)


def _check_linear(operator: Operator) -> list[str]:
    """Whether a user's function is linear: the adjoint comes from transposing it, which a constant would survive."""
    nodes = jax.tree.leaves(operator, is_leaf=lambda n: isinstance(n, LinearFunction))
    if not any(isinstance(node, LinearFunction) for node in nodes):
        return []
    x = np.random.default_rng(0).normal(size=operator.in_shape).astype(np.float32)
    try:
        at_zero, at_x, at_minus = (np.asarray(operator(jax.numpy.asarray(z))) for z in (0 * x, x, -2 * x))
        jax.eval_shape(operator.T, operator.out_struct)
    except Exception as error:  # what a user's function does under JAX
        return [f"the operator cannot be transposed by JAX; is it linear in x? {first_line(error)}"]
    size = np.abs(at_x).max(initial=0)
    if np.abs(at_zero).max(initial=0) > 1e-5 * size:
        return ["the operator is not linear: it does not return zeros for zeros"]
    if np.abs(at_minus + 2 * at_x).max(initial=0) > 1e-3 * size:
        return ["the operator is not linear: A(-2 x) differs from -2 A(x)"]
    return []


_MISSING = "; where nothing was measured the data are missing: write NaN in y, false in observed, or an infinite noise"


def _check_noise(view: View) -> list[str]:
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
        hint = _PER_SAMPLE_HINT if value.shape in (view.y.shape, view.y.shape[:1]) else ""
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
    if observed is not None and value.ndim:
        seen = observed if value.shape == view.y.shape else observed.any(0) if value.shape == view.event_shape else True
        seen = np.broadcast_to(seen, value.shape)
        parts = (value[block][seen[block]] for block in memory.blocks(len(value), value[:1].nbytes))
    else:
        parts = iter([value])
    least, most = 1.0, 1.0
    for part in parts:
        least, most = min(least, float(part.min(initial=1))), max(most, float(part.max(initial=1)))
    if least >= 1 / _MOST and most <= _MOST:
        return []
    worst = most if most > _MOST else least
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


def _largest(x: np.ndarray) -> np.ndarray:
    """The largest finite size of a number of every row."""
    return np.abs(x).reshape(len(x), -1).max(1, initial=0, where=np.isfinite(x).reshape(len(x), -1))


def _not_finite(leaf: np.ndarray) -> np.ndarray:
    return memory.by_rows(lambda x: ~np.isfinite(x).reshape(len(x), -1).all(1), leaf)


def _not_positive(std: np.ndarray) -> np.ndarray:
    return np.asarray(~(np.isfinite(std) & (std > 0)))
