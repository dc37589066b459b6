r"""Sources drawn one after the other, each given all others (DDPRISM, arXiv 2510.05205, eqs. 18 and 19).

.. math:: r_s = y - \sum_{c \ne s} A_c x_c , \qquad x_s \sim p(x_s \mid r_s, A_s) ,

where the other sources stand at their newest values, in the order in which they enter, round after round. The draw of a
source is one of a problem with a single source, by any posterior method and from pure noise. If it is exact, the joint
posterior is what the rounds converge to. They do so slowly where sources trade off: for two scalars, a round leaves the
squared correlation of their posterior of what was wrong before, and the smaller the noise, the closer that is to one.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray
from pydantic import PositiveInt, model_validator

from dichroic.algebra import Info
from dichroic.diffusion import Cost
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.method import AnyMethod, Method, Task
from dichroic.posterior.moments import MomentMatching
from dichroic.posterior.sampler import Sampler
from dichroic.white import WhitenedObservation

__all__ = ["Gibbs", "gibbs_rounds"]

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


class Gibbs(Sampled):
    """Sources drawn one after the other, each given the others, so many `rounds`, every time from pure noise, by the
    method `inner`. Draws of the lap before are what the others start at.

    A source by itself has nothing to be given, and is drawn once.
    """

    kind: Literal["gibbs"] = "gibbs"
    rounds: PositiveInt = 8
    """Rounds in which sources are drawn one after the other."""
    inner: AnyMethod = MomentMatching()
    """The method that draws one source."""

    def sampler(self, task: Task, *, afresh: bool = False) -> tuple[Sampler, Cost]:
        if len(task.priors) == 1:
            return self._inner.sampler(task, afresh=afresh)
        inner, shared = self._inner.sampler(task, afresh=True)
        return Turns(inner, self.rounds), shared

    @model_validator(mode="after")
    def _check(self) -> "Gibbs":
        if not isinstance(self.inner, Sampled) or isinstance(self.inner, Gibbs) or self.inner.training[0]:
            raise ValueError(
                f"method {self.inner.kind!r} draws all sources together; rounds, one after the other: use one"
            )
        return self

    @property
    def _inner(self) -> Sampled:
        assert isinstance(self.inner, Sampled)
        return self.inner

    @property
    def runs(self) -> tuple[int, int]:
        return self.inner.runs

    def counting(self, cold: int, warm: int, training: int = 1) -> Method:
        return self.model_copy(update={"inner": self.inner.counting(cold, warm, training)})

    @property
    def title(self) -> str:
        return f"{self.inner.title}, each source given the others, {self.rounds} rounds"


class Turns(Sampler):
    """Gibbs sampling of one observation."""

    inner: Sampler
    rounds: int = eqx.field(static=True)

    def draw(self, observation, last, warm, alike, *, key):
        _, run_key = jax.random.split(key)

        def one(residual: WhitenedObservation, key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
            zeros = {s: jnp.zeros(shape, residual.dtype) for s, shape in residual.shapes.items()}
            return self.inner.draw(residual, zeros, warm, alike, key=key)

        start = jax.tree.map(lambda x: jnp.where(warm, x, 0), last)
        return gibbs_rounds(observation, one, start, self.rounds, key=run_key)

    def cost(self, observation, warm, alike):
        """Of the dearest source."""
        known = {s: jnp.zeros(shape) for s, shape in observation.shapes.items()}
        residuals = [observation.given({c: x for c, x in known.items() if c != s}) for s in known]
        return max((self.inner.cost(r, warm, alike) for r in residuals), key=lambda cost: cost.total) * self.rounds

    @property
    def gains(self):
        return self.inner.gains
