r"""Probabilistic contrastive PCA (Li, Jones and Engelhardt, arXiv 2012.07977; DDPRISM, eqs. 20 to 22).

One source, the target, is affine in `q` unit normal latents. Its loadings make the data of the mixture likely and those
of the background unlikely,

.. math:: \max_W\; \overline{\log \mathcal N(r_i; 0, A_i W W^\top A_i^\top + \Sigma)}^{\text{mixture}}
    - \gamma\, \overline{\log \mathcal N(r_j; 0, A_j W W^\top A_j^\top + \Sigma)}^{\text{background}} ,

the bars being means and `r` what the means of the sources leave of the data. With `mean = "difference"` every source
has a mean of its own, by weighted least squares: those of the background, whose operators are :math:`B`, in the
background view, and that of the target, :math:`\mu`, in what they leave of the mixture,

.. math:: m = \arg\min \overline{\| y_j - B_j m \|^2}^{\text{background}} , \qquad
    \mu = \arg\min \overline{\| y_i - B_i m - A_i \mu \|^2}^{\text{mixture}} , \qquad
    r_i = y_i - B_i m - A_i \mu , \quad r_j = y_j - B_j m .

Where target and background share their operators, this is the mean of the mixture less that of the background. The
posterior is that of the target given :math:`y_i - B_i m`. The published program for complete images centres both views
as well (and divides them by standard deviations).
Equation 20 has one :math:`\mu` for both views, `mean = "likelihood"`: the maximum for `W = 0` of the same objective of
:math:`r = y - A \mu`. A background whose mean is not zero is then taken for a target of another mean.

Where the operators are a number times an isometry the maximum is known: with the second moments :math:`S_x, S_b` of `r`
in both views, in units of the target,

.. math:: S = \frac{S_x - \gamma S_b}{1 - \gamma}, \qquad W = Q_q \sqrt{\max(\Lambda_q - \sigma^2, 0)} ,

and the common mean is :math:`\mu = (\bar x - \gamma \bar b) / (1 - \gamma)`. Elsewhere `W` is climbed by L-BFGS. Over
`W` and a common :math:`\mu` together the objective has no maximum: a `W` that leaves one :math:`A_j W` of the
background singular lets :math:`\mu` run away, as what the background cannot explain counts in favour. The published
program goes down this hill, in `W` and :math:`\mu`, for ten steps; `objective = "published"` does the same.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from pydantic import PositiveFloat, PositiveInt

from dichroic import memory
from dichroic.baselines.base import BaselineConfig
from dichroic.baselines.batches import over_observations
from dichroic.baselines.climb import Objective, climb
from dichroic.baselines.contrast import Contrast
from dichroic.baselines.factors import FactorModel, ScaledLikelihood
from dichroic.baselines.kinds import Contrastive
from dichroic.baselines.least_squares import least_squares, least_squares_means, mixed, principal_start
from dichroic.kinds import Share
from dichroic.problem import Problem, ProblemError, View
from dichroic.white.layout import diagonal_noise

__all__ = ["PCPCA", "PCPCAConfig"]

_DENSE = 4096  # entries of a source up to which its covariance is a matrix

_Views = tuple[View, View]  # mixture and background, through the target's operator


class PCPCAConfig(BaselineConfig):
    """Settings of `PCPCA`.

    `components`, latents; `gamma`, the weight of the background, 0 being probabilistic PCA; `mean`, `"difference"` of
    the means of both views, or the one of highest `"likelihood"` for both; `objective`, `"maximise"`, or `"published"`
    for the ten steps of Adam in the wrong direction, which have a mean of their own; `closed_form`, whether to use it
    where it holds; `iterations` and `tolerance` of the climb.
    """

    components: PositiveInt = 5
    gamma: Share = 0.3
    mean: Literal["difference", "likelihood"] = "difference"
    objective: Literal["maximise", "published"] = "maximise"
    closed_form: bool = True
    iterations: PositiveInt = 300
    tolerance: PositiveFloat = 1e-9


class PCPCA(Contrastive):
    """Probabilistic contrastive PCA: posterior of the target of every contrast; other sources are not modelled."""

    name = "pcpca"
    title = "PCPCA"
    Config = PCPCAConfig

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        for contrast in cls.contrasts(problem):
            contrast.amplitude(problem)

    @classmethod
    def _fit(cls, problem: Problem, config: PCPCAConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        arrays, record = {}, []
        for contrast in cls.contrasts(problem):
            t, background = contrast.target, {}
            seen = contrast.through_the_target(problem)
            if config.objective == "published":
                mean, loadings, said = _published(problem, seen, t, config, seed)
            elif config.mean == "difference":
                mean, background, left = _about_their_own_means(problem, contrast, seen)
                loadings, said = _loadings(problem, left, left[0], t, config, seed)
            else:
                mean, left = _about_a_common_mean(problem, t, seen, config.gamma)
                loadings, said = _loadings(problem, left, seen[0], t, config, seed)
            arrays |= {f"{t}/mean": mean, f"{t}/loadings": loadings}
            arrays |= {_of_background(t, s): m for s, m in background.items()}
            record.append({**contrast.describe(problem), **said})
        return arrays, {"contrasts": record}

    def modelled(self) -> list[str]:
        return [c["target"] for c in self.record["contrasts"]]

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        found = {}
        for t in self.estimates(problem, view):
            observed = problem.views[view]
            if background := {s: self.arrays[a] for s in self.shapes if (a := _of_background(t, s)) in self.arrays}:
                observed = replace(observed, y=observed.y - mixed(observed, background))
            found |= over_observations(self._model(t), observed, key=key)
        return found

    def _sample(self, source: str, n: int, key: Any) -> Any:
        W = self.arrays[f"{source}/loadings"]
        z = np.asarray(jax.random.normal(key, (n, len(W))))
        return self.arrays[f"{source}/mean"] + np.tensordot(z, W, 1)

    def _model(self, t: str) -> FactorModel:
        mean, loadings = (jnp.asarray(self.arrays[f"{t}/{part}"]) for part in ("mean", "loadings"))
        return FactorModel({t: mean}, {t: loadings})


def _of_background(t: str, source: str) -> str:
    """The name of the array with the mean of another source of the contrast."""
    return f"{t}/background/{source}"


def _about_their_own_means(
    problem: Problem, contrast: Contrast, views: _Views
) -> tuple[np.ndarray, dict[str, np.ndarray], _Views]:
    """Means of the target and of all sources behind it, and both views less these."""
    t, own = contrast.target, (problem.views[contrast.mixture], problem.views[contrast.background])
    shapes = {s: problem.sources[s].real_shape for s in own[1].mixing}
    background = least_squares_means([(own[1], 1.0)], shapes)
    # through the operators of each view: nothing says that they are the target's
    less = [replace(v, y=v.y - mixed(o, background)) for v, o in zip(views, own, strict=True)]
    mean = least_squares_means([(less[0], 1.0)], {t: problem.sources[t].real_shape})
    return mean[t], background, (replace(less[0], y=less[0].y - mixed(less[0], mean)), less[1])


def _about_a_common_mean(problem: Problem, t: str, views: _Views, gamma: float) -> tuple[np.ndarray, _Views]:
    r"""The maximum over :math:`\mu` at `W = 0`, and both views less it."""
    # the eigenvalues of the difference are positive for gamma < 1 and many observations
    mean = least_squares_means([(views[0], 1.0), (views[1], -gamma)], {t: problem.sources[t].real_shape})
    if not np.isfinite(mean[t]).all():
        raise ProblemError([f"PCPCA: the mean of source '{t}' cannot be told at gamma = {gamma:g}; lower it"])
    mixture, background = (replace(v, y=v.y - mixed(v, mean)) for v in views)
    return mean[t], (mixture, background)


def _loadings(
    problem: Problem, views: _Views, start: View, t: str, config: PCPCAConfig, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """`W` at mean 0; a climb starts from the principal directions of the view `start`."""
    gain = _isometry(views, t, problem.sources[t].real_shape) if config.closed_form else None
    if gain is None:
        return _climb(problem, views, start, t, config, seed)
    return _closed_form(problem, views, t, gain, config)


def _isometry(views: _Views, t: str, shape: tuple[int, ...]) -> float | None:
    """The `c` of two operators with :math:`A^\\top A = c^2 I` under the same white noise, None when they are others."""
    std = [_white(view) for view in views]
    if not all(view.shared and view.observed is None for view in views) or None in std:
        return None
    if std[0] != std[1] or not memory.dense(int(np.prod(shape)), _DENSE) or any(np.iscomplexobj(v.y) for v in views):
        return None
    e = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    gains = []
    for view in views:
        A = view.mixing[t]
        back = np.asarray(jax.vmap(lambda x, A=A: A.T(A(x)))(jnp.asarray(e)))
        gain = float((back * e).sum() / (e * e).sum())
        if not gain > 0 or np.abs(back - gain * e).max() > 1e-4 * gain:
            return None
        gains.append(np.sqrt(gain))
    return float(gains[0]) if abs(gains[0] / gains[1] - 1) < 1e-3 else None


def _white(view: View) -> float | None:
    """The standard deviation of noise that is the same for all values, None for other noise."""
    std = diagonal_noise(view)
    return float(std.flat[0]) if std is not None and std.size == 1 else None


def _closed_form(
    problem: Problem, views: _Views, t: str, gain: float, config: PCPCAConfig
) -> tuple[np.ndarray, dict[str, Any]]:
    shape = problem.sources[t].real_shape
    x, b = (least_squares(v, t, shape).reshape(len(v), -1).astype(float) for v in views)
    S = (x.T @ x / len(x) - config.gamma * b.T @ b / len(b)) / (1 - config.gamma)
    variance = ((_white(views[0]) or 0.0) / gain) ** 2
    values, Q = np.linalg.eigh(S)
    q = min(config.components, len(S))
    W = np.sqrt(np.maximum(values[::-1][:q] - variance, 0))[:, None] * Q[:, ::-1][:, :q].T
    return W.reshape(q, *shape), {"solved": "in closed form"}


def _climb(
    problem: Problem, views: _Views, start: View, t: str, config: PCPCAConfig, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    _, loadings, scale = principal_start(problem, start, t, config.components)
    loadings = loadings + 1e-3 * scale * np.random.default_rng(seed).normal(size=loadings.shape)
    terms = [(views[0], 1.0), (views[1], -config.gamma)]
    at_zero = _AtZero({t: scale})
    found = climb(at_zero, {t: loadings / scale}, terms, iterations=config.iterations, tolerance=config.tolerance)
    said = {"solved": "by L-BFGS", "log_likelihood_ratio": found.values, "converged": found.converged}
    return scale * found.parameters[t], said


class _AtZero(ScaledLikelihood):
    """The log-likelihood of the loadings alone, at mean 0."""

    def __call__(self, loadings: Any, observation: Any) -> Array:
        means = {s: jnp.zeros(W.shape[1:], W.dtype) for s, W in loadings.items()}
        return super().__call__({"means": means, "loadings": loadings}, observation)


def _published(
    problem: Problem, views: _Views, t: str, config: PCPCAConfig, seed: int
) -> tuple[Any, Any, dict[str, Any]]:
    mean, loadings, _ = principal_start(problem, views[0], t, config.components)
    loadings = loadings + 0.01 * np.random.default_rng(seed).normal(size=loadings.shape)
    terms = [(views[0], 1.0), (views[1], -config.gamma)]
    optimizer = optax.adam(optax.linear_schedule(1e-3, 1e-6, 10))
    with jax.enable_x64(True):
        start = {"means": {t: jnp.asarray(mean)}, "loadings": {t: jnp.asarray(loadings)}}
        flat, unravel = ravel_pytree(start)
        objective, state, values = Objective(ScaledLikelihood({t: 1.0}), terms), optimizer.init(flat), []
        for _ in range(10):
            value, gradient = objective(np.asarray(flat), unravel)
            values.append(value)
            # a minimiser, given the gradient of what is to be maximised
            update, state = optimizer.update(jnp.asarray(gradient), state, flat)
            flat = jnp.asarray(optax.apply_updates(flat, update))
        found = jax.tree.map(np.asarray, unravel(flat))
    said = {"solved": "as published: ten steps down", "log_likelihood_ratio": values, "converged": False}
    return found["means"][t], found["loadings"][t], said
