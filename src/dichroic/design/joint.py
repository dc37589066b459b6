r"""How far a function of several sources is from linear, over what the data leave open.

A tangent :math:`T` at a point leaves directions open along which it does not move. Moved along one of them by the
spread of the data, the mixture changes all the same, by

.. math:: c = \big|f(x + \delta) - f(x)\big| / \sigma , \qquad T \delta = 0 ,

in units of the noise: what a draw by tangents would be off by.
"""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.design.finding import Finding
from dichroic.faults import names
from dichroic.operators import joints, take
from dichroic.problem import View

__all__ = ["check_bending"]

_MILD = 0.5  # noise units up to which tangents will do
_POINTS = 16  # observations
_ITERATIONS = 32  # of the solver that keeps a move out of the tangent's sight


def check_bending(name: str, view: View) -> Iterator[Finding]:
    """Whether tangents will do for the functions of several sources of a view, or draws need a chain."""
    if not (found := joints(view.mixing)):
        return
    rows = np.sort(np.random.default_rng(0).permutation(len(view))[:_POINTS])
    for part in found:
        off = float(np.median(np.asarray(_off(view.select(rows).observations, part.sources, len(rows)))))
        said = (
            f"{names(part.sources)}: along what the data leave open, over their spread, the function of them bends by "
            f"{off:.2g} of the noise"
        )
        if off <= _MILD:
            text = f"{said}: it is mild, tangents alone will do (sampling.mcmc = 0)"
            yield Finding("green", f"view '{name}'", text, "DC124")
        else:
            text = f"{said}: it is strong, and draws take a chain of their own at every noise level (sampling.mcmc)"
            yield Finding("amber", f"view '{name}'", text, "DC124")


@eqx.filter_jit
def _off(observations, sources, n):
    """At points that are what two observations show, root mean square over entries."""

    def one(i):
        observation, other = take(observations, i), take(observations, (i + 1) % n)
        (part,) = [joint for joint in joints(observation.mixing) if joint.sources == sources]
        (there,) = [joint for joint in joints(other.mixing) if joint.sources == sources]
        spread = jnp.std(jnp.asarray(observations.y.value))
        x = {s: jnp.asarray((there if number % 2 else part).at[s]) for number, s in enumerate(sources)}
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), i), len(sources))
        z = {s: jax.random.normal(k, x[s].shape, x[s].dtype) for s, k in zip(sources, keys, strict=True)}

        def along(u):
            return jax.jvp(part.value, (x,), (u,))[1]

        back = jax.linear_transpose(along, x)
        seen = along(z)
        ridge = 1e-6 * jnp.vdot(seen, seen).real / seen.size
        solved, _ = jax.scipy.sparse.linalg.cg(lambda v: along(back(v)[0]) + ridge * v, seen, maxiter=_ITERATIONS)
        moved = jax.tree.map(lambda a, d, m: a + spread * (d - m), x, z, back(solved)[0])
        r = observation.noise.whiten(part.value(moved) - part.value(x))
        return jnp.sqrt(jnp.sum(jnp.where(observation.observed, jnp.abs(r) ** 2, 0)) / jnp.sum(observation.observed))

    return jax.vmap(one)(jnp.arange(n))
