r"""Objectives of networks in levels, and lifted ones.

In the units of the preconditioning a denoiser is to be :math:`y = (x - x_t / (1 + \sigma^2)) / c_{out}`. With several
levels the first learns that, with the closed form that it corrects, and each other what those before it have left,

.. math:: f_1 = \frac{D_1 - x_t / (1 + \sigma^2)}{c_{out}}, \quad f_\ell = F_\ell, \qquad
    a_\ell = \Big(y - \sum_{i < \ell} f_i\Big) \cdot f_\ell, \quad q_\ell = \|f_\ell\|^2 .

All levels are trained at once; no gradient of one goes to another. Source: Jayashankar (2025), sections 4.1.3 and 4.2.
"""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import NonNegativeFloat, PositiveInt

from dichroic.diffusion.network import NetworkDenoiser
from dichroic.diffusion.objective import Batch
from dichroic.diffusion.schedule import Schedule
from dichroic.kinds import Settings
from dichroic.score import ScoreTerms, denoising_terms, require_aligned, signs_of, track_alignment

__all__ = ["LiftedDenoising", "ResidualDenoising"]


class ResidualDenoising(Settings):
    """Denoising score matching level by level: the loss of `denoising` of every sum of the first networks.

    It helps networks that are too small (`../docs/score.md`). An evaluation of the denoiser costs as many networks as
    there are levels.
    """

    head: ClassVar[float] = 0.0

    kind: Literal["residual_denoising"] = "residual_denoising"
    levels: PositiveInt = 2
    """Networks, each of which learns what those before it have left."""

    def init(self, denoiser: Any, key: PRNGKeyArray) -> None:
        return None

    def loss(self, denoiser: Any, state: None, batch: Batch, key: PRNGKeyArray) -> tuple[Float[Array, " n"], None]:
        levels, y = _levels(denoiser, batch.x, batch.schedule, batch.keys, jnp.ones(len(denoiser.levels)))
        left = jnp.mean(y.reshape(len(y), -1) ** 2, axis=1)
        losses = jnp.zeros_like(left)
        for terms in levels:
            left = jax.lax.stop_gradient(left) - 2 * terms.alignment + terms.energy
            losses += left
        return losses, state


class LiftedDenoising(Settings):
    r"""Lifted denoising score matching, :math:`\sum_\ell (-A_\ell^2 + \tfrac12 Q_\ell^2)`, with the expectations over
    noise levels too, and products of different samples for the squares.

    It has the minima of `denoising` up to the sign of each level. The signs are those of running means of the
    alignment, and are folded into the last layers when training ends; a denoiser whose alignment is not positive on
    held-out samples is refused. A batch whose gradients are taken in blocks needs two samples in each.
    """

    head: ClassVar[float] = 1e-2  # of later levels: from zero no level learns

    kind: Literal["lifted_denoising"] = "lifted_denoising"
    levels: PositiveInt = 1
    """Networks, each of which learns what those before it have left."""
    denoising: NonNegativeFloat = 0.0
    """Weight of the loss that is not lifted: with any there is no other sign."""
    memory: float = 0.99
    """Decay of the running means of the alignment."""

    def init(self, denoiser: Any, key: PRNGKeyArray) -> Float[Array, " L"]:
        return jnp.zeros(len(denoiser.levels))

    def loss(
        self, denoiser: Any, state: Float[Array, " L"], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, " n"], Float[Array, " L"]]:
        levels, _ = _levels(denoiser, batch.x, batch.schedule, batch.keys, signs_of(state))
        losses = jnp.zeros(len(batch.x), batch.x.dtype)
        for a, q, _ in levels:
            losses += self.denoising * (q / 2 - a) - _with_others(a) + _with_others(q) / 2
        return losses, track_alignment(state, levels, self.memory)

    def finish(self, denoiser: Any, state: Float[Array, " L"]) -> Any:
        """The denoiser with the signs of its levels in their last layers."""
        return _folded(denoiser, [float(sign) for sign in signs_of(state)])

    def judge(self, denoiser: Any, schedule: Schedule, x: Float[Array, "n ..."], *, key: PRNGKeyArray) -> None:
        """Refuses a denoiser that is not aligned with held-out samples.

        **Raises:** `ValueError`.
        """
        require_aligned(_judged(denoiser, schedule, x, key))


def _with_others(u: Float[Array, " n"]) -> Float[Array, " n"]:
    """A sample's share of the estimate of a squared mean: its product with the mean of the others."""
    if len(u) < 2:
        raise ValueError("lifted_denoising: expected two samples or more in a block of a batch (training.block), got 1")
    return u * (jnp.sum(u) - u) / (len(u) - 1)


def _levels(
    denoiser: NetworkDenoiser, x: Float[Array, "n ..."], schedule: Schedule, keys: Any, signs: Float[Array, " L"]
) -> tuple[list[ScoreTerms], Float[Array, "n ..."]]:
    """The terms of every level on noisy samples, and the target of the first; noise and levels are as `Denoising` has
    them.
    """

    def one(x: Array, key: PRNGKeyArray) -> Any:
        level_key, noise_key, dropout_key = jax.random.split(key, 3)
        sigma = schedule.training_sigma(level_key).astype(x.dtype)
        x_t = x + sigma * jax.random.normal(noise_key, x.shape, x.dtype)
        first, *later = denoiser.levels
        c_out, skipped = sigma / jnp.sqrt(1 + sigma**2), x_t / (1 + sigma**2)
        f = [(first(x_t, sigma, dropout_key) - skipped) / c_out]
        f += [level.correction(x_t, sigma, dropout_key) for level in later]
        return f, (x - skipped) / c_out

    f, y = jax.vmap(one)(x, keys)
    found, left = [], y
    for sign, part in zip(signs, f, strict=True):
        found.append(denoising_terms(part, left))
        left = left - sign * jax.lax.stop_gradient(part)
    return found, y


@eqx.filter_jit
def _judged(denoiser, schedule, x, key):
    levels, y = _levels(denoiser, x, schedule, jax.random.split(key, len(x)), jnp.ones(len(denoiser.levels)))
    return denoising_terms(sum(t.prediction for t in levels), y)


def _folded(denoiser: NetworkDenoiser, signs: list[float]) -> NetworkDenoiser:
    *before, sign = signs
    if before:
        denoiser = eqx.tree_at(lambda d: d.base, denoiser, _folded(denoiser.base, before))  # pyright: ignore
    elif sign < 0 and denoiser.base is not None:
        raise ValueError("lifted_denoising: what is learned beside a closed form has turned away from the samples")
    if sign > 0:
        return denoiser
    return eqx.tree_at(lambda d: (d.network.last.weight, d.network.last.bias), denoiser, replace_fn=jnp.negative)
