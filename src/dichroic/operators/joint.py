r"""Mixtures that are no sum of their sources: occlusion, products, any function of several of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from dichroic.operators.base import Operator

__all__ = ["Joint", "Tangent", "joints", "mixture", "tangents"]


class Tangent(Operator):
    r"""How one source moves a function of several near a point: :math:`v \mapsto \partial f / \partial x_s (x)\, v`.

    **Arguments:** `function(x_1, x_2, ...)`, differentiable by JAX, of samples in the order of `sources`, with
    `parameters` after them where there are any; `source`, the one that moves; `at`, the point, `{source: (...)}` (may
    be wrapped in `PerSample`, as parameters).
    """

    function: Callable[..., Array] = eqx.field(static=True)
    sources: tuple[str, ...] = eqx.field(static=True)
    source: str = eqx.field(static=True)
    at: Any
    parameters: Any = None

    @property
    def in_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.at[self.source])

    def value(self, x: Mapping[str, Any]) -> Any:
        """The function at other samples."""
        given = [x[s] for s in self.sources]
        return self.function(*given) if self.parameters is None else self.function(*given, self.parameters)

    def __call__(self, v: Array) -> Array:
        at = {s: jnp.asarray(x).astype(v.dtype) for s, x in self.at.items()}
        return jax.jvp(lambda x: self.value({**at, self.source: x}), (at[self.source],), (v,))[1]


class Joint(Operator):
    """The part of one source in a function of several. As a linear map it is the tangent at a point near the data, for
    all that is linear; `mixture` and `tangents` know the function.

    **Arguments:** `tangent`, with that point.
    """

    tangent: Tangent

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.tangent.in_shape

    def __call__(self, x: Array) -> Array:
        return self.tangent(x)


def joints(mixing: Mapping[str, Any]) -> list[Tangent]:
    """Every function of several sources, once."""
    found = [op.tangent for op in mixing.values() if isinstance(op, Joint)]
    return [tangent for tangent in found if tangent.source == tangent.sources[0]]


def mixture(mixing: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    r"""What one observation shows of its sources: :math:`\sum_s A_s x_s`, and the functions of several."""
    terms = [op(x[s]) for s, op in mixing.items() if not isinstance(op, Joint)]
    terms += [tangent.value(x) for tangent in joints(mixing)]
    return sum(terms[1:], terms[0])  # pyright: ignore


def tangents(mixing: Mapping[str, Any], x: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
    r"""The linear map that stands for a mixture near sources `x` (None: near the data), and what is to be added to the
    data: :math:`f(x') \approx f(x) + \sum_s T_s (x'_s - x_s)` moves :math:`\sum_s T_s x_s - f(x)` there.
    """
    linear, moved = dict(mixing), 0.0
    for joint in joints(mixing):
        at = {s: jnp.asarray((joint.at if x is None else x)[s]) for s in joint.sources}
        moved = moved - joint.value(at)
        for s in joint.sources:
            linear[s] = replace(joint, source=s, at=at)
            moved = moved + linear[s](at[s])
    return linear, moved
