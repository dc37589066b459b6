r"""The unknowns of an instrument that all observations share, by the marginal likelihood of Gaussian sources.

With the populations at their best for the unknowns :math:`\theta`, what is left is the profile likelihood,

.. math:: \ell(\theta) = \max_{\mu, S} \sum_{vi} \log \mathcal N\Big(y_{vi};\; \sum_s A_{vis}(\theta) \mu_s,\;
    \Sigma_{vi}(\theta) + \sum_s A_{vis}(\theta) S_s A_{vis}(\theta)^\top\Big) + \log p(\theta) ,

whose gradient is that of the sum at the populations found (the envelope theorem). It is maximised by quasi-Newton
steps; the inverse of its curvature there is the covariance of the posterior (Laplace). EM on the noise has the same
fixed point, the maximiser of the marginal likelihood, and takes many times as many laps to it. A noise is sought as the
logarithm of its factor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dichroic.algebra import Components, Gaussian
from dichroic.closed.gaussian import GaussianConfig, GaussianFit, gaussian_em
from dichroic.closed.routes import bind_view
from dichroic.closed.units import in_units, units_of
from dichroic.problem import Problem, View
from dichroic.problem.unknowns import NOISE, Parameter

__all__ = ["InstrumentFit", "learn_instrument"]

_STEP = 1e-3  # of a parameter, for differences of the likelihood at fixed populations
_ENOUGH = 1e-3  # log-likelihood that a step is expected to gain, below which there is none
_MOST = 24  # steps
_TOLERANCE = 1e-8  # of the populations, per value: differences of likelihoods are to be those of the unknowns

Values = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class InstrumentFit:
    """The posterior of the unknowns that all observations share, by view and name.

    **Fields:** `values` and `stds`, of the shape of each; the noise is a factor on the stated one; `converged`.
    """

    values: Values
    stds: Values
    converged: bool = True

    def described(self) -> dict[str, Any]:
        """Itself in numbers and lists, to be written."""
        kinds = {"values": self.values, "stds": self.stds}
        return {"converged": self.converged} | {
            kind: {v: {name: x.tolist() for name, x in unknowns.items()} for v, unknowns in values.items()}
            for kind, values in kinds.items()
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "InstrumentFit":
        """From what `described` gave."""
        values, stds = (
            {v: {name: np.asarray(x, float) for name, x in unknowns.items()} for v, unknowns in content[kind].items()}
            for kind in ("values", "stds")
        )
        return cls(values, stds, bool(content["converged"]))

    def sentences(self) -> list[str]:
        """What was found, each unknown in a sentence; of arrays the range."""
        found = []
        for view, unknowns in self.values.items():
            for name, value in unknowns.items():
                of = "its noise, of what is stated" if name == NOISE else f"'{name.removeprefix('mixing.')}'"
                std = self.stds[view][name]
                low, high = (
                    f"{v.flat[i]:.4g} ± {std.flat[i]:.2g}"
                    for v, i in ((value, value.argmin()), (value, value.argmax()))
                )
                size = low if value.size == 1 else f"from {low} to {high}"
                ending = "" if self.converged else " (not converged)"
                found.append(f"instrument: view '{view}': {of}: × {size}{ending}")
        return found


def learn_instrument(
    problem: Problem,
    config: GaussianConfig | None = None,
    *,
    fixed: Mapping[str, Gaussian] | None = None,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> InstrumentFit:
    """Learns what is unknown of the instrument, together with Gaussian sources, from the mixtures alone.

    **Arguments:** `fixed`, populations that are known; `report(share)` is called now and then. What every observation
    has of its own stays at what is stated.

    **Raises:** `ValueError` for observations too large for exact likelihoods.
    """
    search = _Search(problem, config or GaussianConfig(), fixed or {}, seed)
    x, curvature = search.start, search.first_curvature()
    value, gradient = search.at(x)
    converged = False
    for number in range(_MOST):
        if report is not None:
            report(number / _MOST)
        step = np.linalg.solve(curvature, gradient)
        if converged := float(gradient @ step) < 2 * _ENOUGH:
            break
        step *= min(1.0, 1.0 / np.abs(step / search.size).max())
        for shorter in range(6):
            new, (above, slope) = x + step * 0.5**shorter, search.at(x + step * 0.5**shorter)
            if above > value - _ENOUGH:
                break
        moved, turned = new - x, gradient - slope
        if moved @ turned > 0:  # else the update would not stay positive
            bent = curvature @ moved
            curvature += np.outer(turned, turned) / (turned @ moved) - np.outer(bent, bent) / (moved @ bent)
        x, value, gradient = new, above, slope
    spread = np.sqrt(np.diag(np.linalg.inv(search.curvature(x, curvature))))
    return InstrumentFit(search.values(x), search.stds(x, spread), bool(converged))


class _Search:
    """The profile likelihood over one vector of everything unknown; every evaluation goes on from the one before."""

    def __init__(self, problem: Problem, config: GaussianConfig, fixed: Mapping[str, Gaussian], seed: int):
        self.problem, self.fixed, self.seed = problem, fixed, seed
        self.config = config.model_copy(update={"tolerance": min(config.tolerance, _TOLERANCE)})
        self.shapes = {s: source.real_shape for s, source in problem.sources.items()}
        self.unknowns: list[tuple[str, str, Parameter]] = [
            (view, name, unknown)
            for view, unknowns in problem.unknowns.items()
            for name, unknown in unknowns.items()
            if not unknown.per_sample
        ]
        ends = np.cumsum([0, *(unknown.size for _, _, unknown in self.unknowns)])
        self.parts = [slice(a, b) for a, b in pairwise(ends)]
        logs = [name == NOISE for _, name, _ in self.unknowns]
        self.logs = np.concatenate([np.full(u.size, log) for log, (_, _, u) in zip(logs, self.unknowns, strict=True)])
        stated = np.concatenate([unknown.value.ravel() for _, _, unknown in self.unknowns])
        stds = np.concatenate([unknown.std.ravel() for _, _, unknown in self.unknowns])
        self.start = np.where(self.logs, np.log(np.where(self.logs, stated, 1.0)), stated)
        self.precision = np.where(np.isfinite(stds), 1 / np.where(np.isfinite(stds), stds, 1.0) ** 2, 0.0)
        units = np.concatenate([unknown.unit.ravel() for _, _, unknown in self.unknowns])
        self.size = np.where(self.logs, 1.0, units)  # longest step
        self.populations: dict[str, Gaussian] = {}

    def values(self, x: np.ndarray) -> Values:
        """The unknowns by view and name."""
        found: Values = {}
        for (view, name, unknown), part in zip(self.unknowns, self.parts, strict=True):
            value = np.exp(x[part]) if name == NOISE else x[part]
            found.setdefault(view, {})[name] = value.reshape(unknown.value.shape)
        return found

    def stds(self, x: np.ndarray, spread: np.ndarray) -> Values:
        """Their standard deviations, from those of `x`."""
        found: Values = {}
        for (view, name, unknown), part in zip(self.unknowns, self.parts, strict=True):
            std = spread[part] * np.exp(x[part]) if name == NOISE else spread[part]
            found.setdefault(view, {})[name] = std.reshape(unknown.value.shape)
        return found

    def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The log-posterior with the populations at their best, and its gradient."""
        fit: GaussianFit = gaussian_em(
            self.problem.at(self.values(x)), self.config, fixed=self.fixed, start=self.populations, seed=self.seed
        )
        self.populations = dict(fit.populations)
        gradient = np.zeros(len(x))
        for k, view in enumerate(self._places()):
            up, down = (self._one(view, x + h * self._unit(k)) for h in (_STEP, -_STEP))
            gradient[k] = (up - down) / (2 * _STEP * self.size[k])
        gradient -= self.precision * (x - self.start)
        value = sum(self._one(view, x) for view in self.problem.views)
        return value - float(self.precision @ (x - self.start) ** 2) / 2, gradient

    def first_curvature(self) -> np.ndarray:
        """That of the likelihood at fixed populations, an upper bound; unknowns by themselves."""
        self.at(self.start)
        found = np.zeros(len(self.start))
        for k, view in enumerate(self._places()):
            wide = 30 * _STEP
            up, down = (self._one(view, self.start + h * self._unit(k)) for h in (wide, -wide))
            found[k] = (2 * self._one(view, self.start) - up - down) / (wide * self.size[k]) ** 2
        least = 1.0 / self.size**2
        return np.diag(np.maximum(found, least) + self.precision)

    def curvature(self, x: np.ndarray, known: np.ndarray) -> np.ndarray:
        """That of the profile likelihood, by differences of gradients over half a standard deviation."""
        widths = 0.5 * np.sqrt(np.diag(np.linalg.inv(known)))
        rows = []
        for k, width in enumerate(widths):
            step = np.zeros(len(x))
            step[k] = width
            rows.append((self.at(x - step)[1] - self.at(x + step)[1]) / (2 * width))
        H = np.stack(rows)
        H = (H + H.T) / 2
        values, vectors = np.linalg.eigh(H)
        return (vectors * np.maximum(values, 1e-6 * values.max())) @ vectors.T

    def _places(self) -> list[str]:
        """The view of every number."""
        return [view for view, _, unknown in self.unknowns for _ in range(unknown.size)]

    def _unit(self, k: int) -> np.ndarray:
        e = np.zeros(len(self.start))
        e[k] = self.size[k]
        return e

    def _one(self, name: str, x: np.ndarray) -> float:
        """The log-likelihood of a view at the populations, in the units of its stated noise."""
        values = self.values(x).get(name, {})
        view: View = self.problem.views[name].at(values)
        units = units_of([view], list(view.mixing))
        bound = bind_view(in_units(view, units), self.shapes, len(view), self.seed)
        if bound.draws_only:
            raise ValueError(f"view '{name}' is too large for an exact likelihood, by which an instrument is learned")
        given = {s: Components.of(self.populations[s].scaled(0.0, 1 / units[s])) for s in view.mixing}
        white = float(np.sum(bound.log_likelihood(given)))
        return white - float(np.log(values[NOISE]) * view.counts.sum()) if NOISE in values else white
