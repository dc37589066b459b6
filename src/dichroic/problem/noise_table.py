"""Noise in a problem file, read and written."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dichroic.operators import DenseNoise, DiagonalNoise, PerSample
from dichroic.problem.arrays import ArrayReader, is_array_table
from dichroic.problem.faults import ProblemError, located
from dichroic.problem.schema import NoiseTable, parse
from dichroic.problem.values import as_floats

__all__ = ["describe_noise", "read_noise"]


def read_noise(spec: Any, arrays: ArrayReader, observed: np.ndarray | None, size: int | None) -> Any:
    """The noise that a value stands for.

    **Arguments:** `spec`, a standard deviation (number, list, `FILE:KEY`) or a table with `std`, `covariance` or
    `factor`; `observed`, shape `(n, ...)`, None for everything; `size`, number of entries of one observation, None when
    it is not known.

    **Raises:** `ProblemError`; whether standard deviations fit the view is checked with the view.
    """
    if not isinstance(spec, dict) or is_array_table(spec):
        return arrays.read(spec)
    table = parse(NoiseTable, spec)
    given = [key for key in ("std", "covariance", "factor") if getattr(table, key) is not None]
    if len(given) != 1:
        raise ProblemError([f"give one of 'std' and 'covariance', got {' and '.join(given) or 'neither'}"])
    if table.whitener is not None and given != ["factor"]:
        raise ProblemError(["'whitener' belongs to 'factor', the form in which saved problems keep a covariance"])
    with located(given[0]):
        array = arrays.read(getattr(table, given[0]))
        if given == ["std"]:
            return PerSample(array) if table.per_sample else array
        array = as_floats(array)
        if size is None:  # y cannot be read, which is said elsewhere
            return array
        if array.ndim != 2 + table.per_sample or array.shape[table.per_sample :] != (size, size):
            lead = "one per sample, each of" if table.per_sample else "the"
            raise ProblemError([f"expected {lead} shape {(size, size)}, got {array.shape}"])
    if given == ["covariance"]:
        with located("covariance"):
            noise = _from_covariance(array, observed, table.per_sample)
        return noise
    whitener = np.linalg.inv(array) if table.whitener is None else as_floats(arrays.read(table.whitener))
    noise = DenseNoise(array, whitener)
    return PerSample(noise) if table.per_sample else noise


def _from_covariance(covariance: np.ndarray, observed: np.ndarray | None, per_sample: bool) -> Any:
    """Factorised; rows and columns that were never measured may hold anything, so they are replaced first."""
    if np.iscomplexobj(covariance):
        raise ProblemError(["expected real values, got complex ones"])
    if observed is not None:
        flat = observed.reshape(len(observed), -1)
        flat = flat if per_sample else np.asarray(flat.any(0))
        if len(flat) != len(covariance):
            raise ProblemError([f"covariances for {len(covariance)} samples, but y has {len(flat)}"])
        both = flat[..., :, None] & flat[..., None, :]
        covariance = np.where(both, covariance, np.eye(covariance.shape[-1], dtype=covariance.dtype))
    if not per_sample:
        return _factorise(covariance)
    parts = []
    for i, one in enumerate(covariance):
        with located(f"sample {i}"):
            parts.append(_factorise(one))
    factor, whitener = (np.stack([getattr(part, name) for part in parts]) for name in ("factor", "whitener"))
    return PerSample(DenseNoise(factor, whitener))


def _factorise(covariance: np.ndarray) -> DenseNoise:
    if not np.isfinite(covariance).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(covariance))[0])
        raise ProblemError([f"has values that are not finite, the first at {place}"])
    try:
        return DenseNoise.from_covariance(covariance)
    except ValueError as error:
        reason = str(error).removeprefix("DenseNoise: the covariance is ")
        values = np.linalg.eigvalsh(covariance)
        more = (
            ""
            if "symmetric" in reason and "definite" not in reason
            else f": its smallest eigenvalue is {values[0]:.3g}"
        )
        raise ProblemError([f"is {reason}{more}"]) from None


def describe_noise(noise: Any, store: Callable[[Any], Any]) -> Any:
    """The value of `noise` from which :func:`read_noise` makes the noise of a bound view again.

    **Raises:** `ProblemError` for a class of noise that a file cannot name.
    """
    inner = noise.value if isinstance(noise, PerSample) else noise
    if isinstance(inner, DiagonalNoise):
        out: dict[str, Any] = {"std": store(inner.std)}
    elif isinstance(inner, DenseNoise):
        out = {"factor": store(inner.factor), "whitener": store(inner.whitener)}
    else:
        raise ProblemError([f"noise of the class {type(inner).__name__} cannot be written to a file"])
    if isinstance(noise, PerSample):
        return {**out, "per_sample": True}
    return out.get("std", out)
