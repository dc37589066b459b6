r"""Sampling steps.

In all of them :math:`\hat x = D(x_t, \sigma_t)` is the target's mean; :math:`\sigma_t > \sigma_s` are the levels
before and after the step and :math:`\epsilon` is unit normal.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dichroic.diffusion.sampler import Cost, MomentTarget, Step, Target, noise_like

__all__ = ["DDIM", "STEPS", "Ancestral", "Decoupled", "Heun", "PredictorCorrector", "Resampled"]


def _toward(x_t: PyTree, mean: PyTree, share: Float[Array, ""]) -> PyTree:
    """:math:`x_t - \\text{share}\\,(x_t - \\hat x)`."""
    return jax.tree.map(lambda x, m: x - share * (x - m), x_t, mean)


def _add_noise(key: PRNGKeyArray, x: PyTree, scale: Float[Array, ""]) -> PyTree:
    return jax.tree.map(lambda a, e: a + scale * e, x, noise_like(key, x))


class DDIM(Step):
    r"""Deterministic: :math:`x_s = x_t - (1 - \sigma_s / \sigma_t)(x_t - \hat x)`."""

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        mean, info = target.mean(x_t, sigma_t)
        return _toward(x_t, mean, 1 - sigma_s / sigma_t), info

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (steps + 1)


class Ancestral(Step):
    r"""The bridge of the diffusion: with :math:`\tau = 1 - \sigma_s^2 / \sigma_t^2`,
    :math:`x_s = x_t - \tau (x_t - \hat x) + \sigma_s \sqrt\tau\, \epsilon` (DDPM; DiEM).
    """

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        mean, info = target.mean(x_t, sigma_t)
        tau = 1 - (sigma_s / sigma_t) ** 2
        return _add_noise(key, _toward(x_t, mean, tau), sigma_s * jnp.sqrt(tau)), info

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (steps + 1)


class Heun(Step):
    r"""Second order: the mean of the slopes :math:`(x - \hat x)/\sigma` at the two ends of a DDIM step, the second one
    evaluated at the new level (EDM, arXiv 2206.00364, algorithm 1).
    """

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        mean, info = target.mean(x_t, sigma_t)
        euler = _toward(x_t, mean, 1 - sigma_s / sigma_t)

        def average():
            mean_s, info_s = target.mean(euler, sigma_s)
            x_s = jax.tree.map(
                lambda x, m, e, n: x + (sigma_s - sigma_t) * ((x - m) / sigma_t + (e - n) / sigma_s) / 2,
                x_t,
                mean,
                euler,
                mean_s,
            )
            return x_s, info.merge(info_s)

        return jax.lax.cond(sigma_s > 0, average, lambda: (euler, info))

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (2 * steps + (1 if to_zero else 2))


class PredictorCorrector(Step):
    r"""A DDIM step, then `corrections` Langevin steps at the new level,
    :math:`x \leftarrow x - \tau (x - D(x, \sigma_s)) + \sigma_s \sqrt{2\tau}\, \epsilon` (DDPRISM, DiEM).
    """

    corrections: int = eqx.field(static=True, default=1)
    tau: float = 0.1

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        mean, info = target.mean(x_t, sigma_t)
        x = _toward(x_t, mean, 1 - sigma_s / sigma_t)

        def correct(k, state):
            x, info = state
            mean, new = target.mean(x, sigma_s)
            tau = jnp.asarray(self.tau, sigma_s.dtype)
            return _add_noise(
                jax.random.fold_in(key, k), _toward(x, mean, tau), sigma_s * jnp.sqrt(2 * tau)
            ), info.merge(new)

        corrections = jnp.where(sigma_s > 0, self.corrections, 0)  # none at the sample itself
        return jax.lax.fori_loop(0, corrections, correct, (x, info))

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * ((steps + (not to_zero)) * (1 + self.corrections) + to_zero)


class Decoupled(Step):
    r"""Moment-matched decoupled annealing: draw :math:`x_0` from the Gaussian with the moments of
    :math:`p(x_0 \mid x_t)` (and the observation), and noise it again, :math:`x_s = x_0 + \sigma_s \epsilon`.

    Unlike a bridge it forgets :math:`x_t`, so errors made at high noise can be mended later. Exact for Gaussian sources
    at any number of steps. The sample is the last draw itself, with its own spread, not a mean.
    """

    draws: ClassVar[bool] = True

    def __call__(self, target: MomentTarget, x_t, sigma_t, sigma_s, key):
        draw_key, noise_key = jax.random.split(key)
        x_0, info = target.draw(x_t, sigma_t, draw_key)
        return _add_noise(noise_key, x_0, sigma_s), info

    def cost(self, target: MomentTarget, steps: int, to_zero: bool = True) -> Cost:
        return target.draw_cost * (steps + 1)


class Resampled(Step):
    r"""The bridge of `Ancestral`, gone back :math:`x_t \leftarrow x_s + \sqrt{\sigma_t^2 - \sigma_s^2}\, \epsilon` and
    taken again, `jumps` times: what the target makes of every state (`Target.settled`) and what the denoiser makes of
    it come to agree (RePaint, arXiv 2201.09865, algorithm 1).
    """

    jumps: int = eqx.field(static=True, default=5)

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        def again(k, state):
            x_s, info = state
            settled_key, back_key, step_key = jax.random.split(jax.random.fold_in(key, k), 3)
            x_s = target.settled(x_s, sigma_s, settled_key)
            x_t = _add_noise(back_key, x_s, jnp.sqrt(sigma_t**2 - sigma_s**2))
            x_s, new = Ancestral()(target, x_t, sigma_t, sigma_s, step_key)
            return x_s, info.merge(new)

        return jax.lax.fori_loop(0, self.jumps, again, Ancestral()(target, x_t, sigma_t, sigma_s, key))

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * ((steps + 1) * (1 + self.jumps))


# every step, by the name it has in the settings; the tests hold each against exact Gaussian answers
STEPS: dict[str, type[Step]] = {
    "ddim": DDIM,
    "ancestral": Ancestral,
    "heun": Heun,
    "pc": PredictorCorrector,
    "decoupled": Decoupled,
    "resampled": Resampled,
}
