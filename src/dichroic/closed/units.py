r"""Problems in units of their own: what closed forms find must not depend on the user's.

A source is measured in units in which a variance of one explains the data: with :math:`x_s = u_s z_s` and
:math:`A_s u_s` in place of :math:`A_s`, all that follows is of order one, in single precision too. Views need no units
but those of their noise, in which they are anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.operators import Scale, take
from dichroic.operators.base import Composition
from dichroic.problem import View

__all__ = ["in_units", "units_of"]

_SOME = 8  # observations whose operators tell the size of a source


def units_of(views: Sequence[View], sources: Sequence[str]) -> dict[str, float]:
    """The root mean square that each source would have if the data were all its own."""
    return {s: _unit(s, [view for view in views if s in view.mixing]) for s in sources}


def in_units(view: View, units: Mapping[str, float]) -> View:
    """A view of sources in such units; the Gaussian one that stands for others."""
    view = view.gaussian
    mixing = {
        s: Composition(Scale(np.asarray(units[s]), view.event_shape), operator)  # pyright: ignore
        for s, operator in view.mixing.items()
    }
    return replace(view, mixing=mixing, truth={})


def _unit(source: str, views: Sequence[View]) -> float:
    found = []
    for view in views:
        probe = np.random.default_rng(0).normal(size=take(view.mixing[source], 0).in_shape)
        gain = _root_mean_square(np.asarray(_images(view.mixing[source], probe, min(_SOME, len(view)))))
        data = _root_mean_square(view.y if view.observed is None else view.y[view.observed])
        if data > 0 and gain > 0:
            found.append(np.log2(data) - np.log2(gain))
    return float(2.0 ** np.mean(found)) if found else 1.0


def _root_mean_square(x: np.ndarray) -> float:
    largest = float(np.abs(x).max(initial=0))
    return largest * float(np.sqrt(np.mean(np.abs(x / largest) ** 2))) if largest > 0 else 0.0


@eqx.filter_jit
def _images(operators, probe, n):
    def one(i):
        operator = take(operators, i)
        return operator(jnp.asarray(probe, operator.in_dtype))

    return jax.vmap(one)(jnp.arange(n))
