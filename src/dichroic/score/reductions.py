r"""From the terms of the samples to a loss.

.. math:: L_1 = -A + \tfrac12 Q, \qquad L_m = -A^m + \tfrac12 Q^m .

The first is score matching. The others are lifted (Jayashankar 2025, sections 4.1 and 4.1.4; for `m = 2` it compares
outer products of the score at two points): over any class of models that may be multiplied by numbers they have the
minima of score matching, for even `m` up to one sign. They differ in the way there, :math:`\nabla L_2 = 2A (-\nabla A +
(Q / A) \nabla \tfrac12 Q)`, and a model that is zero has no gradient at all.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.score.terms import ScoreTerms

__all__ = ["Power", "lifted_loss", "score_matching_loss"]

Power = Literal["u_statistic", "split", "plug_in"]


def score_matching_loss(terms: ScoreTerms) -> Float[Array, ""]:
    r""":math:`-\bar a + \tfrac12 \bar q`: half of the error's energy, less half of the target's."""
    return -jnp.mean(terms.alignment) + jnp.mean(terms.energy) / 2


def lifted_loss(
    terms: ScoreTerms, *, order: int = 2, power: Power = "u_statistic", groups: int = 1
) -> Float[Array, ""]:
    r""":math:`-A^m + \tfrac12 Q^m` with estimates of the powers from independent samples.

    The mean of a batch to the power of `m` is biased: for noisy alignments it makes models too large, by 1.6 for eight
    samples of eight numbers at a noise of a tenth. The square of one sample's alignment ("tied") is not an option: its
    optimum is another field.

    **Arguments:** `order`, `m`; `power`, how: `"u_statistic"`, the mean of products of `m` different samples, or
    `"split"`, the product of the means of `m` parts, both unbiased, or `"plug_in"`, the power of the mean; `groups`,
    equal parts of the batch whose losses are averaged: where each part has a noise level of its own, the signs of the
    levels are independent.
    """
    estimate = {"u_statistic": _u_statistic, "split": _split, "plug_in": _plug_in}[power]
    a, q = (estimate(jnp.asarray(u).reshape(groups, -1), order) for u in (terms.alignment, terms.energy))
    return jnp.mean(-a + q / 2)


def _u_statistic(u: Float[Array, "g n"], m: int) -> Float[Array, " g"]:
    """The elementary symmetric polynomial over its number of products, by Newton's identities."""
    n = u.shape[1]
    if n < m:
        raise ValueError(f"lifted_loss: products of {m} different samples need as many, got {n}")
    unit = u / n  # keeps the sums small
    sums = [jnp.sum(unit**i, axis=1) for i in range(1, m + 1)]
    e: list[Array] = [jnp.ones(len(u), u.dtype)]
    for k in range(1, m + 1):
        terms = [(-1) ** (i - 1) * e[k - i] * sums[i - 1] for i in range(1, k + 1)]
        e.append(jnp.stack(terms).sum(0) / k)
    products = 1.0
    for k in range(m):
        products *= (n - k) / n / (k + 1)
    return e[m] / products


def _split(u: Float[Array, "g n"], m: int) -> Float[Array, " g"]:
    parts = [part.mean(1) for part in jnp.array_split(u, m, axis=1)]
    return jnp.prod(jnp.stack(parts), axis=0)


def _plug_in(u: Float[Array, "g n"], m: int) -> Float[Array, " g"]:
    return jnp.mean(u, axis=1) ** m
