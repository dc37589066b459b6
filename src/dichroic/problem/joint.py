"""Functions of several sources in the mixing of a view: taken apart, put near the data, checked."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from dichroic.faults import ProblemError, first_line, names
from dichroic.operators import Joint, PerSample, Tangent, take
from dichroic.problem.source import Source

__all__ = ["check_joint", "near", "parted"]


def parted(mixing: Mapping[Any, Any]) -> dict[str, Any]:
    """The mixing by source: `{(a, b): function}`, or `(function, parameters)`, becomes a part for each of them.

    **Raises:** `ProblemError` for a key that names no two sources, a source twice, or what is no function.
    """
    found: dict[str, Any] = {}
    for key, value in mixing.items():
        if not isinstance(key, tuple):
            found[key] = value
            continue
        function, parameters = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        if len(key) < 2 or len(set(key)) < len(key) or not all(isinstance(s, str) for s in key):
            raise ProblemError([f"a function is of two or more different sources, got {key!r}"])
        if twice := [s for s in key if s in mixing or s in found]:
            raise ProblemError(
                [f"source '{twice[0]}' enters twice: by itself or another function, and in {names(key)}"]
            )
        if not callable(function):
            raise ProblemError([f"{names(key)}: expected a function of them, got {function!r}"])
        # the shape, abstract in `Operator`, is that of the point
        found |= {s: Joint(Tangent(function, key, s, None, parameters)) for s in key}  # pyright: ignore
    return found


def near(y: np.ndarray, mixing: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]] | None = None) -> Any:
    """The mixing with the tangents of functions at the data: every source of their shape is what is seen, any other its
    mean. Without `shapes` only what has been put there before.
    """
    if not any(isinstance(op, Joint) for op in mixing.values()):
        return dict(mixing)
    found, mean = dict(mixing), np.float32(np.real(y).mean() if y.size else 0)
    for s, op in mixing.items():
        if not isinstance(op, Joint) or (shapes is None and op.tangent.at is None):
            continue
        known = shapes or {t: x.shape[1:] for t, x in op.tangent.at.value.items()}
        at = {
            t: y if y.shape[1:] == known[t] and np.isrealobj(y) else np.broadcast_to(mean, (len(y), *known[t]))
            for t in op.tangent.sources
            if t in known
        }
        found[s] = eqx.tree_at(lambda o: o.tangent.at, op, PerSample(at), is_leaf=lambda n: n is None)
    return found


def check_joint(y: np.ndarray, mixing: Mapping[str, Any], sources: Mapping[str, Source]) -> list[str]:
    """What is wrong with functions of several sources."""
    faults = []
    for op in mixing.values():
        if not isinstance(op, Joint) or op.tangent.source != op.tangent.sources[0]:
            continue
        tangent, of = op.tangent, names(op.tangent.sources)
        if unknown := [s for s in tangent.sources if s not in sources]:
            faults.append(f"function of {of}: unknown source '{unknown[0]}'; known: {names(sources)}")
            continue
        if any(sources[s].is_complex for s in tangent.sources):
            faults.append(f"function of {of}: it is for real sources")
            continue
        x = {s: jax.ShapeDtypeStruct(sources[s].shape, np.float32) for s in tangent.sources}
        try:
            one = take(tangent, 0)
            out = jax.eval_shape(one.value, x)
            jax.eval_shape(lambda x, one=one: jax.jvp(one.value, (x,), (x,)), x)
        except Exception as error:  # whatever a user's function raises
            faults.append(
                f"function of {of}: it fails on {[sources[s].shape for s in tangent.sources]}: {first_line(error)}"
            )
            continue
        if not isinstance(out, jax.ShapeDtypeStruct):
            faults.append(f"function of {of}: it must return one array, got a {type(out).__name__}")
        elif out.shape != y.shape[1:]:
            faults.append(f"function of {of}: it returns shape {out.shape}, but an observation has shape {y.shape[1:]}")
    return faults
