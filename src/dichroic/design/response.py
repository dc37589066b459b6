r"""How far a response is from a straight line, over the range of the data.

A posterior is drawn with the tangent at the mean, found anew at every noise level. That is right where the slope hardly
changes over what the noise leaves open: over one standard deviation, :math:`\sigma / |f'|`, it changes by the share

.. math:: b = |f''|\, \sigma / f'^2 .
"""

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.design.finding import Finding
from dichroic.operators import Response
from dichroic.problem import View
from dichroic.problem.noise import inner_noise

__all__ = ["check_response"]

_BENT = 0.5  # change of the slope over the noise from which on tangents are not to be trusted
_FLAT = 0.05  # least slope, of the largest
_POINTS = 256


def check_response(name: str, view: View) -> Finding | None:
    """Whether tangents will do for the response of a view; None where it has none."""
    response = inner_noise(view.noise)
    if not isinstance(response, Response):
        return None
    y = view.y if view.observed is None else view.y[view.observed]
    ends = np.quantile(np.asarray(y, float).ravel(), [0.005, 0.995])
    low, high = np.asarray(response.inverse(jnp.asarray(ends, jnp.float32)))
    grid = jnp.linspace(low, high, _POINTS)
    slope = np.asarray(response.at(grid)[1], float)
    bend = np.asarray(jax.vmap(jax.grad(lambda m: response.at(m)[1]))(grid), float)
    noise = float(np.sqrt(np.mean(np.asarray(response.std, float) ** 2)))
    steepest = float(np.abs(slope).max()) or 1.0
    share = float(np.quantile(np.abs(bend) * noise / np.maximum(np.abs(slope), 1e-15 * steepest) ** 2, 0.95))
    least = float(np.abs(slope).min() / steepest)
    turns = bool((slope > 0).any() and (slope < 0).any())
    said = f"between {low:.3g} and {high:.3g}, where the data are, its least slope is {least:.2g} of the largest"
    if turns or least < _FLAT or share > _BENT:
        why = "and it turns back" if turns else f"and over the noise the slope changes by {share:.0%}"
        text = f"the response is far from a straight line: {said} {why}: draws by tangents may be off there, unless "
        text += "a chain follows (sampling.mcmc = 4)"
        return Finding("amber", f"view '{name}'", text, "DC123")
    text = f"the response is mild: {said}, and over the noise it changes by {share:.0%}: tangents will do"
    return Finding("green", f"view '{name}'", text, "DC123")
