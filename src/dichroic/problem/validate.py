"""Faults in a user's data, in the user's words: which view, which sample, what was expected, what was got."""

from collections.abc import Collection, Mapping
from numbers import Number
from typing import Any
from unicodedata import category

import jax
import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError, among, first_line, names, samples
from dichroic.operators import (
    Adjoint,
    Composition,
    Joint,
    LinearFunction,
    Operator,
    PerSample,
    Sum,
    count_samples,
    take,
)
from dichroic.problem.containers import open_container
from dichroic.problem.joint import check_joint
from dichroic.problem.source import Source
from dichroic.problem.validate_noise import check_noise
from dichroic.problem.values import MOST, PER_SAMPLE_HINT, as_numbers
from dichroic.problem.view import View, bind_operator, leaves

__all__ = ["ProblemError", "check_names", "check_view", "has_controls", "unknown_source"]


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
    return f"unknown source '{source}' in its mixing; known: {among(source, sources)}"


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
    faults += [f"{where}: {fault}" for fault in check_noise(view)]
    for source, x in view.truth.items():
        faults += [f"{where}: truth of source '{source}'{fault}" for fault in _check_truth(source, x, view, sources)]
    return faults


def _check_y(where: str, view: View) -> list[str]:
    if view.observed is not None and view.observed.shape != view.y.shape:
        expected = f"the shape of y, {view.y.shape}, or of one observation, {view.event_shape}"
        return [f"{where}: observed: expected {expected}, got {view.observed.shape}"]
    faults = []
    largest = float(memory.by_rows(_largest, view.y).max(initial=0))
    if largest > MOST:
        missing = "write NaN if that stands for missing data, or use another unit"
        faults.append(f"{where}: y has values of {largest:.1g}, beyond what is computed with; {missing}")
    bad = np.flatnonzero(_not_finite(view.y))
    if bad.size:
        faults.append(f"{where}: {samples(bad)} infinite values; expected finite numbers, or NaN where data is missing")
    if view.observed is not None:
        empty = np.flatnonzero(view.counts == 0)
        if empty.size:
            every = len(empty) == len(view)
            what = "is `observed` true where there is data?" if every else "remove them, they carry no data"
            faults.append(f"{where}: {samples(empty)} no observed entry at all; {what}")
    return faults


def _check_truth(source: str, x: np.ndarray, view: View, sources: Mapping[str, Source]) -> list[str]:
    if source not in sources:
        return [f": unknown source; known: {among(source, sources)}"]
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
            hint = PER_SAMPLE_HINT if in_shape[1:] == source.shape else ""
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
    return largest == 0 or (largest <= np.iinfo(np.int32).max if whole else 1 / MOST <= largest <= MOST)


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


def _largest(x: np.ndarray) -> np.ndarray:
    """The largest finite size of a number of every row."""
    return np.abs(x).reshape(len(x), -1).max(1, initial=0, where=np.isfinite(x).reshape(len(x), -1))


def _not_finite(leaf: np.ndarray) -> np.ndarray:
    return memory.by_rows(lambda x: ~np.isfinite(x).reshape(len(x), -1).all(1), leaf)
