r"""Backgrounds for observations that no observed background fits.

Where a view `w` shows what is beside the source through other operators than view `v`, or with other noise, or with
gaps, an observation of `w` cannot be added to one of `v`. What is *behind* it can: with sources drawn given the
observations of `w`,

.. math:: b'_i = \sum_s A_{is} x_s + n_i , \qquad x \sim p(x \mid y'_j) ,

goes through the operators of observation `i` of `v`, with noise and gaps as that one has. Were the draws of the true
posterior, :math:`b'_i` would have the law of :math:`b_i`; they are of the Gaussian stage's, so that this is as good as
it is where `w` says little, and does not depend on it where `w` says all. Here noise models and priors take part.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.operators import take

__all__ = ["Redrawn"]


class Redrawn(eqx.Module):
    """Makes backgrounds in the units of the data.

    **Fields:** `draws`, `{source: (m, ...)}`, joint draws; `operators`, of view `v`, and its `noise`; `moves`, for some
    sources what takes a sample to another that is as likely.
    """

    draws: dict[str, Float[Array, "m ..."]]
    operators: dict[str, Any]
    noise: Any
    moves: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())

    def __len__(self) -> int:
        return len(next(iter(self.draws.values())))

    def __call__(self, i: Any, key: PRNGKeyArray) -> Float[Array, "..."]:
        """A background for observation `i` of view `v`."""
        pick, move, draw = jax.random.split(key, 3)
        j = jax.random.randint(pick, (), 0, len(self))
        x = {s: draws[j] for s, draws in self.draws.items()}
        for number, (s, moved) in enumerate(self.moves):
            x[s] = moved(x[s], jax.random.fold_in(move, number))
        mixed = sum((take(self.operators[s], i)(x[s]) for s in x), jnp.zeros(()))
        return take(self.noise, i).sample(draw, mixed)
