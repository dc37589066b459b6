r"""Sources drawn one after the other, each given all others (DDPRISM, arXiv 2510.05205, eqs. 18 and 19).

.. math:: r_s = y - \sum_{c \ne s} A_c x_c , \qquad x_s \sim p(x_s \mid r_s, A_s) ,

where the other sources stand at their newest values, in the order in which they enter, round after round. The draw of a
source is one of a problem with a single source, by any posterior method and from pure noise. If it is exact, the joint
posterior is what the rounds converge to. They do so slowly where sources trade off: for two scalars, a round leaves the
squared correlation of their posterior of what was wrong before, and the smaller the noise, the closer that is to one.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.white.observation import WhitenedObservation

__all__ = ["gibbs_rounds"]

_FAR = 10.0  # standard deviations of a source from its mean beyond which a draw is none


def gibbs_rounds(
    observation: WhitenedObservation,
    draw: Callable[[WhitenedObservation, PRNGKeyArray], tuple[dict[str, Array], Info]],
    start: dict[str, Array],
    rounds: Int[Array, ""] | int,
    *,
    key: PRNGKeyArray,
) -> tuple[dict[str, Array], Info]:
    """One state of the chain after some rounds.

    A draw that is not finite, or far outside its population, is replaced by the one before.

    **Arguments:** `draw(residual, key)`, a posterior draw of the one source that the residual observation shows, in
    scaled units; `start`, of all sources, though that of the first one counts only where its draw fails.

    **Returns:** the sources in scaled units, and what happened on the way.
    """

    def one_round(k, state):
        z, info = state
        round_key = jax.random.fold_in(key, k)
        for number, s in enumerate(observation.shapes):
            others = {c: x for c, x in z.items() if c != s}
            drawn, new = draw(observation.given(others), jax.random.fold_in(round_key, number))
            x = drawn[s].astype(z[s].dtype)
            sound = jnp.all(jnp.isfinite(x) & (jnp.abs(x) <= _FAR))
            z, info = {**z, s: jnp.where(sound, x, z[s])}, info.merge(new)
        return z, info

    return jax.lax.fori_loop(0, rounds, one_round, ({s: start[s] for s in observation.shapes}, Info.none()))
