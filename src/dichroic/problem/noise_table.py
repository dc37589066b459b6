"""Noise in a problem file, read and written: `LIKELIHOODS` says what it can be."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, among, located, names, require_known
from dichroic.formats import Opened
from dichroic.operators import LEARN, LIKELIHOODS, PerSample, Unknown
from dichroic.problem.arrays import ArrayReader, is_array_table
from dichroic.problem.unknowns import is_unknown
from dichroic.problem.values import as_floats
from dichroic.problem.windowed import Cutter

__all__ = ["describe_noise", "read_noise"]

# what others call it
_MEANT = {
    "std": ("sigma", "rms", "stddev", "sd", "error", "errors", "err", "uncertainty", "stdev", "noise"),
    "variance": ("var", "variances", "sigma2"),
    "ivar": ("inverse_variance", "invvar", "precision", "inv_var"),
    "weight": ("weights", "wht", "weight_map"),
    "covariance": ("cov", "covar", "covariances"),
}
# the power of the unit of the data that they have
_POWERS = {"std": 1, "factor": 1, "variance": 2, "covariance": 2, "ivar": -2, "weight": -2, "whitener": -1}
_ELSEWHERE = {
    **dict.fromkeys(
        ("mask", "flag", "flags", "observed"), "what was measured is said by the view: observed = 'FILE:KEY'"
    ),
    **dict.fromkeys(
        ("psf", "kernel", "blur"), "a blur belongs to the mixing: mixing.SOURCE = { convolve = 'FILE:KEY' }"
    ),
    "gain": "a gain belongs to the mixing: mixing.SOURCE = { scale = 'FILE:KEY' }",
}


def read_noise(
    spec: Any,
    arrays: ArrayReader | Cutter,
    observed: np.ndarray | None,
    size: int | None,
    said: Any = None,
    y: Opened | None = None,
) -> Any:
    """The noise that a value stands for.

    **Arguments:** `spec`, a standard deviation (number, list, `FILE:KEY`) or a table with one key of `LIKELIHOODS`,
    beside which `scale = "learn"` says that it is known up to a factor; or `"learn"`;
    `observed`, shape `(n, ...)`, None for everything; `size`, number of entries of one observation, None when it is not
    known; `said`, the value for the data, and `y`, what it stands for: the noise is converted to its unit.

    **Raises:** `ProblemError`; whether numbers per entry fit the view is checked with the view.
    """
    if spec == LEARN:
        return Unknown()
    if is_unknown(spec):
        raise ProblemError(["noise is known, or known up to a factor that is learned: { std = ..., scale = 'learn' }"])
    if isinstance(spec, dict) and spec.get("scale") == LEARN:
        stated = {key: value for key, value in spec.items() if key != "scale"}
        return Unknown(read_noise(stated, arrays, observed, size, said, y))
    if not isinstance(spec, dict) or is_array_table(spec):
        found = arrays.open(spec, said)
        return PerSample(found) if isinstance(found, Opened) and found.separate else found
    key, given, per_sample = _choose(spec, isinstance(said, dict))
    make = LIKELIHOODS[key]
    found: dict[str, Any] = {}
    for name, value in given.items():
        with located(name if name == key or len(given) > 1 else key):
            opened = arrays.open(value, said)
            per_sample |= isinstance(opened, Opened) and opened.separate
            found[name] = _in_unit(opened, name if name in _POWERS else key, y, per_sample)
    if key not in ("covariance", "factor"):
        with located(key):
            noise = _made(make, {name: as_floats(value) for name, value in found.items()})
        return PerSample(noise) if per_sample else noise
    if size is None:  # y cannot be read, which is said elsewhere
        return 1.0
    for name, value in found.items():
        with located(name):
            found[name] = _square(as_floats(value), size, per_sample)
    if key == "covariance":
        with located(key):
            return _from_covariance(found[key], observed, per_sample)
    if "whitener" not in found:
        try:
            found["whitener"] = np.linalg.inv(found["factor"])
        except np.linalg.LinAlgError:
            raise ProblemError(["factor: the matrix is singular: there is no noise along some direction"]) from None
    noise = make(**found)
    return PerSample(noise) if per_sample else noise


def _in_unit(found: Any, name: str, y: Opened | None, per_sample: bool) -> Any:
    """Numbers in the unit that goes with that of the data."""
    if not isinstance(found, Opened):
        return found
    if name not in _POWERS:
        return found.plain()
    power = _POWERS[name]
    return found.beside(y or Opened(1.0), np.inf if power > 0 else 0.0, power, per_sample)


def _choose(table: dict[str, Any], files: bool = False) -> tuple[str, dict[str, Any], bool]:
    """The key of the likelihood, its arguments, and whether they have a sample axis."""
    rest = dict(table)
    per_sample = rest.pop("per_sample", False)
    if not isinstance(per_sample, bool):
        raise ProblemError([f"per_sample: expected a boolean, got {per_sample!r}"])
    named = [key for key in rest if key in LIKELIHOODS]
    known = [*LIKELIHOODS, "per_sample"]
    # `clipped` stands beside the `std` that it takes: the key that has the others for parameters is the one meant
    chosen = [key for key in named if {*named} - {key} <= {*_parameters(key)}]
    if not chosen:
        for key in rest:
            if key not in named and not any(key in _parameters(k) for k in LIKELIHOODS):
                raise ProblemError([_unknown(key, known)])
        keys = names(LIKELIHOODS)
        raise ProblemError([f"give one of {keys}, got {' and '.join(named) or 'neither'}"])
    key = chosen[0]
    parameters = _parameters(key)
    content = rest.pop(key)
    # beside data from files, a table of other keys says what is read of them
    named = isinstance(content, dict) and (not files or any(name in parameters for name in content))
    first = key if key in parameters else next(iter(parameters))
    given = dict(content) if named and not is_array_table(content) else {first: content}
    for name, value in rest.items():
        if name == "whitener" and key != "factor":
            raise ProblemError(["'whitener' belongs to 'factor', the form in which saved problems keep a covariance"])
        if name not in parameters:
            raise ProblemError([_unknown(name, [*parameters, *known])])
        given[name] = value
    with located(key):
        require_known(given, parameters, "parameter")
    if missing := [name for name, p in parameters.items() if p.default is p.empty and name not in (*given, "whitener")]:
        raise ProblemError([f"{key}: '{missing[0]}' is missing"])
    return key, given, per_sample


def _parameters(key: str) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(LIKELIHOODS[key]).parameters.items() if name != "observed"}


def _unknown(key: str, known: list[str]) -> str:
    if key in _ELSEWHERE:
        return f"unknown key '{key}': {_ELSEWHERE[key]}"
    return f"unknown key '{key}'; known: {among(key, dict.fromkeys(known), _MEANT)}"


def _made(make: Callable[..., Any], given: dict[str, Any]) -> Any:
    try:
        return make(**{name: value if np.ndim(value) else float(value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise ProblemError([str(error).split("\n")[0]]) from None


def _square(array: np.ndarray, size: int, per_sample: bool) -> np.ndarray:
    if array.ndim != 2 + per_sample or array.shape[per_sample:] != (size, size):
        lead = "one per sample, each of" if per_sample else "the"
        hint = "; one variance per entry is written { variance = ... }" if array.ndim < 2 + per_sample else ""
        raise ProblemError([f"expected {lead} shape {(size, size)}, got {array.shape}{hint}"])
    return array


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
    return PerSample(LIKELIHOODS["factor"](factor, whitener))


def _factorise(covariance: np.ndarray) -> Any:
    if not np.isfinite(covariance).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(covariance))[0])
        raise ProblemError([f"has values that are not finite, the first at {place}"])
    try:
        return LIKELIHOODS["covariance"](covariance)
    except ValueError as error:
        raise ProblemError([str(error).removeprefix("DenseNoise: the covariance ")]) from None


def describe_noise(noise: Any, store: Callable[[Any], Any], learned: bool = False) -> Any:
    """The value of `noise` from which :func:`read_noise` makes the noise of a bound view again.

    **Arguments:** `learned`, whether it is known up to a factor.

    **Raises:** `ProblemError` for a class of noise that a file cannot name.
    """
    inner = noise.value if isinstance(noise, PerSample) else noise
    key = next((key for key, make in LIKELIHOODS.items() if make is type(inner)), None)
    if key is None:
        raise ProblemError([f"noise of the class {type(inner).__name__} cannot be written to a file"])
    content = {f.name: _limits(v) or store(v) for f in fields(inner) for v in [getattr(inner, f.name)]}
    out = content if key in content else {key: content}
    out |= {"scale": LEARN} if learned else {}
    if isinstance(noise, PerSample):
        return {**out, "per_sample": True}
    return out["std"] if list(out) == ["std"] else out


def _limits(value: Any) -> list[float] | None:
    """What stands in the file itself: TOML has infinities, too."""
    return list(value) if isinstance(value, tuple) else None
