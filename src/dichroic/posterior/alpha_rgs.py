r"""alpha-RGS: the mode of a posterior under randomised Gaussian smoothing.

.. math:: \min_u \; -\sum_s \omega_s\, \mathrm E_{\sigma, \epsilon} \log p_s(x_s + \sigma \epsilon; \sigma)
    \quad\text{subject to}\quad y = \sum_s A_s x_s \;(+\; n) ,

by stochastic gradients at one noise level per source and step, drawn independently of each other: large levels move the
state between modes, small ones resolve it. With the drawn noise taken off again the gradient is that of a clean state,

.. math:: g_s = \omega_s \big(x_s - D_s(x_s + \sigma_s \epsilon_s, \sigma_s)\big) / \sigma_s^2, \qquad
    u \leftarrow \mathrm{prox}(u - \eta M g) ,

followed by the data: a projection where there is no noise, a proximal step where there is. Sources move in units of
their gain, :math:`M_s = a_1^2 / a_s^2`, so that for two of them, without noise, the iterates are those of the published
form, which eliminates the second. It gives one estimate and takes two evaluations per step, one of every source.

Data of a linear inverse problem can enter through what is denoised instead (`data = "denoised"`), `J` its Jacobian, at
noise of its own and both terms at the same state,

.. math:: u \leftarrow u - \eta M \big[g - \alpha\, J^\top A^\top (y - A D(u + \sigma \epsilon, \sigma))\big] ,

which for continuous sources rests beyond the mode unless the levels are small.

Source: T. Jayashankar, G. C. F. Lee, A. Lancho, A. Weiss, Y. Polyanskiy, G. W. Wornell, *Score-based Source Separation
with Applications to Digital Communication Signals*, arXiv 2306.14411 (algorithm 1); Jayashankar's thesis (MIT 2025),
chapter 5; for linear inverse problems its section 5.7, with the gradient of its norm.
"""

import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveFloat, PositiveInt

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser, SymbolsDenoiser, noise_like
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.constraint import Constraint, squared_gains
from dichroic.posterior.method import Task
from dichroic.posterior.sampler import Sampler
from dichroic.white import WhitenedObservation

__all__ = ["PUBLISHED_LEVELS", "AlphaRGS", "Descent", "stable_step"]

_ABAR = np.cumprod(1 - np.linspace(1e-4, 0.05, 50))
PUBLISHED_LEVELS: tuple[float, ...] = tuple(np.sqrt((1 - _ABAR) / _ABAR)[1:].tolist())
"""The noise levels of the published runs: all but the smallest of the 50 that its networks were trained at."""

_LAST = 2e-4  # of the largest step, the smallest one
_WIDE = 4.0  # noise whose nearest sample is a random one


def stable_step(levels: Float[np.ndarray, " L"], curvatures: Float[Array, " K"], hard: bool) -> Float[Array, ""]:
    r"""The step up to which fluctuations near a mode stay bounded, :math:`2\, \mathrm E[h] / \mathrm E[h^2]`.

    There a denoiser is constant and `h` is :math:`c_s / \sigma_s^2` along a source; along the exchange of two sources,
    which is all that exact data leave open, the mean of theirs.

    **Arguments:** `curvatures`, the :math:`c_s`; `hard`, whether the data are exact.
    """
    m2, m4 = float(np.mean(levels**-2.0)), float(np.mean(levels**-4.0))
    if not hard or len(curvatures) == 1:
        return jnp.min(2 * m2 / (curvatures * m4))
    found = []
    for a, b in combinations(range(len(curvatures)), 2):
        c, d = curvatures[a], curvatures[b]
        found.append(4 * (c + d) * m2 / ((c**2 + d**2) * m4 + 2 * c * d * m2**2))
    return jnp.min(jnp.stack(found))


class AlphaRGS(Sampled):
    """Estimates near the mode of the posterior, for discrete sources under data with little noise or none.

    The first source of a view is the one that is started from: from the data, as if the others were noise.
    """

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"
    takes_exact: ClassVar[bool] = True

    kind: Literal["alpha_rgs"] = "alpha_rgs"
    alpha: Literal["auto", "map", "balanced"] | PositiveFloat | dict[str, PositiveFloat] = "auto"
    """Weights of the priors: 1 for all (map), the squared gains (balanced), one for all sources but the first, or one
    each; auto is balanced where all priors are discrete and there is no noise, and map elsewhere."""
    balance: PositiveFloat = 1.0
    """Times the balanced weights of all sources but the first."""
    smoothing: Literal["samples", "symbols"] = "samples"
    """What is smoothed of a train of pulses: its samples, which is exact, or, as published, its symbols, by complex
    noise of the level. That is the root of half the samples of a symbol times coarser, and weighed all the same."""
    data: Literal["auto", "hard", "proximal", "denoised"] = "auto"
    """How the data enter: as a projection, as a proximal step (auto: by whether there is noise), or through the
    denoised state, where a number as alpha is their own weight."""
    steps: PositiveInt = 2000
    """Steps."""
    rate: PositiveFloat = 0.9
    """The first step, as a share of the largest stable one."""
    levels: tuple[PositiveFloat, ...] = PUBLISHED_LEVELS
    """Noise levels, in units of the sources."""
    restarts: PositiveInt = 1
    """Starts, the first of them from the data; the one whose other sources suit their priors best is kept."""
    nearest: bool = True
    """End at the nearest sample that a discrete source can be."""
    average: bool = False
    """Take the mean over all levels and both signs of the noise at every step, in place of one draw."""

    def sampler(self, task: Task, *, afresh: bool = False) -> tuple[Sampler, Cost]:
        denoisers, schedule = task.denoisers(self.kind), task.schedule
        if min(self.levels) < 0.999 * schedule.sigma_min or max(self.levels) > 1.001 * schedule.sigma_max:
            raise ValueError(
                f"method {self.kind!r}: noise levels from {min(self.levels):.3g} to {max(self.levels):.3g}, and the "
                f"priors are good for {schedule.sigma_min:.3g} to {schedule.sigma_max:.3g}"
            )
        if isinstance(self.alpha, dict) and (unknown := set(self.alpha) - set(denoisers)):
            raise ValueError(f"method {self.kind!r}: alpha of {sorted(unknown)[0]!r}, which enters no view here")
        alpha = self.alpha
        if self.data == "denoised" and not (alpha in ("auto", "map") or isinstance(alpha, float)):
            raise ValueError(
                f"method {self.kind!r}: through the denoised state one number weighs the data, not {alpha!r}"
            )
        discrete = [denoiser.discrete for denoiser in denoisers.values()]
        if alpha not in ("auto", "map", 1.0) and not any(discrete):
            warnings.warn(
                "alpha_rgs: weights other than 1 are for discrete sources, and none of these is", stacklevel=2
            )
        data = self.data if self.data != "auto" else "hard" if task.exact else "proximal"
        if task.exact and data != "hard":
            raise ValueError(f"method {self.kind!r}: data without noise enter as a projection, not {data!r}")
        if alpha == "auto":
            alpha = "balanced" if task.exact and all(discrete) else "map"
        weights = tuple(alpha.items()) if isinstance(alpha, dict) else alpha
        core = Descent(
            denoisers,
            tuple(denoisers),
            self.levels,
            self.rate,
            self.steps,
            weights,
            data,
            2.0,
            self.restarts,
            self.nearest,
            self.average,
            np.asarray(self.balance, np.float32),
            tuple((s, _coarser(D)) for s, D in denoisers.items() if self.smoothing == "symbols"),
        )
        return core, Cost()

    @property
    def title(self) -> str:
        return f"alpha-RGS, {self.steps} steps, {self.restarts} start{'s' if self.restarts > 1 else ''}"


def _coarser(D: Denoiser) -> float:
    return max(1.0, (D.modulator.gain / 2) ** 0.5) if isinstance(D, SymbolsDenoiser) else 1.0


class Descent(Sampler):
    r"""Stochastic gradients of smoothed priors, of one observation.

    `names`, of the sources in the order of their view, which compiled programs do not keep: the first one is started
    from. `power` is the exponent in :math:`(x - D) / \sigma^p`: 2 of the score, 1 of predicted noise; `coarser`, times
    the levels at which a source is smoothed, not those that it is weighed by.
    """

    denoisers: dict[str, Denoiser]
    names: tuple[str, ...] = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)
    rate: float
    steps: int = eqx.field(static=True)
    weights: str | float | tuple[tuple[str, float], ...] = eqx.field(static=True)
    data: str = eqx.field(static=True)
    power: float = eqx.field(static=True)
    restarts: int = eqx.field(static=True)
    decide: bool = eqx.field(static=True)
    average: bool = eqx.field(static=True)
    balance: ArrayLike = 1.0
    coarser: tuple[tuple[str, float], ...] = eqx.field(static=True, default=())

    def draw(self, observation, last, warm, alike, *, key):
        if self.restarts == 1:
            u, info, _ = self._run(observation, jnp.zeros((), bool), key)
            return u, info
        keys = jnp.stack([key, *(jax.random.fold_in(key, k) for k in range(1, self.restarts))])
        random = np.arange(self.restarts) > 0
        u, info, misfits = jax.lax.map(lambda a: self._run(observation, *a), (random, keys))
        best = jnp.argmin(misfits)
        return jax.tree.map(lambda a: a[best], (u, info))

    def cost(self, observation, warm, alike):
        each = Cost(2, 1) if self.data == "denoised" else Cost(1)
        return each * (self.steps * self.restarts)

    @property
    def gains(self):
        return False

    def _run(
        self, observation: WhitenedObservation, random: Array, key: PRNGKeyArray
    ) -> tuple[dict[str, Array], Info, Float[Array, ""]]:
        gains, names = squared_gains(observation), self._shown(observation)
        first = names[0]
        metric = {s: gains[first] / g for s, g in gains.items()}
        omega = self._omega(gains, first)
        hard = self.data == "hard"
        constraint = Constraint(observation, metric)
        others = Constraint(observation, {s: w for s, w in metric.items() if s != first})
        ridge = 0.0 if hard else 1.0
        levels = jnp.asarray(self.levels, observation.dtype)
        curvatures = jnp.stack([omega[s] * metric[s] for s in names])
        largest = self.rate * stable_step(np.array(self.levels), curvatures, hard)
        if self.power != 2:  # the same distance at the largest curvature
            largest = largest * min(self.levels) ** (self.power - 2)
        if self.data == "denoised":
            largest = jnp.minimum(largest, self.rate / (self._data_weight * len(names) * gains[first]))

        def residue(u: dict[str, Array]) -> dict[str, Array]:
            return others(u, ridge)[0] if len(names) > 1 else u

        start_key, run_key = jax.random.split(key)
        zeros = {s: jnp.zeros(shape, observation.dtype) for s, shape in observation.shapes.items()}
        if self.denoisers[first].discrete:
            seen = observation.adjoint(observation.y)[first] / gains[first]
            guess = jnp.where(random, _WIDE * jax.random.normal(start_key, seen.shape, seen.dtype), seen)
            u = residue({**zeros, first: self.denoisers[first].nearest(guess)})  # pyright: ignore
        else:
            noise = jax.tree.map(lambda e: jnp.where(random, e, 0), noise_like(start_key, zeros))
            u = constraint(noise, ridge)[0]

        def step(i, carry):
            u, info = carry
            share = 0.5 * (1 + jnp.cos(jnp.pi * i / self.steps))
            eta = (largest * (_LAST + (1 - _LAST) * share)).astype(levels.dtype)
            g = self._gradient(u, observation, levels, jax.random.fold_in(run_key, i))
            if self.data == "denoised":  # at the same state: a step of the one after the other rests elsewhere
                pull = self._denoised_pull(u, observation, levels, jax.random.fold_in(run_key, self.steps + i))
                g = {s: x - self._data_weight * pull[s] for s, x in g.items()}
                return {s: x - eta * metric[s] * g[s] for s, x in u.items()}, info
            u = {s: x - eta * metric[s] * (omega[s] * g[s]) for s, x in u.items()}
            u, new = constraint(u, 0.0 if hard else 1 / eta)
            return u, info.merge(new)

        u, info = jax.lax.fori_loop(0, self.steps, step, (u, Info.none()))
        near = {s: d.nearest(u[s]) for s, d in self.denoisers.items() if d.discrete and s in u}
        decided = {s: x for s, x in near.items() if x is not None}
        trial = residue({s: decided[s] if s == first and s in decided else x for s, x in u.items()})
        misfit = sum(
            (gains[s] * jnp.sum((trial[s] - self._settled(s, trial[s], levels)) ** 2) for s in names if s != first),
            jnp.sum(constraint.residual(trial) ** 2),
        )
        bad = jax.tree.reduce(jnp.logical_or, jax.tree.map(lambda x: ~jnp.all(jnp.isfinite(x)), u))
        info = info.merge(Info(jnp.zeros(()), bad.astype(jnp.int32)))
        if self.decide and decided:
            rest = {s: w for s, w in metric.items() if s not in decided}
            u = {**u, **decided}
            u = Constraint(observation, rest)(u, ridge)[0] if rest else u
        return u, info, jnp.where(bad, jnp.inf, misfit)

    def _gradient(
        self, u: Mapping[str, Array], observation: WhitenedObservation, levels: Array, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """Of the smoothed priors, at one level and noise of every source, or averaged over them."""
        found = {}
        for number, s in enumerate(self._shown(observation)):
            D, x, c = self.denoisers[s], u[s], dict(self.coarser).get(s, 1.0)

            def one(level: Array, e: Array, D: Denoiser = D, x: Array = x, c: float = c) -> Array:
                return (x - D(x + c * level * e, c * level)) / level**self.power

            level, e = self._drawn(levels, jax.random.fold_in(key, number), x)
            if self.average:
                found[s] = jax.vmap(lambda v, one=one, e=e: 0.5 * (one(v, e) + one(v, -e)))(levels).mean(0)
            else:
                found[s] = one(level, e)
        return found

    def _denoised_pull(
        self, u: dict[str, Array], observation: WhitenedObservation, levels: Array, key: PRNGKeyArray
    ) -> dict[str, Array]:
        r""":math:`J^\top A^\top (y - A D(u + \sigma \epsilon, \sigma))`: what is denoised stands for the sources."""

        def pull(noises: dict[str, tuple[Array, Array]], sign: float) -> dict[str, Array]:
            def denoised(u):
                return {
                    s: self.denoisers[s](x + sign * noises[s][0] * noises[s][1], noises[s][0]) for s, x in u.items()
                }

            D, transposed = jax.vjp(denoised, u)
            r = observation.y - observation.forward(D)
            return transposed(observation.adjoint(r))[0]

        drawn = {
            s: self._drawn(levels, jax.random.fold_in(key, n), u[s]) for n, s in enumerate(self._shown(observation))
        }
        if not self.average:
            return pull(drawn, 1.0)

        def both(level: Array) -> dict[str, Array]:
            noises = {s: (level, e) for s, (_, e) in drawn.items()}
            return jax.tree.map(lambda a, b: 0.5 * (a + b), pull(noises, 1.0), pull(noises, -1.0))

        return jax.tree.map(lambda a: a.mean(0), jax.vmap(both)(levels))

    def _drawn(self, levels: Array, key: PRNGKeyArray, x: Array) -> tuple[Array, Array]:
        level_key, noise_key = jax.random.split(key)
        chosen = jax.random.randint(level_key, (), 0, len(levels))
        return levels[chosen], jax.random.normal(noise_key, x.shape, x.dtype)

    def _settled(self, s: str, x: Array, levels: Array) -> Array:
        """What the prior makes of a clean sample."""
        nearest = self.denoisers[s].nearest(x)
        return self.denoisers[s](x, jnp.min(levels)) if nearest is None else nearest

    def _shown(self, observation: WhitenedObservation) -> list[str]:
        return [s for s in self.names if s in observation.shapes]

    @property
    def _data_weight(self) -> float:
        return self.weights if isinstance(self.weights, float | int) else 1.0

    def _omega(self, gains: Mapping[str, Array], first: str) -> dict[str, Array]:
        if self.weights == "balanced":
            return {s: g / gains[first] * (1.0 if s == first else self.balance) for s, g in gains.items()}
        ones = {s: jnp.ones_like(g) for s, g in gains.items()}
        if isinstance(self.weights, tuple):
            return ones | {s: w * ones[s] for s, w in self.weights if s in ones}
        if self.weights == "map" or self.data == "denoised":
            return ones
        return {s: one if s == first else self.weights * one for s, one in ones.items()}  # pyright: ignore
