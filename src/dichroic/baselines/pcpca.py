r"""Probabilistic contrastive PCA (Li, Jones and Engelhardt, arXiv 2012.07977; DDPRISM, eqs. 20 to 22).

One source, the target, is affine in `q` unit normal latents. Its mean and loadings make the data of the mixture likely
and those of the background unlikely,

.. math:: \max_{\mu, W}\; \overline{\log \mathcal N(y_i; A_i \mu, A_i W W^\top A_i^\top + \Sigma)}^{\text{mixture}}
    - \gamma\, \overline{\log \mathcal N(y_j; A_j \mu, A_j W W^\top A_j^\top + \Sigma)}^{\text{background}} ,

the bars being means. Where the operators are a number times an isometry the maximum is known: with the moments
:math:`\bar x, \bar b` and :math:`S_x, S_b` of both views,

.. math:: \mu = \frac{\bar x - \gamma \bar b}{1 - \gamma}, \qquad S = \frac{S_x - \gamma S_b}{1 - \gamma}, \qquad
    W = Q_q \sqrt{\max(\Lambda_q - \sigma^2, 0)} .

Elsewhere `W` is climbed by L-BFGS, at the :math:`\mu` that is best for `W = 0`, which for isometries is the same one.
Over both together the objective has no maximum: a `W` that leaves one :math:`A_j W` of the background singular lets
:math:`\mu` run away, as what the background cannot explain counts in favour. The published program goes down this hill,
in `W` and :math:`\mu`, for ten steps; `objective = "published"` does the same.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.sparse.linalg import LinearOperator, cg

from dichroic.baselines.base import Baseline, BaselineConfig
from dichroic.baselines.batches import over_observations
from dichroic.baselines.climb import Objective, climb
from dichroic.baselines.contrast import matching, required_contrasts
from dichroic.baselines.factors import FactorModel, ScaledLikelihood
from dichroic.baselines.least_squares import least_squares, principal_start
from dichroic.operators import DiagonalNoise
from dichroic.posterior import WhitenedObservation
from dichroic.problem import Problem, ProblemError, View

__all__ = ["PCPCA", "PCPCAConfig"]

_SOME = 4096  # observations that the mean is learned from
_DENSE = 4096  # entries of a source up to which its covariance is a matrix


class PCPCAConfig(BaselineConfig):
    """Settings of `PCPCA`.

    `components`, latents; `gamma`, the weight of the background, 0 being probabilistic PCA; `objective`, `"maximise"`,
    or `"published"` for the ten steps of Adam in the wrong direction; `closed_form`, whether to use it where it holds;
    `iterations` and `tolerance` of the climb.
    """

    components: PositiveInt = 5
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.3
    objective: Literal["maximise", "published"] = "maximise"
    closed_form: bool = True
    iterations: PositiveInt = 300
    tolerance: PositiveFloat = 1e-9


class PCPCA(Baseline):
    """Probabilistic contrastive PCA: posterior of the target of every contrast; other sources are not modelled."""

    name = "pcpca"
    title = "PCPCA"
    Config = PCPCAConfig

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        for contrast in required_contrasts(problem, cls.title):
            contrast.amplitude(problem)

    @classmethod
    def _fit(cls, problem: Problem, config: PCPCAConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        arrays, record = {}, []
        for contrast in required_contrasts(problem, cls.title):
            t = contrast.target
            mixture, background = contrast.through_the_target(problem)
            gain = _isometry(mixture, background, t, problem.sources[t].shape) if config.closed_form else None
            if gain is not None and config.objective == "maximise":
                mean, loadings, said = _closed_form(problem, mixture, background, t, gain, config)
            else:
                mean, loadings, said = _climb(problem, mixture, background, t, config, seed)
            arrays |= {f"{t}/mean": mean, f"{t}/loadings": loadings}
            record.append({**contrast.describe(problem), **said})
        return arrays, {"contrasts": record}

    def estimates(self, problem: Problem, view: str) -> list[str]:
        return [c["target"] for c in matching(self.record["contrasts"], problem, view)]

    def modelled(self) -> list[str]:
        return [c["target"] for c in self.record["contrasts"]]

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        found = {}
        for t in self.estimates(problem, view):
            found |= over_observations(self._model(t), problem.views[view], key=key)
        return found

    def _sample(self, source: str, n: int, key: Any) -> Any:
        W = self.arrays[f"{source}/loadings"]
        z = np.asarray(jax.random.normal(key, (n, len(W))))
        return self.arrays[f"{source}/mean"] + np.tensordot(z, W, 1)

    def _model(self, t: str) -> FactorModel:
        mean, loadings = (jnp.asarray(self.arrays[f"{t}/{part}"]) for part in ("mean", "loadings"))
        return FactorModel({t: mean}, {t: loadings})


def _isometry(mixture: View, background: View, t: str, shape: tuple[int, ...]) -> float | None:
    """The `c` of two operators with :math:`A^\\top A = c^2 I` under the same white noise, None when they are others."""
    views = (mixture, background)
    std = [_white(view) for view in views]
    if not all(view.shared and view.observed is None for view in views) or None in std:
        return None
    if std[0] != std[1] or np.prod(shape) > _DENSE or any(np.iscomplexobj(view.y) for view in views):
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
    std = view.noise.std if isinstance(view.noise, DiagonalNoise) else np.zeros(2)
    return None if np.ndim(std) else float(np.asarray(std))


def _closed_form(
    problem: Problem, mixture: View, background: View, t: str, gain: float, config: PCPCAConfig
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    shape, gamma = problem.sources[t].shape, config.gamma
    x, b = (least_squares(v, t, shape).reshape(len(v), -1).astype(float) for v in (mixture, background))
    mu = (x.mean(0) - gamma * b.mean(0)) / (1 - gamma)
    S = ((x - mu).T @ (x - mu) / len(x) - gamma * (b - mu).T @ (b - mu) / len(b)) / (1 - gamma)
    variance = ((_white(mixture) or 0.0) / gain) ** 2
    values, Q = np.linalg.eigh(S)
    q = min(config.components, len(mu))
    W = np.sqrt(np.maximum(values[::-1][:q] - variance, 0))[:, None] * Q[:, ::-1][:, :q].T
    return mu.reshape(shape), W.reshape(q, *shape), {"solved": "in closed form"}


def _climb(
    problem: Problem, mixture: View, background: View, t: str, config: PCPCAConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    mean, loadings, scale = principal_start(problem, mixture, t, config.components)
    terms = [(mixture, 1.0), (background, -config.gamma)]
    if config.objective == "published":
        loadings = loadings + 0.01 * np.random.default_rng(seed).normal(size=loadings.shape)
        return _published(mean, loadings, terms, t)
    loadings = loadings + 1e-3 * scale * np.random.default_rng(seed).normal(size=loadings.shape)
    mean = _mean(mixture, background, t, problem.sources[t].shape, config.gamma)
    at_mean = _AtMean({t: scale}, {t: mean / scale})
    found = climb(at_mean, {t: loadings / scale}, terms, iterations=config.iterations, tolerance=config.tolerance)
    said = {"solved": "by L-BFGS", "log_likelihood_ratio": found.values, "converged": found.converged}
    return mean, scale * found.parameters[t], said


class _AtMean(ScaledLikelihood):
    """The log-likelihood of the loadings alone."""

    def __init__(self, scales: Mapping[str, float], means: Mapping[str, np.ndarray]):
        super().__init__(scales)
        self.means = {s: jnp.asarray(m) for s, m in means.items()}

    def __call__(self, loadings: Any, observation: Any) -> Array:
        return super().__call__({"means": self.means, "loadings": loadings}, observation)


def _mean(mixture: View, background: View, t: str, shape: tuple[int, ...], gamma: float) -> np.ndarray:
    r"""The maximum over :math:`\mu` at `W = 0`, a least-squares problem."""
    some = [view.select(np.arange(min(len(view), _SOME))) for view in (mixture, background)]

    def contrast(x: np.ndarray | None) -> np.ndarray:
        backward = _Backward(t, None if x is None else jnp.asarray(x.reshape(shape), jnp.float32), shape)
        parts = [over_observations(backward, view).mean(0, dtype=float).ravel() for view in some]
        return parts[0] - gamma * parts[1]

    size = int(np.prod(shape))
    b = contrast(None)
    # its eigenvalues are positive for gamma < 1 and many observations
    found, info = cg(LinearOperator((size, size), matvec=contrast, dtype=float), b, rtol=1e-5, maxiter=200)  # pyright: ignore
    if not np.isfinite(found).all():
        raise ProblemError([f"PCPCA: the mean of source '{t}' cannot be told at gamma = {gamma:g} ({info}); lower it"])
    return found.reshape(shape)


class _Backward(eqx.Module):
    """:math:`A^* A x`; :math:`A^* y` without an `x`."""

    source: str = eqx.field(static=True)
    x: Array | None
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, observation, _):
        w = WhitenedObservation.unscaled(observation, {self.source: self.shape})
        return w.adjoint(w.y if self.x is None else w.forward({self.source: self.x.astype(w.dtype)}))[self.source]


def _published(mean: np.ndarray, loadings: np.ndarray, terms: Any, t: str) -> tuple[Any, Any, dict[str, Any]]:
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
