r"""What an objective of score estimation knows of each sample.

For a target field :math:`r` (the score, or what is left of it) and a model `f`, every objective is a reduction of
estimates of the alignment :math:`A = \mathrm E[r \cdot f]` and the energy :math:`Q = \mathrm E\|f\|^2`, one of each per
sample; at the optimum `f = r` both are the energy of the target. How the alignment is estimated is what tells exact,
sliced and denoising score matching apart: by parts, :math:`\mathrm E[s \cdot f] = -\mathrm E[\mathrm{tr}\, J_f]`, and
given noise :math:`\mathrm E[s_\sigma \cdot f] = -\mathrm E[\epsilon \cdot f] / \sigma`.

A model acts on one sample. Products are means over its entries, so that losses are of the size 1.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Field", "ScoreTerms", "denoising_terms", "exact_terms", "sliced_terms"]

Field = Callable[[Float[Array, "..."]], Float[Array, "..."]]
"""A function of one sample that gives an array of its shape: a score, or a network that is to become one."""


class ScoreTerms(NamedTuple):
    """Of every sample: `alignment`, an unbiased estimate of the model's product with the target; `energy`, its square
    norm; both per entry. `prediction` is the model there.
    """

    alignment: Float[Array, " n"]
    energy: Float[Array, " n"]
    prediction: Float[Array, "n ..."]

    def less(self, base: ArrayLike) -> "ScoreTerms":
        r"""With :math:`r - b` as the target: what earlier levels have left. No gradient goes to `base`."""
        known = _product(jax.lax.stop_gradient(jnp.asarray(base)), self.prediction)
        return self._replace(alignment=self.alignment - known)


def exact_terms(f: Field, x: Float[Array, "n ..."]) -> ScoreTerms:
    r"""Hyvärinen's :math:`a = -\mathrm{tr}\, J_f(x)`, by as many products as a sample has entries.

    Source: Hyvärinen (2005), J. Mach. Learn. Res. 6, 695, theorem 1.
    """

    def one(x: Array) -> Any:
        J = jax.jacfwd(f)(x).reshape(x.size, x.size)
        return -jnp.trace(J) / x.size, f(x)

    return _terms(*jax.vmap(one)(x))


def sliced_terms(
    f: Field,
    x: Float[Array, "n ..."],
    *,
    key: PRNGKeyArray,
    probes: int = 1,
    law: Literal["rademacher", "gaussian"] = "rademacher",
) -> ScoreTerms:
    r""":math:`a = -\tfrac1M \sum_m v_m^\top J_f(x) v_m` with random directions, :math:`\mathrm E[v v^\top] = I`.

    Unbiased for any number of `probes`; those of signs have never more variance than Gaussian ones, and none where the
    Jacobian is diagonal. Source: Song et al. (arXiv 1905.07088), the variance-reduced form.
    """
    draw = jax.random.rademacher if law == "rademacher" else jax.random.normal

    def one(x: Array, key: PRNGKeyArray) -> Any:
        def along(v: Array) -> Any:
            value, slope = jax.jvp(f, (x,), (v,))
            return jnp.vdot(v, slope) / x.size, value

        slopes, values = jax.vmap(along)(draw(key, (probes, *x.shape), dtype=x.dtype))
        return -jnp.mean(slopes), values[0]

    return _terms(*jax.vmap(one)(x, jax.random.split(key, len(x))))


def denoising_terms(prediction: ArrayLike, target: ArrayLike) -> ScoreTerms:
    r""":math:`a = y \cdot f` for any regression target `y`: the field that is learned is its mean given the input.

    Both have the shape `(n, ...)`. With :math:`y = -\epsilon / \sigma` that is the score of the noisy law; with the
    target of a preconditioned network, what that network is to be. Source: Vincent (2011), Neural Comput. 23, 1661.
    """
    f = jnp.asarray(prediction)
    return _terms(_product(jnp.asarray(target), f), f)


def _terms(alignment: Array, prediction: Array) -> ScoreTerms:
    return ScoreTerms(alignment, _product(prediction, prediction), prediction)


def _product(a: Array, b: Array) -> Float[Array, " n"]:
    return jnp.mean((a * b).reshape(len(b), -1), axis=1)
