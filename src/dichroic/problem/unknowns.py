"""The unknown parameters of a view: where they stand in its mixing, and what is stated of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.operators import LEARN, GaussianNoise, Likelihood, PerSample, Unknown
from dichroic.problem.values import as_numbers

__all__ = [
    "NOISE",
    "Parameter",
    "describe_unknown",
    "find_noise",
    "find_unknowns",
    "is_unknown",
    "put",
    "read_unknown",
    "settled",
]

NOISE = "noise"  # the name of a factor on the noise of a view


@dataclass(frozen=True)
class Parameter:
    r"""An unknown of a view.

    **Fields:** `source`, whose operator has it, None for the factor on the stated noise; `leaf`, its number among the
    arrays of that operator; `value` and `std`, of :math:`\theta \sim \mathcal N(\mathtt{value}, \mathtt{std}^2)`, of
    the shape of the parameter, with the observations as leading axis where it is `per_sample`.
    """

    source: str | None
    leaf: int
    value: np.ndarray
    std: np.ndarray
    per_sample: bool = False

    @property
    def learned(self) -> bool:
        """Whether nothing but the data say what it is."""
        return not np.isfinite(self.std).all()

    @property
    def size(self) -> int:
        """Numbers that it is, of one observation."""
        return self.value[0].size if self.per_sample else self.value.size

    @property
    def unit(self) -> np.ndarray:
        """What changes of it are measured in: its own size, and where it is next to nothing beside its other numbers a
        tenth of theirs; of nothing but zeros their std, or 1.
        """
        size = np.abs(self.value)
        if size.any():
            return np.asarray(np.maximum(size, 0.1 * np.sqrt(np.mean(size**2))))
        return np.asarray(np.where(np.isfinite(self.std), self.std, 1.0))

    def select(self, indices: np.ndarray) -> "Parameter":
        """That of some observations."""
        return replace(self, value=self.value[indices], std=self.std[indices]) if self.per_sample else self


def is_unknown(spec: Any) -> bool:
    """Whether a value of a problem file stands for an unknown: `"learn"`, or a table with a `value` and a `std`."""
    return spec == LEARN or (isinstance(spec, dict) and {*spec} == {"value", "std"})


def read_unknown(spec: Any, read: Any) -> Unknown:
    """The unknown that such a value stands for; `read` reads numbers and arrays."""
    if spec == LEARN:
        return Unknown()
    std = spec["std"]
    return Unknown(read(spec["value"]), np.inf if std == LEARN else read(std))


def describe_unknown(unknown: Unknown, store: Any) -> Any:
    """The value from which `read_unknown` makes it again."""
    value, std = np.asarray(unknown.value), np.asarray(unknown.std)
    said = float(std.flat[0]) if std.size and (std == std.flat[0]).all() else std
    return {
        "value": store(value if value.ndim else float(value)),
        "std": LEARN if np.isscalar(said) and np.isinf(said) else store(said),
    }


def find_unknowns(mixing: Mapping[str, Any], n: int) -> tuple[dict[str, Any], dict[str, Parameter]]:
    """The mixing with every unknown at its value, and the unknowns by name, `mixing.SOURCE` where it is the only one.

    **Raises:** `ProblemError` for numbers that are none, and for a parameter of every sample that nothing is stated of.
    """
    filled, found = {}, {}
    for source, operator in mixing.items():
        operator = Unknown() if isinstance(operator, str) and operator == LEARN else operator
        nodes, tree = jax.tree.flatten(operator, is_leaf=_is_unknown)
        if not any(map(_is_unknown, nodes)):
            filled[source] = operator
            continue
        each = jax.tree.leaves(_marked(operator))
        several = sum(map(_is_unknown, nodes)) > 1
        for leaf, node in enumerate(nodes):
            if _is_unknown(node):
                name = f"mixing.{source}" + (f".{leaf + 1}" if several else "")
                with located(f"source '{source}'"):
                    found[name] = _parameter(source, leaf, node, n if each[leaf] else None)
                value = found[name].value
                nodes[leaf] = value if value.ndim else float(value)
        filled[source] = jax.tree.unflatten(tree, nodes)
    return filled, found


def settled(operator: Any) -> Any:
    """An operator with its unknowns at their values, one observation of them."""
    return find_unknowns({"": operator}, 1)[0][""]


def put(mixing: Mapping[str, Any], unknowns: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The mixing with parameters of these values, whole or of one observation."""
    changed = dict(mixing)
    for name, value in values.items():
        if (source := unknowns[name].source) is not None:
            nodes, tree = jax.tree.flatten(changed[source])
            nodes[unknowns[name].leaf] = value
            changed[source] = jax.tree.unflatten(tree, nodes)
    return changed


def _is_unknown(node: Any) -> bool:
    return isinstance(node, Unknown)


def _marked(operator: Any) -> Any:
    """In place of every array whether it has a sample axis."""

    def mark(node: Any) -> Any:
        each = isinstance(node, PerSample)
        return jax.tree.map(lambda _: each, node, is_leaf=_is_unknown)

    return jax.tree.map(mark, operator, is_leaf=lambda node: isinstance(node, PerSample | Unknown))


def _parameter(source: str, leaf: int, unknown: Unknown, n: int | None) -> Parameter:
    value = np.asarray(as_numbers(1.0 if unknown.value is None else unknown.value), float)
    std = np.asarray(as_numbers(unknown.std), float)
    if not np.isfinite(value).all():
        raise ProblemError(["an unknown parameter needs a finite value to begin with"])
    if np.isnan(std).any() or not (std > 0).all():
        raise ProblemError(["the std of an unknown parameter must be positive; what is known exactly is a number"])
    if std.ndim and std.shape != value.shape:
        raise ProblemError([f"std: expected one number or the shape of the value, {value.shape}, got {std.shape}"])
    if n is not None and not np.isfinite(std).all():
        raise ProblemError(
            [
                "every sample has a parameter of its own, which no other sample tells of: say how far it may be off, "
                "{ value = 1.0, std = 0.1 }"
            ]
        )
    value = np.full(n, value) if n is not None and value.ndim == 0 else value
    return Parameter(source, leaf, value, np.broadcast_to(std, value.shape), n is not None)


def find_noise(noise: Any, y: np.ndarray) -> tuple[Any, dict[str, Parameter]]:
    """The noise where it is known, or its value where it is not, and the factor on it that is then unknown.

    **Raises:** `ProblemError` where its uncertainty is stated, or it is to be learned of every sample by itself.
    """
    noise = Unknown() if isinstance(noise, str) and noise == LEARN else noise
    if not isinstance(noise, Unknown):
        return noise, {}
    if isinstance(noise.value, Likelihood) and not isinstance(noise.value, GaussianNoise):
        raise ProblemError([f"Gaussian noise can be learned, not {type(noise.value).__name__}"])
    if np.ndim(noise.std) or np.isfinite(noise.std):
        raise ProblemError(["noise is known or learned; a stated uncertainty of it is not taken"])
    if noise.value is None:
        seen = y[np.isfinite(y)]
        spread = float(np.std(seen)) if seen.size else 0.0
        start: Any = spread / (2 if np.isrealobj(y) else np.sqrt(8)) or 1.0
    else:
        start = noise.value if isinstance(noise.value, Likelihood | PerSample) else as_numbers(noise.value)
    return start, {NOISE: Parameter(None, 0, np.ones(()), np.full((), np.inf))}
